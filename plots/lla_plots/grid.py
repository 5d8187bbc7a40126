"""Rows and columns of small square pictures, laid out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lla_plots.style import VERMILLION, page_width, room_of, size
from lla_plots.text import fitted, symbols, wrapped

__all__ = ["Cells", "picture_of"]

_GAP, _MARGIN, _LARGEST = 0.05, 0.09, 1.1


def picture_of(image: np.ndarray) -> np.ndarray:
    """An image (channel, y, x) as matplotlib wants it: (y, x) or (y, x, 3), within [0, 1]."""
    values = np.asarray(image, dtype=np.float64)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    scaled = np.clip(np.nan_to_num((values - low) / ((high - low) or 1.0)), 0.0, 1.0)
    if scaled.shape[0] == 3:
        return np.asarray(np.moveaxis(scaled, 0, -1))
    return np.asarray(scaled.mean(axis=0))


def _line() -> float:
    return 1.3 * size("tiny") / 72


def _side(columns: int) -> float:
    room = page_width() - 2 * _MARGIN
    return float(min(_LARGEST, room / columns - _GAP))


class Cells:
    """A block of pictures with names above its columns, and perhaps words below each picture.

    Args:
        figure: Where to.
        rows: Rows.
        columns: Columns.
        head: Names of the columns; none if empty.
        top: Inches above that other blocks take.
        words: Lines of words below each picture.
        head_lines: Lines of a column's name.

    Attributes:
        bottom: Inches from above at which the block ends.
    """

    def __init__(
        self,
        figure: Figure,
        rows: int,
        columns: int,
        head: Sequence[str],
        *,
        top: float = 0.0,
        words: int = 0,
        head_lines: int = 1,
    ) -> None:
        self._figure, self._side, self._head = figure, _side(columns), head
        if top == 0.0:
            figure._lla_room = room_of(figure)  # type: ignore[attr-defined]
        self._floor, ceiling = figure._lla_room  # type: ignore[attr-defined]
        above = head_lines * _line() + 0.05 if head else 0.05
        self._step = self._side + _GAP + words * _line() + 0.02 * bool(words)
        self._ceiling = ceiling - top - above
        self.bottom = top + above + rows * self._step

    @staticmethod
    def height(rows: int, columns: int, *, below: int, words: int = 0, heads: int = 1) -> float:
        """The height of a figure of one block with so many lines of explanation, in inches."""
        step = _side(columns) + _GAP + words * _line() + 0.02 * bool(words)
        return rows * step + (heads + below) * _line() + 0.05 * max(1, heads) + 0.12

    def image(self, row: int, column: int, values: np.ndarray, **more: Any) -> Axes:
        """Draw a picture."""
        width, height = (float(x) for x in self._figure.get_size_inches())
        x = _MARGIN + column * (self._side + _GAP)
        y = self._ceiling - self._side - row * self._step
        axes = self._figure.add_axes(
            (x / width, y / height, self._side / width, self._side / height)
        )
        axes.set_axis_off()
        axes.imshow(np.nan_to_num(values), extent=(0.0, 1.0, 1.0, 0.0), aspect="auto", **more)
        if row == 0 and column < len(self._head):
            lines = self._head[column].split("\n")
            shown = [symbols(fitted(line, self._side + 0.5 * _GAP, size("tiny"))) for line in lines]
            axes.set_title("\n".join(shown), fontsize=size("tiny"), pad=2, loc="center")
        return axes

    def words(self, axes: Axes, text: str) -> None:
        """Write below a picture."""
        axes.text(
            0.5, -0.02, symbols(text), transform=axes.transAxes, ha="center", va="top",
            fontsize=size("tiny"), linespacing=1.15,
        )  # fmt: skip

    def frame(self, axes: Axes) -> None:
        """Draw a frame around a picture."""
        axes.add_patch(
            Rectangle((0, 0), 1, 1, fill=False, ec=VERMILLION, lw=2.0, transform=axes.transAxes)
        )

    def explain(self, text: str) -> None:
        """Write what is shown below all pictures."""
        width, height = (float(x) for x in self._figure.get_size_inches())
        lines = wrapped(text, page_width() - 2 * _MARGIN, size("tiny"))
        self._figure.text(
            _MARGIN / width, (self._floor + 0.03) / height, symbols("\n".join(lines)),
            fontsize=size("tiny"), va="bottom", linespacing=1.25,
        )  # fmt: skip
