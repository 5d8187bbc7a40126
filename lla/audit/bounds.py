"""Intervals against limits: what they say, and whether they can be relied on."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from lla.audit.evidence import Evidence
from lla.audit.findings import Finding, Outcome
from lla.audit.policy import Gate
from lla.comparing import Circumstances, difference
from lla.estimate import Estimate
from lla.numbers import confidence as level
from lla.numbers import interval, metric, number

__all__ = [
    "doubt_of",
    "doubted",
    "finding_of",
    "held",
    "short_of",
    "told_change",
    "told_of",
    "with_sampling",
]

_MOST = 1e6
_ROOM = 0.7  # of the way to the limit, for an interval that is to stay clear of it
_ROUNDING = 1e-12


def doubted(
    gate: Gate, message: str, measured: Estimate | None = None, *, loose: bool = True, **more: Any
) -> Finding:
    """A gate that cannot be decided, by however much the interval has to be narrower."""
    return Finding(
        gate, Outcome.INCONCLUSIVE, message, measured, loose=loose, narrower=_MOST, **more
    )


def with_sampling(value: Estimate, needed: float) -> Estimate:
    """The estimate with the error from having analysed a sample in its interval."""
    nothing = Estimate.exact(0.0, method="")
    given = Circumstances(shared=False, sampled=True, level=needed)
    return replace(difference(nothing, value, given), units=value.units)


def doubt_of(value: Estimate, needed: float, evidence: Evidence) -> str:
    """Why an interval cannot be relied on at a confidence; "" where it can."""
    if math.isnan(value.confidence):
        return "its interval has no stated confidence"
    if not value.converged and value.confidence >= 1:
        more = "" if evidence.runnable else ": analyse it with more steps"
        return f"it has not converged{more}"
    if value.confidence < needed - _ROUNDING:
        return short_of(value.confidence, needed, evidence)
    return ""


def short_of(held: float, needed: float, evidence: Evidence) -> str:
    """Why an interval that holds at less than is needed cannot be relied on."""
    told = f"its interval holds at {_percent(held)}, and {_percent(needed)} is asked for"
    if evidence.runnable:
        return told
    enough = 1 - (1 - needed) * min(1.0, (1 - needed) / (1 - held))
    both = " and the baseline" if evidence.baseline else ""
    return f"{told}: analyse it{both} with --confidence {math.ceil(enough * 1e4 - 1e-6) / 1e4:g}"


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def held(value: Estimate, least: float, most: float) -> Outcome:
    """Whether an interval lies within limits, beyond one, or holds one."""
    if value.low > most or value.high < least:
        return Outcome.FAIL
    inside = value.low >= least and value.high <= most
    return Outcome.PASS if inside else Outcome.INCONCLUSIVE


def finding_of(
    gate: Gate,
    outcome: Outcome,
    told: str,
    value: Estimate,
    ends: tuple[float, float],
    *,
    relative: bool = False,
) -> Finding:
    """What an interval says of limits, in words."""
    least, most = ends
    if outcome is Outcome.FAIL:
        above = value.low > most
        limit, word = (most, "above") if above else (least, "below")
    else:
        # The limit that is nearest, or lies inside.
        gaps = {least: value.low - least, most: most - value.high}
        gaps = {end: gap for end, gap in gaps.items() if math.isfinite(end)}
        limit = min(gaps, key=lambda end: gaps[end])
        word = "at most" if limit == most else "at least"
        if outcome is Outcome.INCONCLUSIVE:
            word = "its interval holds the limit"
    size = f"{number(100 * limit)} %" if relative else number(limit)
    half = max(value.high - value.value, value.value - value.low)
    gap = _ROOM * abs(value.value - limit)
    return Finding(
        gate,
        outcome,
        f"{told}, {word} {size}",
        value,
        loose=outcome is Outcome.INCONCLUSIVE,
        narrower=min(_MOST, half / gap) if gap else _MOST,
    )


def told_of(value: Estimate, gate: Gate) -> str:
    """A value with its interval, and how sure that is."""
    sampled = ", with the error of the sample" if gate.include_sampling else ""
    return f"{metric(value)} ({level(value)}{sampled})"


def told_change(value: Estimate, gate: Gate, *, relative: bool) -> str:
    """A change with its interval; a relative one in per cent."""
    if not relative:
        return told_of(value, gate)
    share = replace(value, value=100 * value.value, low=100 * value.low, high=100 * value.high)
    return f"{interval(share)} % ({level(value)})"
