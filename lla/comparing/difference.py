"""The difference of two estimates, with the interval that its parts warrant.

How two half-widths join depends on what they are:

- *Bounds* (certified, exact up to rounding) hold always, whatever else does: they add.
- *Student intervals* at confidence c, whose errors are normal. If they are of independent draws,
  √(h_a² + h_b²) covers the difference with probability at least c (Banerjee 1960; for intervals
  that are not symmetric Zou & Donner 2008 give the same form as an approximation). If the draws
  may be shared, as where both runs have one seed, the errors may be correlated either way, and
  h_a + h_b covers at c whatever the correlation is.
- *Other intervals* at confidence c: both hold together with probability at least c_a·c_b if they
  are independent, c_a + c_b − 1 if not (Bonferroni), and then their half-widths add.
- *Indications* without a stated level: they add, and the difference has no stated level either.

Why both rules for Student's intervals hold: let D be the error of the difference, normal and
independent of the half-widths h_i = t_i·s_i. P(|Z| ≤ √x) and P(|Z| ≤ x) are concave in x ≥ 0. D's
variance is σ_a² + σ_b² for independent draws, so h_a² + h_b² in its units is a weighted mean of
t_i²s_i²/σ_i²; it is at most (σ_a + σ_b)² in any case, so (h_a + h_b)/(σ_a + σ_b) is a weighted mean
of t_i·s_i/σ_i. By Jensen each coverage is at least that mean of P(|T_i| ≤ t_i) = c.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from lla.estimate import Estimate

__all__ = ["Circumstances", "difference", "relative_change"]

Kind = Literal["bound", "student", "interval", "indication"]

# A loss or a gradient of the same weights is the same on another machine but for so many roundings.
_ROUNDINGS = 64.0
_HALVINGS = 200
_FARTHEST = 1e12


@dataclass(frozen=True)
class Circumstances:
    """What two estimates have in common.

    Attributes:
        shared: Whether their random draws may be the same, as with one seed.
        sampled: Whether they are of different data, and the error from having analysed a sample
            of a larger set counts.
        eps: Unit roundoff of what the model computes in.
        level: Confidence at which the sampling error is taken where the parts state none.
    """

    shared: bool = True
    sampled: bool = False
    eps: float = 0.0
    level: float = 0.95


@dataclass(frozen=True)
class _Part:
    """One estimate's share in a difference: half-widths below and above, never negative."""

    kind: Kind
    below: float
    above: float
    sampling: float
    confidence: float


def difference(
    reference: Estimate, other: Estimate, given: Circumstances, *, times: float = 1.0
) -> Estimate:
    """``other − times·reference`` with its interval.

    Args:
        reference: The estimate to subtract.
        other: The estimate to subtract from.
        given: What they have in common.
        times: Factor of the reference; 1.25 asks whether the other is larger by a quarter.

    Returns:
        The difference at the confidence that its parts warrant; missing where an estimate is
        missing or infinite.
    """
    for one in (reference, other):
        if not one.exists:
            return Estimate.missing(one.why or "there is no value", units=other.units)
        if math.isinf(one.value):
            return Estimate.missing("the value is infinite", units=other.units)
    value = other.value - times * reference.value
    parts = (_part(other, 1.0, given), _part(reference, -times, given))
    return Estimate(
        value,
        value - _joined([part.below for part in parts], parts, given),
        value + _joined([part.above for part in parts], parts, given),
        _confidence(parts, given),
        converged=reference.converged and other.converged,
        method=_method(parts, given),
        units=other.units,
    )


def relative_change(reference: Estimate, other: Estimate, given: Circumstances) -> Estimate:
    """``(other − reference) / |reference|``: all factors that the difference does not exclude.

    That is Fieller's interval, with the half-widths joined as in :func:`difference`.

    Returns:
        The change as a share, 0.25 for a quarter more; missing where the reference is zero within
        its interval.
    """
    plain = difference(reference, other, given)
    if not plain.exists:
        return Estimate.missing(plain.why)
    if reference.low <= 0.0 <= reference.high:
        return Estimate.missing("the reference is zero within its interval")
    sign = math.copysign(1.0, reference.value)
    base, changed = (_times(one, sign) for one in (reference, other))
    ratio = changed.value / base.value
    low = _root(lambda k: difference(base, changed, given, times=k).low, ratio, -1.0)
    high = _root(lambda k: difference(base, changed, given, times=k).high, ratio, +1.0)
    ends = sorted((sign * (low - 1.0), sign * (high - 1.0)))
    return Estimate(
        sign * (ratio - 1.0),
        ends[0],
        ends[1],
        plain.confidence,
        converged=plain.converged,
        method=plain.method,
    )


def _part(estimate: Estimate, factor: float, given: Circumstances) -> _Part:
    size = abs(factor)
    rounding = 0.0
    if estimate.low == estimate.high and estimate.units:
        rounding = _ROUNDINGS * given.eps * abs(estimate.value)
    below = size * (estimate.value - estimate.low + rounding)
    above = size * (estimate.high - estimate.value + rounding)
    if factor < 0:
        below, above = above, below
    sampling = size * (estimate.sampling_stderr or 0.0) if given.sampled else 0.0
    return _Part(_kind(estimate), below, above, sampling, estimate.confidence)


def _kind(estimate: Estimate) -> Kind:
    if math.isnan(estimate.confidence):
        return "indication"
    if estimate.confidence >= 1.0:
        return "bound"
    return "interval" if estimate.stderr is None else "student"


def _joined(halves: Sequence[float], parts: Sequence[_Part], given: Circumstances) -> float:
    """The half-width of the difference on one side."""
    student = [half for half, part in zip(halves, parts, strict=True) if part.kind == "student"]
    rest = [half for half, part in zip(halves, parts, strict=True) if part.kind != "student"]
    drawn = sum(student) if given.shared else math.hypot(*student)
    # Samples of data are drawn apart from the probes; where two sets overlap, their errors partly
    # cancel in the difference, and this is too wide rather than too narrow.
    stderr = math.hypot(*(part.sampling for part in parts))
    sampled = NormalDist().inv_cdf(0.5 + _level(parts, given) / 2) * stderr if stderr else 0.0
    return math.hypot(drawn, sampled) + sum(rest)


def _level(parts: Sequence[_Part], given: Circumstances) -> float:
    """The confidence at which sampling errors are taken: the parts' own, or the one given."""
    stated = [part.confidence for part in parts if part.confidence < 1.0]
    return min(stated, default=given.level)


def _confidence(parts: Sequence[_Part], given: Circumstances) -> float:
    kinds = [part.kind for part in parts]
    if "indication" in kinds:
        return math.nan
    levels = [part.confidence for part in parts if part.kind in ("student", "interval")]
    if any(part.sampling for part in parts):
        levels.append(_level(parts, given))
    if not levels:
        return 1.0
    if "interval" not in kinds:
        return min(levels)
    if given.shared or len(levels) > 2:
        return max(0.0, 1.0 - sum(1.0 - level for level in levels))
    return math.prod(levels)


def _method(parts: Sequence[_Part], given: Circumstances) -> str:
    kinds = {part.kind for part in parts}
    words = "half-widths added"
    if [part.kind for part in parts] == ["student", "student"]:
        words += ": the draws may be shared" if given.shared else " in quadrature"
    elif kinds == {"bound"}:
        words = "bounds added"
    if any(part.sampling for part in parts):
        words += ", with the error of the sample"
    return words


def _times(estimate: Estimate, sign: float) -> Estimate:
    if sign > 0:
        return estimate
    return Estimate(
        -estimate.value,
        -estimate.high,
        -estimate.low,
        estimate.confidence,
        stderr=estimate.stderr,
        sampling_stderr=estimate.sampling_stderr,
        converged=estimate.converged,
        units=estimate.units,
    )


def _root(end: Callable[[float], float], start: float, toward: float) -> float:
    """The factor at which an end of the difference, which falls as the factor grows, is zero."""
    if end(start) == 0.0:
        return start
    step = 1e-9 * max(1.0, abs(start))
    near, far = start, start + toward * step
    while toward * end(far) > 0.0:
        step *= 2.0
        if step > _FARTHEST:
            return toward * math.inf
        near, far = far, start + toward * step
    for _ in range(_HALVINGS):
        middle = (near + far) / 2
        if middle in (near, far):
            break
        near, far = (middle, far) if toward * end(middle) > 0.0 else (near, middle)
    return far
