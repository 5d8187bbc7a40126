"""How fast this machine is at what takes most of a run's time."""

from __future__ import annotations

import statistics
import time

import torch
from torch import nn

from lla.curvature.hessian import Hessian
from lla.problem import from_objects

__all__ = ["time_products"]

_IMAGES, _CLASSES = 256, 10


def time_products(device: str = "cpu", seconds: float = 1.0) -> tuple[float, int]:
    """Time Hessian-vector products of a LeNet (61,706 parameters) on 256 random images, float32.

    Args:
        device: A torch device.
        seconds: About how long to measure.

    Returns:
        The median time of a product in milliseconds, and how many were timed.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(_IMAGES, 1, 28, 28, generator=generator)
    labels = torch.randint(0, _CLASSES, (_IMAGES,), generator=generator)
    problem = from_objects(_lenet(), (images, labels), device=device)
    product = Hessian(problem)
    direction = torch.ones(problem.space.size, dtype=torch.float64, device=problem.device)
    taken: list[float] = []
    product(direction)  # the first one loads kernels
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds or len(taken) < 3:
        start = time.perf_counter()
        float(product(direction)[0])  # waits for the device
        taken.append(time.perf_counter() - start)
    return 1e3 * statistics.median(taken), len(taken)


def _lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, _CLASSES),
    )
