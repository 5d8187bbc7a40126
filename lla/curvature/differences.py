"""Products as central differences of gradients, where a network has no second derivative.

H v ≈ ‖v‖ (∇L(θ + s u) − ∇L(θ − s u)) / 2s with u = v/‖v‖. Rounding makes the error grow as ε/s,
truncation as s² (where the loss has kinks, as s). ε^(1/3) balances the two for a loss that changes
over distances of about 1; along the sharpest directions networks change over far smaller ones, so
the step is found by trying.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch

__all__ = ["along_by_differences", "best_step"]

_STEPS, _FACTOR = 8, 4.0

Slope = Callable[[torch.Tensor], torch.Tensor]


def along_by_differences(
    slope: Slope, theta: torch.Tensor, along: torch.Tensor, step: float
) -> torch.Tensor:
    """Derivatives of the gradient along each vector of a block, by central differences.

    Args:
        slope: ∇L as a function of θ, shape (P,).
        theta: θ, shape (P,), in the model's dtype.
        along: Shape (b, P).
        step: Distance from θ at which gradients are taken.

    Returns:
        float64, shape (b, P).
    """
    found = torch.zeros(along.shape, dtype=torch.float64, device=along.device)
    for row, vector in zip(found, along.double(), strict=True):
        length = float(torch.linalg.vector_norm(vector))
        if length:
            move = (vector * (step / length)).to(theta.dtype)
            row += slope(theta + move)
            row -= slope(theta - move)
            row *= length / (2 * step)
    return found


def best_step(slope: Slope, theta: torch.Tensor) -> float:
    """The step at which differences change least when it is changed, along the gradient.

    The gradient lies mostly in the sharp directions (Gur-Ari et al. 2018, "Gradient descent
    happens in a tiny subspace"), where truncation is largest. Two neighbouring steps differ by
    the truncation of the longer one and the rounding of the shorter one: between the two that
    differ least both are small.
    """
    unit = slope(theta).double()
    if not unit.any():
        unit = torch.ones_like(unit)
    unit /= torch.linalg.vector_norm(unit)
    longest = float(torch.finfo(theta.dtype).eps ** (1 / 3))
    longest *= 1 + float(torch.linalg.vector_norm(theta.double()))
    steps = [longest * _FACTOR**-index for index in range(_STEPS)]
    found = [along_by_differences(slope, theta, unit[None], step) for step in steps]
    changes = [
        float(torch.linalg.vector_norm(longer - shorter)) for longer, shorter in pairwise(found)
    ]
    # Infinite losses far away make changes that are no numbers.
    changes = [math.inf if math.isnan(change) else change for change in changes]
    return steps[changes.index(min(changes))] / math.sqrt(_FACTOR)
