"""Checks of a landscape against what the curvature says it must be."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from lla.estimate import Estimate

__all__ = ["curvature_along", "quadratic_radius"]

_STEPS = (0.1, 0.025, 0.006, 0.0015)


def curvature_along(
    along: Callable[[float], float], center: float, reach: float, eps: float
) -> Estimate:
    """Second derivative of the loss at 0 along a unit direction, by central differences.

    Each of several steps is halved once and extrapolated (Richardson); the one with the smallest
    error is kept, and its error, the halving's change and the losses' rounding, is the interval.
    Where ReLU kinks lie closer than any useful step, the interval is wide and says so.

    Args:
        along: Loss at a signed distance.
        center: Loss at 0.
        reach: Distance over which the loss changes by a good deal; the steps are parts of it.
        eps: Unit roundoff of the losses.
    """
    return min(
        (_halved(along, center, share * reach, eps) for share in _STEPS),
        key=lambda estimate: estimate.high - estimate.low,
    )


def _halved(along: Callable[[float], float], center: float, step: float, eps: float) -> Estimate:
    coarse, fine = ((along(h) - 2 * center + along(-h)) / h**2 for h in (step, step / 2))
    value = (4 * fine - coarse) / 3
    error = abs(fine - coarse) + 4 * eps * abs(center) / (step / 2) ** 2
    return Estimate(
        value,
        value - error,
        value + error,
        confidence=math.nan,
        converged=error <= 0.1 * abs(value),
        method=f"central differences, steps {step:.3g} and {step / 2:.3g}, extrapolated",
        units="loss",
    )


def quadratic_radius(
    alpha: np.ndarray, beta: np.ndarray, residual: np.ndarray, limit: float
) -> Estimate:
    """Distance from the checkpoint up to which |L − quadratic model| ≤ limit on the grid.

    The interval's ends are the farthest grid point before the first that breaks the limit, and
    that point. If none breaks it, the radius is at least the plane's inscribed circle.

    Args:
        alpha: Shape (n,).
        beta: Shape (m,).
        residual: L minus the quadratic model, shape (n, m).
        limit: Largest residual that counts as agreement.
    """
    if not (alpha[0] <= 0 <= alpha[-1] and beta[0] <= 0 <= beta[-1]):
        return Estimate.missing("the plane leaves the checkpoint out", units="parameter norm")
    distance = np.hypot(alpha[:, None], beta[None, :])
    broken = ~(np.abs(residual) <= limit)
    inscribed = float(min(-alpha[0], alpha[-1], -beta[0], beta[-1]))
    if not broken.any():
        return Estimate(
            inscribed,
            inscribed,
            math.inf,
            confidence=math.nan,
            converged=False,
            method=f"no grid point is off by more than {limit:.3g}: a lower bound",
            units="parameter norm",
        )
    high = float(distance[broken].min())
    within = distance[distance < high]
    low = float(within.max()) if within.size else 0.0
    return Estimate(
        (low + high) / 2,
        low,
        high,
        confidence=math.nan,
        method=f"grid points where |L − quadratic| exceeds {limit:.3g}",
        units="parameter norm",
    )
