"""The spectral density as a small plot in text."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from lla.numbers import number

if TYPE_CHECKING:
    from lla.analyses.spectrum import SpectrumResult

__all__ = ["density_lines"]

_BLOCKS = " ▁▂▃▄▅▆▇█"
_ASCII = " .:|"
_HEIGHT = 7
_LABEL = 7
_LEAST_WIDTH = 24


def density_lines(result: SpectrumResult, width: int, *, plain: bool = False) -> list[str]:
    """The density over the eigenvalue, on a logarithmic scale, with the eigenvalues under it.

    Args:
        result: The spectrum.
        width: Columns of a line.
        plain: Draw with ASCII alone.

    Returns:
        Lines no longer than the width; none where there is no density or no room.
    """
    density = result.density
    top = float(np.nanmax(density.density, initial=0.0))
    columns = width - _LABEL - 2
    if not top > 0 or not np.isfinite(top) or columns < _LEAST_WIDTH:
        return []
    floor = _floor(result, top)
    letters = _ASCII if plain else _BLOCKS
    levels = _levels(density.density, columns, floor, top) * (_HEIGHT * (len(letters) - 1))
    heights = np.where(levels > 0, np.maximum(np.round(levels), 1), 0).astype(int)
    corner, side, line, zero = "+|-+" if plain else "└│─┴"
    lines = []
    for row in reversed(range(_HEIGHT)):
        filled = np.clip(heights - row * (len(letters) - 1), 0, len(letters) - 1)
        label = _scale_label(row, floor, top)
        lines.append(f"{label:>{_LABEL}} {side}{''.join(letters[one] for one in filled)}".rstrip())
    low, high = float(density.eigenvalue[0]), float(density.eigenvalue[-1])
    margin = " " * (_LABEL + 2)
    axis = list(line * columns)
    if low < 0 < high:
        axis[_place(0.0, low, high, columns)] = zero
    lines.append(f"{' ' * _LABEL} {corner}{''.join(axis)}")
    ticks = _ticks(result.eigenvalues, low, high, columns, "^" if plain else "▲")
    lines.append(margin + ticks)
    lines.append(margin + _axis(low, high, columns))
    return [text.rstrip() for text in lines]


def _floor(result: SpectrumResult, top: float) -> float:
    """A little below what one smoothed eigenvalue reaches: less is the smoothing's own tail."""
    count, width = int(np.sum(result.layers.parameters)), result.density.width.value
    if count > 0 and width > 0:
        return min(0.2 / (count * width * math.sqrt(2 * math.pi)), top / 1e3)
    return top / 1e8


def _levels(values: np.ndarray, columns: int, floor: float, top: float) -> np.ndarray:
    """The largest logarithm in each column, 0 at the floor and 1 at the top: shape (columns,)."""
    edges = np.linspace(0, len(values), columns + 1).round().astype(int)
    found = [
        float(np.nanmax(values[begin : max(end, begin + 1)], initial=0.0))
        for begin, end in pairwise(edges)
    ]
    kept = np.maximum(np.array(found), floor)
    scaled: np.ndarray = np.log(kept / floor) / math.log(top / floor)
    return scaled


def _scale_label(row: int, floor: float, top: float) -> str:
    """The density at a row's upper edge: for the highest, the middle and the lowest row."""
    if row not in (0, _HEIGHT // 2, _HEIGHT - 1):
        return ""
    value = floor * (top / floor) ** ((row + 1) / _HEIGHT)
    return f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-")


def _ticks(values: np.ndarray, low: float, high: float, columns: int, mark: str) -> str:
    found = [" "] * columns
    for value in values:
        found[_place(float(value), low, high, columns)] = mark
    return "".join(found)


def _place(value: float, low: float, high: float, columns: int) -> int:
    share = (value - low) / ((high - low) or 1.0)
    return min(columns - 1, max(0, int(share * columns)))


def _axis(low: float, high: float, columns: int) -> str:
    """The ends of the axis, and zero where it is apart from them."""
    left, right = number(low, 3), number(high, 3)
    line = list(left.ljust(columns - len(right)) + right)
    place = _place(0.0, low, high, columns)
    if low < 0 < high and len(left) + 1 <= place <= columns - len(right) - 2:
        line[place] = "0"
    return "".join(line)
