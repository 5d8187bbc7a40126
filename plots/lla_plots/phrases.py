"""Pieces of sentences."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lla.estimate import Estimate
from lla.numbers import confidence, interval, number

__all__ = ["capital", "counted", "listed", "percent", "told", "width"]


def told(estimate: Estimate) -> str:
    """A value with its interval and how sure it is: ``97.33 [97.31, 97.35], certified``."""
    sure = confidence(estimate)
    return f"{interval(estimate)} ({sure})" if sure else interval(estimate)


def listed(items: Sequence[str], last: str = "and") -> str:
    """Items in a sentence: ``a, b and c``."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {last} {items[-1]}"


def counted(count: int, singular: str, plural: str = "") -> str:
    """A number of things: ``1 sample``, ``1,437 samples``."""
    return f"{number(count)} {singular if count == 1 else plural or f'{singular}s'}"


def percent(share: float) -> str:
    """A share as per cent, to whole ones from ten on."""
    return f"{100 * share:.0f} %" if abs(share) >= 0.1 else f"{number(100 * share, 2)} %"


def width(estimate: Estimate) -> float:
    """Half width of the interval relative to the value: inf where open or about zero."""
    half = max(estimate.high - estimate.value, estimate.value - estimate.low)
    if half == 0:
        return 0.0
    return half / abs(estimate.value) if estimate.value else float("inf")


def capital(text: str) -> str:
    """Text with a capital to begin a sentence, unless it begins with a symbol or a name."""
    word = re.match(r"[a-z]+(?=[ ,;:.]|$)", text)
    return text[:1].upper() + text[1:] if word else text
