"""What one Hessian product costs, in gradients: graphs kept between products against made anew.

    python benchmarks/products.py [--rounds 15] [--device cpu] [--compiled] [NAME ...]

Gradient, product on kept graphs and product with the graph made anew take turns in one process, so
that a machine whose speed drifts slows all of them; printed are medians of the ratios, round by
round. Both products are checked against each other first. ``--compiled`` adds a vector's share of
eight forward products at once, as they are and compiled, with the time of compiling.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "2000")

import torch
from problems import lenet, sample
from torch.fx.experimental.proxy_tensor import make_fx

from lla.curvature import Hessian, gradient
from lla.problem import Problem
from lla.problem.objective import LossFunction, Terms

DATA = Path("../shared/data")  # where LeNet and MNIST are, if they are
NAMES = ("digits_mlp.pt", "digits_cnn.pt", "digits_vit.safetensors", "charlm.pt")
MEMORY = 2 << 30
TOGETHER = 8


def seconds(work: Callable[[], object], device: str) -> float:
    """Wall time of one call, the device's queue included."""
    begin = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def costs(problem: Problem, rounds: int, device: str) -> tuple[float, float, float]:
    """Seconds of a gradient, and the two kinds of product in gradients: medians over rounds."""
    kept, anew = Hessian(problem, memory=MEMORY), Hessian(problem)
    vector = torch.randn(kept.size, dtype=torch.float64, device=kept.device)
    torch.testing.assert_close(kept(vector), anew(vector), rtol=1e-5, atol=1e-6)
    works = (partial(gradient, problem), partial(kept, vector), partial(anew, vector))
    times = [[seconds(work, device) for work in works] for _ in range(rounds)]
    ratios = [statistics.median(row[i] / row[0] for row in times) for i in (1, 2)]
    return statistics.median(row[0] for row in times), ratios[0], ratios[1]


def compiled(problem: Problem, rounds: int, device: str) -> str:
    """A vector's share of a block by forward differentiation, eager and compiled, in gradients."""
    batch = next(problem.data.chunks())
    problem.objective.loss = plain(problem.objective.loss)
    block = torch.randn(TOGETHER, problem.space.size, device=problem.device)

    def total(theta: torch.Tensor) -> torch.Tensor:
        return problem.terms(theta, batch).total

    def one(vector: torch.Tensor) -> torch.Tensor:
        return torch.func.jvp(torch.func.grad(total), (problem.theta,), (vector,))[1]

    eager = torch.func.vmap(one)
    begin = time.perf_counter()
    with problem.second_order():
        try:
            traced = make_fx(eager)(block)
        except RuntimeError:  # a loss that looks at values, as one-hot targets do
            return f"{'':6} {'':8} untraceable"
    with torch.no_grad(), problem.second_order():
        expected = eager(block)
        made = torch.compile(traced)
        torch.testing.assert_close(made(block), expected, rtol=1e-3, atol=1e-3)
        taken = time.perf_counter() - begin
        slope = torch.enable_grad()(gradient)
        works = (partial(slope, problem, [batch]), partial(eager, block), partial(made, block))
        times = [[seconds(work, device) for work in works] for _ in range(rounds)]
    shares = [statistics.median(row[i] / row[0] for row in times) / TOGETHER for i in (1, 2)]
    return f"{shares[0]:6.2f} {shares[1]:8.2f} {taken:8.1f} s"


def plain(loss: LossFunction) -> LossFunction:
    """The loss without its accuracy, of which tracing would ask for numbers."""
    return lambda module, batch: Terms(*loss(module, batch)[:2])


def main() -> None:
    """Measure every sample and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.device}")
    more = f" {'block':>6} {'compiled':>8} {'compiling':>10}" if options.compiled else ""
    print(f"{'sample':24} {'P':>7} {'gradient':>10} {'kept':>6} {'anew':>6}{more}  (in gradients)")
    known = ("lenet",) if (DATA / "lenet_mnist.pth").exists() else ()
    for name in options.names or (*known, *NAMES):
        made = lenet(DATA, options.device)[0] if name == "lenet" else sample(name, options.device)
        problem: Problem = made
        unit, kept, anew = costs(problem, options.rounds, options.device)
        more = " " + compiled(problem, options.rounds, options.device) if options.compiled else ""
        size = problem.space.size
        print(f"{name:24} {size:7} {1e3 * unit:7.1f} ms {kept:6.2f} {anew:6.2f}{more}", flush=True)


if __name__ == "__main__":
    main()
