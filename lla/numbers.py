"""Numbers and verdicts as text, the same in figures, on the page and in the terminal."""

from __future__ import annotations

import math

from lla.estimate import Estimate, Label

__all__ = ["confidence", "interval", "metric", "number", "outcome", "seconds", "spread"]

_DASH = "—"
_DIGITS = 4
_MOST_DIGITS = 6
_SPREAD_DIGITS = 5
_LOPSIDED = 1.5
_FEW_DECIMALS = 4
_OUTCOMES = {
    "violated": "violated",
    "at_edge": "at the edge",
    "consistent": "consistent",
    "inconclusive": "inconclusive",
    "not_applicable": "not applicable",
}


def number(x: float | None, digits: int = _DIGITS) -> str:
    """A number for a reader: 4 significant digits, whole numbers up to ten million in full.

    NaN and None, which stand for a number that does not exist, are a dash.
    """
    if x is None or math.isnan(x):
        return _DASH
    if math.isinf(x):
        return "∞" if x > 0 else "-∞"
    if x == int(x) and abs(x) < 1e7:
        return f"{int(x):,}"
    mantissa, mark, exponent = f"{x:.{digits}g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if mark else mantissa


def interval(estimate: Estimate) -> str:
    """A value with its interval, as ``97.33 [97.31, 97.35]``.

    All three have as many decimals. Digits are added until the two ends differ; an interval too
    narrow for that is given by its half-width, as ``2.00602 ± 1.3e-7``. A value that does not
    exist is a dash with the reason.
    """
    if not estimate.exists:
        return f"{_DASH}, because {estimate.why}" if estimate.why else _DASH
    value, low, high = estimate.value, estimate.low, estimate.high
    if math.isnan(low) or math.isnan(high) or low == high:
        return number(value)
    for digits in range(_DIGITS, _MOST_DIGITS + 1):
        middle, left, right = _aligned((value, low, high), digits)
        if left != right:
            return f"{middle} [{left}, {right}]"
    half = max(high - value, value - low)
    return f"{number(value, _MOST_DIGITS)} ± {number(half, 2)}"


def spread(estimate: Estimate, digits: int = _SPREAD_DIGITS, *, ends: bool = True) -> str:
    """A value with its half-width, short enough for a column: ``97.33 ± 0.02``.

    What is shown holds the interval: ends are rounded outward, and the half-width takes in the
    rounding of the value. An interval that lies mostly on one side keeps its ends, as
    ``0.95 [0.00, 0.98]``. A value that does not exist is a dash.

    Args:
        estimate: What to show.
        digits: Significant digits of the value, at most.
        ends: Whether such an interval keeps its ends.
    """
    value, low, high = estimate.value, estimate.low, estimate.high
    if not estimate.exists:
        return _DASH
    sides = value - low, high - value
    half = max(sides)
    if not math.isfinite(half) or not math.isfinite(value):
        return interval(estimate)
    if half == 0:
        return number(value, digits)
    decimals = 1 - math.floor(math.log10(half))
    if value:
        decimals = min(decimals, digits - 1 - math.floor(math.log10(abs(value))))
    unit = 10.0**-decimals
    shown = round(value, decimals) + 0.0  # no minus before a zero

    def text(x: float) -> str:
        plain = 1e-4 <= max(abs(shown), half) < 1e7
        return f"{x:,.{max(0, decimals)}f}" if plain else number(x, digits)

    if ends and min(sides) < half / _LOPSIDED and half >= 2 * unit:
        left, right = math.floor(low / unit + 1e-6) * unit, math.ceil(high / unit - 1e-6) * unit
        return f"{text(shown)} [{text(left)}, {text(right)}]"
    wide = math.ceil((half + abs(shown - value)) / unit - 1e-6) * unit
    # As many decimals as the value has, where zeros in front do not fill the column.
    beside = f"{wide:,.{max(0, decimals)}f}" if decimals <= _FEW_DECIMALS else number(wide, 2)
    if shown == 0:
        return f"0 ± {beside}"
    return f"{text(shown)} ± {beside if wide < 1e7 else number(wide, 2)}"


def _aligned(values: tuple[float, float, float], digits: int) -> tuple[str, str, str]:
    """A value and its ends with the same decimals, those of the value's or the width's digits."""
    value, low, high = values
    half = (high - low) / 2
    scale = max(abs(value), half if math.isfinite(half) else 0.0)
    if not 1e-4 <= scale < 1e7:
        return number(value, digits), number(low, digits), number(high, digits)
    decimals = max(0, digits - 1 - math.floor(math.log10(scale)))

    def text(x: float) -> str:
        return f"{x:,.{decimals}f}" if math.isfinite(x) else number(x)

    return text(value), text(low), text(high)


def confidence(estimate: Estimate) -> str:
    """How sure the interval is: ``95 %``, ``certified``, or ``exact`` where it is one point."""
    if not estimate.exists:
        return ""
    if math.isnan(estimate.confidence):
        return "estimated" if estimate.converged else "estimated, not converged"
    if estimate.confidence >= 1.0 and not estimate.converged:
        return "not converged"
    if estimate.confidence >= 1.0:
        level = "exact" if estimate.low == estimate.high else "certified"
    else:
        level = f"{100 * estimate.confidence:.4g} %"
    return level if estimate.converged else f"{level}, not converged"


def metric(value: Estimate | Label) -> str:
    """An estimate with its interval, or a label with what it rests on, unless that is the same."""
    if isinstance(value, Estimate):
        return interval(value)
    words = value.value.replace("_", " ")
    return f"{words} ({value.why})" if value.why.casefold() not in ("", words) else words


def outcome(verdict: str) -> str:
    """A verdict in words."""
    return _OUTCOMES.get(verdict, verdict.replace("_", " "))


def seconds(duration: float) -> str:
    """A duration: ``0.58 s``, ``172 s``, ``2 h 5 min``."""
    if math.isnan(duration) or duration < 600:
        return f"{number(duration, 3 if duration >= 1 else 2)} s"
    minutes = round(duration / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
