"""How far a landscape reaches along each axis."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from lla.analyses.landscape import parse_range

__all__ = ["around", "positions", "reach_along"]

_HALVINGS = 12
_MARGIN = 0.25  # beyond the checkpoints that a plane shows, in parts of their extent


def reach_along(
    curvature: float,
    rise: float,
    longest: float,
    highest: float,
    along: Callable[[float], float],
) -> float:
    """Half width of a landscape along an axis.

    The distance at which ½|dᵀHd|t² reaches the rise, but no farther than ``longest``; and where the
    loss is steeper than its curvature at the centre tells, halved until it stays below ``highest``
    at both ends.

    Args:
        curvature: dᵀHd; NaN if unknown.
        rise: What the second-order model rises by at the edge.
        longest: Largest distance.
        highest: Largest loss at the edges.
        along: Loss at a signed distance.
    """
    known = math.isfinite(curvature) and curvature != 0
    reach = min(math.sqrt(2 * rise / abs(curvature)), longest) if known else longest
    for _ in range(_HALVINGS):
        # Not finite is too high as well.
        if along(reach) <= highest and along(-reach) <= highest:
            break
        reach /= 2
    return reach


def positions(text: str, low: float, high: float, points: int) -> np.ndarray:
    """Distances along an axis: the stated range, or ``points`` from low to high."""
    if text:
        return np.linspace(*parse_range(text))
    return np.linspace(low, high, points)


def around(coordinates: np.ndarray) -> tuple[float, float]:
    """A range that shows the checkpoint (0) and others at these distances (m,), with a margin."""
    low, high = min(0.0, float(coordinates.min())), max(0.0, float(coordinates.max()))
    margin = _MARGIN * ((high - low) or 1.0)
    return low - margin, high + margin
