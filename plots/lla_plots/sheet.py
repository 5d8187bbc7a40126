"""A printed page that is filled from the top down: headings, text of known height, plots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import BboxTransformTo, ScaledTranslation

from lla_plots.style import size
from lla_plots.text import fitted, symbols, text_width, wrapped

__all__ = ["Look", "Sheet"]

_WIDTH, _HEIGHT = 210 / 25.4, 297 / 25.4
_SIDE, _TOP, _BOTTOM = 0.5, 0.5, 0.45
_LEADING = 1.3


@dataclass(frozen=True)
class Look:
    """How text is written.

    Attributes:
        kind: Of its size: "text", "small" or "tiny".
        color: Of its letters.
        bold: Whether it is bold.
        indent: Of its lines, in inches.
        most: Lines at most; 0: any number.
        whole: Whether a long word goes on in the next line instead of being cut.
    """

    kind: str = "text"
    color: str = "black"
    bold: bool = False
    indent: float = 0.0
    most: int = 0
    whole: bool = False

    @property
    def line(self) -> float:
        """The height of a line, in inches."""
        return _LEADING * size(self.kind) / 72


class Sheet:
    """A page as wide as A4, and as tall until it is cut; in inches, ``y`` from the top.

    Attributes:
        figure: The page.
        x: Left edge of the column that is written.
        y: Where the next line goes.
        width: Of the column.
    """

    def __init__(self, name: str, title: str, caption: str) -> None:
        self.figure = Figure(figsize=(_WIDTH, _HEIGHT))
        FigureCanvasAgg(self.figure)
        # Inches from the upper left corner, upwards: what is written keeps its place in a cut.
        corner = ScaledTranslation(0.0, 1.0, BboxTransformTo(self.figure.bbox))
        self._inches = self.figure.dpi_scale_trans + corner
        self.x, self.y, self.width = _SIDE, _TOP, _WIDTH - 2 * _SIDE
        room = 0.97 * self.width - text_width(title, 14)
        self.figure.text(
            self.x, -self.y, symbols(fitted(name, room, 14) + title), fontsize=14,
            va="top", gid="title", transform=self._inches,
        )  # fmt: skip
        self.y += 0.32
        lines = wrapped(caption, self.width, size("tiny"), joint=" · ")
        self.figure.text(
            self.x, -self.y, symbols("\n".join(lines)), fontsize=size("tiny"),
            color="#555555", va="top", linespacing=_LEADING, gid="footer", transform=self._inches,
        )  # fmt: skip
        self.y += len(lines) * Look("tiny").line + 0.02

    @property
    def left_over(self) -> float:
        """The height that is not written on."""
        return _HEIGHT - _BOTTOM - self.y

    def heading(self, text: str) -> None:
        """Write a heading over a thin line."""
        self.y += 0.13
        # Bold letters are a good tenth wider.
        points = min(10.0, 10.0 * self.width / (1.18 * text_width(text, 10.0)))
        self.figure.text(
            self.x, -self.y, symbols(text), fontsize=points, fontweight="bold", va="top",
            transform=self._inches,
        )  # fmt: skip
        self.y += 0.2
        ends = (self.x, self.x + self.width), (-self.y, -self.y)
        self.figure.add_artist(Line2D(*ends, color="#BBBBBB", lw=0.7, transform=self._inches))
        self.y += 0.06

    def lines_of(self, text: str, look: Look = Look()) -> list[str]:
        """A paragraph's lines in the current column; bold letters are a tenth wider."""
        room = (self.width - look.indent) / (1.1 if look.bold else 1.0)
        return wrapped(text, room, size(look.kind), look.most, whole=look.whole)

    def height_of(self, text: str, look: Look = Look(), gap: float = 0.04) -> float:
        """What a paragraph takes of the current column, with the gap below it."""
        return len(self.lines_of(text, look)) * look.line + gap

    def paragraph(self, text: str, look: Look = Look(), gap: float = 0.04) -> None:
        """Write text in the current column."""
        lines = self.lines_of(text, look)
        if not lines:
            return
        self.figure.text(
            self.x + look.indent, -self.y, symbols("\n".join(lines)),
            fontsize=size(look.kind), color=look.color, va="top", linespacing=_LEADING,
            fontweight="bold" if look.bold else "normal", transform=self._inches,
        )  # fmt: skip
        self.y += len(lines) * look.line + gap

    def mark(self, marker: str, color: str, *, hollow: bool) -> None:
        """Draw a mark at the beginning of the next line."""
        face = "white" if hollow else color
        place = [self.x + 0.05], [-self.y - 0.07]
        self.figure.add_artist(
            Line2D(
                *place, marker=marker, mfc=face, mec=color, ms=5, ls="none", transform=self._inches
            )
        )

    def row(self, cells: Sequence[tuple[float, str, Look]]) -> None:
        """Write a table's row: each cell at its distance from the column's left edge."""
        starts = [cell[0] for cell in cells[1:]] + [self.width]
        for (start, text, look), end in zip(cells, starts, strict=True):
            line = wrapped(text, end - start - 0.05, size(look.kind), 1)
            self.figure.text(
                self.x + start, -self.y, symbols("".join(line)),
                fontsize=size(look.kind), color=look.color, va="top", transform=self._inches,
            )  # fmt: skip
        self.y += max(cell[2].line for cell in cells)

    @contextmanager
    def column(self, start: float, width: float) -> Iterator[None]:
        """Write in a part of the column; at the end, at the same height again."""
        before = self.x, self.y, self.width
        self.x, self.width = self.x + start, width
        try:
            yield
        finally:
            self.x, self.y, self.width = before

    def axes(self, height: float, left: float, right: float = 0.05, below: float = 0.42) -> Axes:
        """A plot as wide as the column.

        Args:
            height: With the labels below it.
            left: Room for what stands on its left.
            right: Room on its right.
            below: Room for what stands below.
        """
        x, width, tall = self.x + left, self.width - left - right, height - below
        bottom = _HEIGHT - (self.y + tall)
        self.y += height
        return self.figure.add_axes((x / _WIDTH, bottom / _HEIGHT, width / _WIDTH, tall / _HEIGHT))

    def cut(self) -> None:
        """End the page below what is written, where that is above the foot of an A4 page."""
        off = max(0.0, self.left_over)
        for axes in self.figure.axes:
            x, y, width, tall = axes.get_position(original=True).bounds
            left = _HEIGHT - off
            axes.set_position((x, (y * _HEIGHT - off) / left, width, tall * _HEIGHT / left))
        self.figure.set_size_inches(_WIDTH, _HEIGHT - off)
