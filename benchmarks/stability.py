"""What a whole verdict on stability costs beside the spectrum, in gradients of the same data.

    python benchmarks/stability.py --data FOLDER [--momentum 0.9]

LeNet on 2,048 MNIST images, SGD with batches of 64: the stage `stability` after the stage
`spectrum`, whose products it shares.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "2000")

from problems import lenet

import lla
from lla.curvature import gradient
from lla.problem import Problem, Training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--momentum", type=float, default=0.0)
    options = parser.parse_args()
    problem, _ = lenet(options.data, "cpu")
    training = Training(
        optimizer="sgd", lr=0.05, batch_size=64, momentum=options.momentum, samples=2048
    )
    problem = Problem(**{**vars(problem), "training": training})
    times = []
    for _ in range(6):
        begin = time.perf_counter()
        gradient(problem)
        times.append(time.perf_counter() - begin)
    stages = lla.analyze(problem, only=["baseline", "spectrum", "stability"]).stages
    for name in ("spectrum", "stability"):
        stage = stages[name]
        print(f"{name}: {stage.seconds / min(times):.0f} gradients, {stage.work}")


if __name__ == "__main__":
    main()
