"""Checks of a landscape against what the curvature says it must be."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from lla.estimate import Estimate, Label

__all__ = [
    "CENTER_TOLERANCE",
    "KINKS_SEEN",
    "Measured",
    "curvature_along",
    "disagreeing",
    "measured_along",
    "quadratic_radius",
    "verdict",
]

CENTER_TOLERANCE = 1e-6  # of the loss, or of 1
KINKS_SEEN = 3.0  # errors from which a jump of the slope counts as seen
_AGREEMENT = 0.01  # between curvatures, relative
_TIE = 1e-9  # of a distance: points on both sides of the checkpoint are equally far from it
_SHARE, _STEPS = 0.1, 7  # of the reach: the largest step, which is halved from one to the next
_ENOUGH = 1e-3 * _AGREEMENT
# Three losses of a quotient are off by 4 units at most, and of three quotients this is made.
_ROUNDING = 4 * (64 * 16 + 20 * 4 + 1) / 45


class Measured(NamedTuple):
    """A curvature by central differences, and the step that they took (0: there is none)."""

    estimate: Estimate
    step: float


def measured_along(
    along: Callable[[float], float], center: float, reach: float, eps: float
) -> Measured:
    """Second derivative of the loss at 0 along a unit direction, by central differences.

    Each of several steps is halved twice and extrapolated (Richardson), with an error: what the
    last halving changed, and the losses' rounding, which grows as the step shrinks. The largest
    step whose error is far below what :func:`verdict` allows is taken, so that the value depends
    little on the order in which losses are summed; where there is none, the one with the smallest
    error. Where kinks lie closer than any useful step, the interval is wide and says so.

    Args:
        along: Loss at a signed distance.
        center: Loss at 0.
        reach: Distance over which the loss changes by a good deal; the steps are parts of it.
        eps: Unit roundoff of the losses.
    """
    found, quotients = [], [_quotient(along, center, _SHARE * reach / 2**k) for k in range(2)]
    for halvings in range(_STEPS):
        step = _SHARE * reach / 2**halvings
        quotients.append(_quotient(along, center, step / 4))
        rounding = _ROUNDING * eps * abs(center) / step**2
        one = _extrapolated(quotients[-3:], step, rounding)
        found.append(Measured(one, step))
        if one.high - one.value <= _ENOUGH * abs(one.value):
            return found[-1]
    return min(found, key=lambda each: each.estimate.high - each.estimate.low)


def _quotient(along: Callable[[float], float], center: float, step: float) -> float:
    return (along(step) - 2 * center + along(-step)) / step**2


def _extrapolated(quotients: Sequence[float], step: float, rounding: float) -> Estimate:
    """The limit of quotients at a step, at its half and at its quarter."""
    coarse, fine = ((4 * b - a) / 3 for a, b in itertools.pairwise(quotients))
    value = (16 * fine - coarse) / 15
    error = abs(fine - coarse) + rounding
    return Estimate(
        value,
        value - error,
        value + error,
        confidence=math.nan,
        converged=error <= 0.1 * abs(value),
        method=f"central differences, steps {step:.3g} to {step / 4:.3g}, extrapolated",
        units="loss",
    )


def curvature_along(
    along: Callable[[float], float], center: float, reach: float, eps: float
) -> Estimate:
    """The curvature alone of :func:`measured_along`."""
    return measured_along(along, center, reach, eps).estimate


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
    within = distance[distance < (1 - _TIE) * high]
    low = float(within.max()) if within.size else 0.0
    return Estimate(
        (low + high) / 2,
        low,
        high,
        confidence=math.nan,
        method=f"grid points where |L − quadratic| exceeds {limit:.3g}",
        units="parameter norm",
    )


def _agreement(
    expected: float, measured: Estimate, negligible: float
) -> Literal["agrees", "failed", "open"]:
    """Whether a curvature from losses is that of the Hessian."""
    off = abs(measured.value - expected)
    error = (measured.high - measured.low) / 2
    allowed = max(_AGREEMENT * abs(expected), negligible)
    if off > max(allowed, error):
        return "failed"
    return "open" if error > allowed else "agrees"


def disagreeing(
    expected: Sequence[float], measured: Sequence[Estimate], negligible: Sequence[float]
) -> list[bool]:
    """Which curvatures from losses are not shown to be that of the Hessian; as :func:`verdict`."""
    return [
        math.isfinite(value) and found.exists and _agreement(value, found, unseen) != "agrees"
        for value, found, unseen in zip(expected, measured, negligible, strict=True)
    ]


def verdict(
    center: Estimate,
    base: float,
    names: Sequence[str],
    expected: Sequence[float],
    measured: Sequence[Estimate],
    negligible: Sequence[float],
    converged: Sequence[bool],
    non_finite: int,
    bends: Sequence[object],
) -> Label:
    """Whether a landscape is what the checkpoint and its curvature say it must be, in words.

    Args:
        center: |L − L₀| at the centre.
        base: L₀.
        names: The directions.
        expected: dᵀHd of each; NaN where there is none to compare with.
        measured: The same from the losses.
        negligible: For each, the curvature that changes the loss within the picture too little to
            be seen.
        converged: Whether each direction's eigenpair converged.
        non_finite: Points where the loss is not finite.
        bends: For each, what was found of where its curvature comes from, in words; or None.
    """
    failed, open_ = [], []
    if not center.value <= CENTER_TOLERANCE * max(1.0, abs(base)):
        failed.append(f"the centre is off by {center.value:.3g} from the checkpoint's loss")
    rows = zip(names, expected, measured, negligible, converged, bends, strict=True)
    for name, value, found, unseen, known, bend in rows:
        if not known:
            failed.append(f"{name} is not converged")
        if not math.isfinite(value) or not found.exists:
            continue
        why = f": {bend}" if bend is not None else ""
        words = f"along {name} the loss curves by {found.value:.4g}, and dᵀHd is {value:.4g}"
        state = _agreement(value, found, unseen)
        if state == "failed":
            failed.append(f"{words}{why}")
        elif state == "open":
            half = (found.high - found.low) / 2
            open_.append(f"{words}; ± {half:.2g} is more than 1 % of it{why}")
    if non_finite:
        failed.append(f"{non_finite} points are not finite")
    if failed:
        return Label("failed", "; ".join(failed))
    return Label("not decided", "; ".join(open_)) if open_ else Label("passed")
