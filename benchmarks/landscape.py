"""Time of a loss landscape in forward passes: exact grid, adaptive grid, and stepping in place.

    python benchmarks/landscape.py [--problems lenet digits_cnn.pt …] [--points 40] [--device cpu]

The unit is one forward pass of the network and its loss with all samples as one batch, which is
what a classic evaluation pays for each point. Compared, on one plane of Hessian axes scaled by
filter:

- stepping: parameters moved in place along a serpentine, one batch, loss and accuracy; a few rows,
  scaled up;
- exact: lla's evaluation of every point;
- adaptive: lla's evaluation to 1 % of the range, its largest error held against the exact grid.

Forward passes are timed before, between and after, and their median is the unit.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "2000")

import numpy as np
import torch
from problems import large, lenet, sample

from lla.analyses.landscape import LandscapeConfig
from lla.analyses.landscape.evaluation import Linear, Surveyor
from lla.analyses.landscape.planes import surface_of
from lla.analyses.landscape.setting import Setting, setting_of
from lla.execution import workspace_of
from lla.problem import Problem
from lla.problem.problem import copied
from lla.progress import Silent
from lla.settings import resolve

ACCURACY = 0.01
STEPPED_ROWS = 2
CHECKED = 20


def forward(problem: Problem, rounds: int = 5) -> list[float]:
    """Seconds of the network and its loss with all samples as one batch."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        with torch.no_grad():
            problem.objective(problem.data.whole).total.item()
        times.append(time.perf_counter() - begin)
    return times


def stepping(problem: Problem, setting: Setting, rows: int) -> float:
    """Seconds of a point where parameters are moved in place from point to point."""
    objective = copied(problem.objective)
    named = dict(objective.module.named_parameters())
    steps = [
        [problem.space.named(row.to(problem.theta.dtype))[name] for name in problem.space.names]
        for row in setting.directions.vectors
    ]
    alpha, beta = setting.axes
    begin = time.perf_counter()
    with torch.no_grad():
        for row in range(rows):
            for _ in range(len(beta)):
                for name, step in zip(problem.space.names, steps[1], strict=True):
                    named[name].add_(step, alpha=float(beta[1] - beta[0]) * (-1) ** row)
                terms = objective(problem.data.whole)
                terms.total.item()
                terms.correct[0].item()
            for name, step in zip(problem.space.names, steps[0], strict=True):
                named[name].add_(step, alpha=float(alpha[1] - alpha[0]))
    return (time.perf_counter() - begin) / (rows * len(beta))


def agreement(problem: Problem, setting: Setting, loss: np.ndarray) -> float:
    """Largest relative difference to points evaluated by setting a copy's parameters."""
    objective = copied(problem.objective)
    named = dict(objective.module.named_parameters())
    worst = 0.0
    for index in np.random.default_rng(0).choice(loss.size, CHECKED, replace=False):
        row, column = np.unravel_index(index, loss.shape)
        steps = np.array([setting.axes[0][row], setting.axes[1][column]])
        theta = problem.theta.double().cpu() + torch.from_numpy(steps) @ (
            setting.directions.vectors.cpu()
        )
        with torch.no_grad():
            for name, part in problem.space.named(theta).items():
                named[name].copy_(part)
            terms = objective(problem.data.whole)
        direct = float(terms.total.double() / terms.weight)
        worst = max(worst, abs(direct - loss[row, column]) / abs(direct))
    return worst


def compare(name: str, problem: Problem, points: int) -> None:
    """Measure one problem and print its rows."""
    config = LandscapeConfig(normalization="filter", points=points, accuracy=0)
    workspace = workspace_of(resolve(()), problem.device, Silent())
    # The chunk that a run would measure.
    from lla.curvature.plan import planned

    problem = planned(problem, _plan(workspace, problem))
    setting = setting_of(problem, config, workspace)
    units = forward(problem)
    begin = time.perf_counter()
    exact = surface_of(setting, config, Silent(), None)
    seconds = time.perf_counter() - begin
    units += forward(problem)
    stepped = stepping(problem, setting, STEPPED_ROWS)
    units += forward(problem)
    coarse = config.model_copy(update={"accuracy": ACCURACY})
    begin = time.perf_counter()
    adaptive = surface_of(setting, coarse, Silent(), None)
    shorter = time.perf_counter() - begin
    units += forward(problem)
    unit, count = statistics.median(units), exact.surface.loss.size
    off = np.abs(adaptive.surface.loss - exact.surface.loss)
    span = np.ptp(exact.surface.loss[np.isfinite(exact.surface.loss)])
    print(
        f"\n{name}: {problem.space.size:,} parameters, {len(problem.data):,} samples in chunks of "
        f"{problem.data.chunk}, {points} x {points} points; forward pass {1e3 * unit:.1f} ms"
    )
    print(f"  stepping in place {stepped / unit:5.2f} forward passes a point")
    print(
        f"  exact             {seconds / unit / count:5.2f}   ({seconds:.1f} s; {CHECKED} points "
        f"again, directly: to {agreement(problem, setting, exact.surface.loss):.1e} relative)"
    )
    print(
        f"  adaptive          {shorter / unit / count:5.2f}   ({shorter:.1f} s, "
        f"{100 * adaptive.share:.0f} % of the points; off by {100 * np.nanmax(off) / span:.2f} % "
        f"of the range, estimated {100 * adaptive.error / span:.2f} %)"
    )
    assert Surveyor(problem, Linear(problem.theta, setting.directions.vectors)).at(0.0, 0.0)


def _plan(workspace: object, problem: Problem) -> object:
    plan = getattr(workspace, "execution", None) or workspace.plan  # type: ignore[attr-defined]
    return plan(problem)


def main() -> None:
    """Run the problems that are there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    on_gpu = ["resnet18"] if torch.cuda.is_available() else []
    parser.add_argument("--problems", nargs="+", default=["lenet", "digits_cnn.pt", *on_gpu])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="MNIST, LeNet")
    parser.add_argument("--points", type=int, default=40)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.device}")
    for name in options.problems:
        if name == "lenet":
            if not (options.data / "lenet_mnist.pth").exists():
                print(f"no LeNet: {options.data} has no lenet_mnist.pth")
                continue
            problem = lenet(options.data, options.device)[0]
        else:
            problem = (large if name == "resnet18" else sample)(name, options.device)
        compare(name, problem, options.points)


if __name__ == "__main__":
    main()
