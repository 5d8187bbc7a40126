"""The whole spectrum's package by lla, curvlinops and hessian-eigenthings, side by side.

    pip install -e ".[bench]"
    python benchmarks/spectrum.py [--problems lenet resnet18 gpt2 …] [--rounds 3] [--data FOLDER]

Each library is asked for the same, by its own best method, on the same network, samples and
threads, in one process: the five largest eigenvalues and the smallest to a residual of 1e-3·λ_max,
the trace to ±2 % at 95 %, a density of 100 Lanczos steps. They take turns, so that a machine whose
speed drifts slows all of them. Printed are medians: wall time, the same in gradients (the fastest
chunk's), and what each was off by.

- lla: the stage `spectrum` of `lla.analyze` as it is, plan and certificates in float64 included.
- curvlinops: SciPy's `eigsh` at both ends, `xtrace`, `lanczos_approximate_spectrum`.
- hessian-eigenthings: `lanczos` with full reorthogonalization at both ends, `trace` (Hutch++),
  `spectral_density`.

Neither of the two says how many products its trace needs: they get what reaches ±2 % on the
problem (TRACE_PRODUCTS, from the scatter of their own estimates over seeds).
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "2000")

import numpy as np
import torch
from problems import large, lenet, sample
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import lla
from lla.curvature import Hessian, gradient
from lla.pipeline import analyze_problem
from lla.problem import Problem
from lla.report import CheckpointFacts
from lla.settings import resolve

LARGEST, STEPS, RESIDUAL = 5, 100, 1e-3
# (XTrace, Hutch++) products for ±2 % at 95 %.
TRACE_PRODUCTS = {"lenet": (70, 90)}
DEFAULT_PRODUCTS = (70, 90)
LANCZOS_STEPS = 60


@dataclass(frozen=True)
class Answer:
    """What a library found: eigenvalues from the largest, smallest eigenvalue, trace; seconds."""

    values: list[float]
    smallest: float
    trace: float
    seconds: float


def reference(problem: Problem) -> dict[str, object]:
    """Eigenvalues by SciPy on float64 products; the trace by lla to 0.3 %."""
    double = problem.in_float64()
    product = Hessian(double, memory=4 << 30)

    def apply(vector: np.ndarray) -> np.ndarray:
        return product(torch.from_numpy(vector.ravel()).to(problem.device)).cpu().numpy()

    size = problem.space.size
    operator = LinearOperator((size, size), matvec=apply, dtype=np.float64)
    top = eigsh(operator, LARGEST, which="LA", tol=1e-8, return_eigenvectors=False)
    low = eigsh(operator, 1, which="SA", tol=1e-6, return_eigenvectors=False)
    settings = {"run": {"tolerance": 0.003, "seed": 1}, "spectrum": {"max_probes": 2000}}
    fine = lla.analyze(problem, only=["spectrum"], settings=settings)
    trace = fine.metrics["hessian/trace"].value
    return {"values": sorted(top, reverse=True), "smallest": float(low[0]), "trace": trace}


def by_lla(problem: Problem, seed: int) -> Answer:
    """The stage `spectrum`, as a user runs it."""
    settings = resolve([lla.sources.Source("benchmark", _lla_sections(seed))])
    facts = CheckpointFacts("", "", "", problem.space.size)
    report = analyze_problem(problem, facts, settings)
    metrics, found = report.metrics, report.results["spectrum"]
    for name in ("hessian/lambda_max", "hessian/lambda_min", "hessian/trace"):
        if not metrics[name].converged:
            print(f"    lla: {name} is not converged")
    return Answer(
        values=found.eigenvalues[:LARGEST].tolist(),
        smallest=metrics["hessian/lambda_min"].value,
        trace=metrics["hessian/trace"].value,
        seconds=report.stages["spectrum"].seconds,
    )


def _lla_sections(seed: int) -> dict[str, dict[str, object]]:
    wanted = {"largest": LARGEST, "smallest": 1, "steps": STEPS, "residual_tolerance": RESIDUAL}
    return {"run": {"only": ["spectrum"], "seed": seed}, "spectrum": wanted}


def batches(problem: Problem) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The samples in chunks, which are faster than one batch for all three."""
    return [(batch.inputs, batch.targets) for batch in problem.data.chunks()]  # type: ignore[misc]


def _loss(problem: Problem) -> nn.Module:
    ignored = int(problem.loss_args.get("ignore_index", -100))  # type: ignore[call-overload]
    return nn.CrossEntropyLoss(ignore_index=ignored)


def by_curvlinops(problem: Problem, seed: int, products: int) -> Answer:
    """SciPy at both ends, XTrace, a density by Lanczos."""
    from curvlinops import HessianLinearOperator, lanczos_approximate_spectrum, xtrace

    begin = time.perf_counter()
    torch.manual_seed(seed)
    parameters = [part for part in problem.module.parameters() if part.requires_grad]
    operator = HessianLinearOperator(
        problem.module, _loss(problem), parameters, batches(problem), check_deterministic=False
    )
    scipy = operator.to_scipy()
    start = np.random.default_rng(seed).normal(size=scipy.shape[0]).astype(np.float32)
    keys = {"tol": RESIDUAL, "v0": start, "return_eigenvectors": False}
    top = eigsh(scipy, LARGEST, which="LA", **keys)
    low = eigsh(scipy, 1, which="SA", **keys)
    trace = float(xtrace(operator, products))
    ends = (float(low[0]), float(top.max()))
    lanczos_approximate_spectrum(operator, STEPS, boundaries=ends)
    seconds = time.perf_counter() - begin
    return Answer(sorted(top.tolist(), reverse=True), float(low[0]), trace, seconds)


def by_eigenthings(problem: Problem, seed: int, products: int) -> Answer:
    """Lanczos at both ends, Hutch++, a density by stochastic Lanczos quadrature."""
    import hessian_eigenthings as other

    begin = time.perf_counter()
    operator = other.HessianOperator(
        problem.module, batches(problem), other.supervised_loss(_loss(problem))
    )
    keys = {"max_iter": LANCZOS_STEPS, "tol": RESIDUAL, "reorthogonalize": True, "seed": seed}
    top = other.lanczos(operator, k=LARGEST, which="LA", **keys)
    low = other.lanczos(operator, k=1, which="SA", **keys)
    trace = other.trace(operator, num_matvecs=products, seed=seed)
    other.spectral_density(operator, num_runs=1, lanczos_steps=STEPS, seed=seed)
    seconds = time.perf_counter() - begin
    values = sorted((float(value) for value in top.eigenvalues), reverse=True)
    return Answer(values, float(min(low.eigenvalues)), float(trace.estimate), seconds)


def gradient_seconds(problem: Problem, chunks: tuple[int, ...], rounds: int = 7) -> float:
    """Time of one gradient over all samples, with the fastest of some chunks."""
    found = []
    for chunk in chunks:
        parts = list(problem.data.whole.chunks(chunk))
        times = []
        for _ in range(rounds):
            begin = time.perf_counter()
            gradient(problem, parts)
            if problem.device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - begin)
        found.append(statistics.median(times))
    return min(found)


def libraries(name: str) -> Iterator[tuple[str, Callable[[Problem, int], Answer]]]:
    """The libraries that are installed, by name."""
    xtrace, hutchpp = TRACE_PRODUCTS.get(name, DEFAULT_PRODUCTS)
    yield "lla", by_lla
    try:
        import curvlinops  # noqa: F401

        yield "curvlinops", lambda problem, seed: by_curvlinops(problem, seed, xtrace)
    except ImportError:
        print("curvlinops is not installed")
    try:
        import hessian_eigenthings  # noqa: F401

        yield "hessian-eigenthings", lambda problem, seed: by_eigenthings(problem, seed, hutchpp)
    except ImportError:
        print("hessian-eigenthings is not installed")


def compare(name: str, problem: Problem, truth: dict[str, object], rounds: int) -> None:
    """Let the libraries take turns on a problem and print the medians."""
    answers: dict[str, list[Answer]] = {}
    units, wholes = [], []
    for seed in range(rounds):
        units.append(gradient_seconds(problem, (128, 256, 512)))
        wholes.append(gradient_seconds(problem, (len(problem.data),)))
        for library, ask in libraries(name):
            # For the others' sake: fused attention has no second derivative.
            with sdpa_kernel(SDPBackend.MATH):
                answers.setdefault(library, []).append(ask(problem, seed))
            print(
                f"    {name}, seed {seed}: {library} {answers[library][-1].seconds:.1f} s",
                flush=True,
            )
    unit, whole = statistics.median(units), statistics.median(wholes)
    print(f"\n{name}: {problem.space.size:,} parameters, {len(problem.data):,} samples;")
    print(f"a gradient takes {1e3 * unit:.0f} ms in chunks, {1e3 * whole:.0f} ms as one batch;")
    print(f"medians and worst errors over {rounds} seeds, relative to λ_max or the trace")
    heads = (("", 20), ("seconds", 8), ("chunked", 9), ("whole", 6), ("ratio", 6))
    line = "".join(f"{head:>{width + 1}}" for head, width in (*heads, ("λ1-5", 8), ("λ_min", 8)))
    print(f"{line[1:]} trace")
    first = statistics.median(answer.seconds for answer in answers["lla"])
    for library, found in answers.items():
        seconds = statistics.median(answer.seconds for answer in found)
        top, low, trace = (
            max(errors) for errors in zip(*(off(a, truth) for a in found), strict=True)
        )
        print(
            f"{library:20} {seconds:8.1f} {seconds / unit:9.0f} {seconds / whole:6.0f} "
            f"{seconds / first:6.2f} {top:8.1e} {low:8.1e} {100 * trace:4.1f} %"
        )


def off(answer: Answer, truth: dict[str, object]) -> tuple[float, float, float]:
    """Errors of the largest eigenvalues, the smallest and the trace."""
    values = np.array(truth["values"])
    top = float(np.abs(np.array(answer.values) - values).max() / values[0])
    low = abs(answer.smallest - float(truth["smallest"])) / values[0]  # type: ignore[arg-type]
    trace = float(truth["trace"])  # type: ignore[arg-type]
    return top, low, abs(answer.trace - trace) / abs(trace)


def main() -> None:
    """Run the problems that are there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    usual = ["lenet", "digits_cnn.pt", "charlm.pt"]
    on_gpu = ["resnet18", "gpt2"] if torch.cuda.is_available() else []
    parser.add_argument("--problems", nargs="+", default=[*usual, *on_gpu])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="MNIST, LeNet")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.device}")
    for name in options.problems:
        if name != "lenet":
            make = large if name in ("resnet18", "gpt2") else sample
            problem = make(name, options.device)
            truth = reference(problem)
        elif (options.data / "lenet_mnist.pth").exists():
            problem, truth = lenet(options.data, options.device)
        else:
            print(f"no LeNet: {options.data} has no lenet_mnist.pth")
            continue
        compare(name, problem, truth, options.rounds)


if __name__ == "__main__":
    main()
