"""Time of a loss landscape in forward passes: exact grid, adaptive grid, and stepping in place.

    python benchmarks/landscape.py [--problems lenet digits_cnn.pt …] [--points 40] [--device cpu]

The unit is one forward pass of the network and its loss with all samples as one batch, which is
what a classic evaluation pays for each point. Compared, on one plane of Hessian axes scaled by
filter:

- stepping: parameters moved in place along a serpentine, one batch, loss and accuracy; a few rows,
  scaled up;
- exact: lla's evaluation of every point;
- adaptive: lla's evaluation to 1 % of the range, its largest error held against the exact grid.

Forward passes, steps and pieces of the exact grid take turns, and medians are compared. lla's parts
run with the C library's setting that its command makes (lla.allocator), the others without.
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

from lla.allocator import keep_freed_memory
from lla.analyses.landscape import LandscapeConfig
from lla.analyses.landscape.evaluation import grid_points
from lla.analyses.landscape.planes import surface_of
from lla.analyses.landscape.setting import Setting, setting_of
from lla.analyses.landscape.workers import SHARING
from lla.curvature.plan import planned
from lla.execution import measured, workspace_of
from lla.problem import Problem
from lla.problem.objective import copied
from lla.progress import Silent
from lla.settings import resolve

ACCURACY = 0.01
PIECES = 8  # of the exact grid
CHECKED = 20


def forward(problem: Problem, rounds: int = 3) -> list[float]:
    """Seconds of the network and its loss with all samples as one batch."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        with torch.no_grad():
            problem.objective(problem.data.whole).total.item()
        times.append(time.perf_counter() - begin)
    return times


def stepping(problem: Problem, setting: Setting) -> float:
    """Seconds of a point where parameters are moved in place from point to point: half a row."""
    objective = copied(problem.objective)
    named = dict(objective.module.named_parameters())
    steps = [
        [problem.space.named(row.to(problem.theta.dtype))[name] for name in problem.space.names]
        for row in setting.directions.vectors
    ]
    beta = setting.axes[1]
    count = len(beta) // 2
    begin = time.perf_counter()
    with torch.no_grad():
        for _ in range(count):
            for name, step in zip(problem.space.names, steps[1], strict=True):
                named[name].add_(step, alpha=float(beta[1] - beta[0]))
            terms = objective(problem.data.whole)
            terms.total.item()
            terms.correct[0].item()
    return (time.perf_counter() - begin) / count


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
    config = LandscapeConfig(normalization="filter", points=points, accuracy=ACCURACY)
    settings = resolve(())
    workspace = workspace_of(settings, problem.device, Silent())
    workspace.measured = measured(problem, workspace, settings)
    problem = planned(problem, workspace.measured)
    setting = setting_of(problem, config, workspace)
    begin = time.perf_counter()
    sharing = SHARING.compute(problem, workspace)
    choosing = time.perf_counter() - begin
    places = grid_points(*setting.axes)
    units, steps, pieces, losses = [], [], [], []
    for piece in np.array_split(places, PIECES):
        keep_freed_memory(keep=False)
        units += forward(problem)
        steps.append(stepping(problem, setting))
        keep_freed_memory()
        begin = time.perf_counter()
        losses.append(setting.surveyor.over(piece)[0])
        pieces.append((time.perf_counter() - begin) / len(piece))
    exact = np.concatenate(losses).reshape(points, points)
    begin = time.perf_counter()
    adaptive = surface_of(setting, config, Silent(), None)
    shorter = (time.perf_counter() - begin) / exact.size
    unit, point = statistics.median(units), statistics.median(pieces)
    stepped = statistics.median(steps)
    off = np.abs(adaptive.surface.loss - exact)
    span = np.ptp(exact[np.isfinite(exact)])
    print(
        f"\n{name}: {problem.space.size:,} parameters, {len(problem.data):,} samples, "
        f"{points} x {points} points; forward pass "
        f"{1e3 * unit:.1f} ms\n  {sharing.workers} workers, "
        f"chunks of {sharing.chunk}, chosen in {choosing:.1f} s"
    )
    print(f"  stepping in place {stepped / unit:5.2f} forward passes a point")
    print(
        f"  exact             {point / unit:5.2f}   ({1e3 * point:.1f} ms; {CHECKED} points "
        f"again, directly: to {agreement(problem, setting, exact):.1e} relative)"
    )
    print(
        f"  adaptive          {shorter / unit:5.2f}   ({1e3 * shorter:.1f} ms, "
        f"{100 * adaptive.share:.0f} % of the points; off by {100 * np.nanmax(off) / span:.2f} % "
        f"of the range, estimated {100 * adaptive.error / span:.2f} %)"
    )


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
