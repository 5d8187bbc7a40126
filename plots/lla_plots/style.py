"""What all figures share: colours, widths, head and footer. Matplotlib's state stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from lla.errors import ConfigurationError
from lla_plots.text import FONT, symbols, text_width, wrapped

__all__ = [
    "BLACK",
    "BLUE",
    "GREEN",
    "GREY",
    "ORANGE",
    "OUTCOME_COLORS",
    "PALETTE",
    "PURPLE",
    "RC",
    "SKY",
    "VERMILLION",
    "WARNING",
    "drawn_at",
    "legend_above",
    "log_worthy",
    "millimetres",
    "narrow",
    "new_figure",
    "page_width",
    "room_of",
    "root",
    "size",
    "styled",
]

# Okabe & Ito: told apart with every common kind of colour vision.
BLACK = "#000000"
ORANGE = "#E69F00"
SKY = "#56B4E9"
GREEN = "#009E73"
BLUE = "#0072B2"
VERMILLION = "#D55E00"
PURPLE = "#CC79A7"
GREY = "#8A8A8A"
# Vermillion, darkened until small words in it can be read on white.
WARNING = "#A83E00"

PALETTE = (BLACK, "#FFFFFF", ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE, GREY, WARNING)

OUTCOME_COLORS = {
    "violated": VERMILLION,
    # Okabe–Ito's orange, darkened until words in it can be read on white.
    "at_edge": "#A86F00",
    "consistent": "#00775A",
    "inconclusive": BLUE,
    "not_applicable": "#6A6A6A",
}

# Widths of a journal's page and of one of its columns, in mm.
_WIDTHS = {"full": 180.0, "column": 85.0}
_NARROW = 130.0
_LEAST, _MOST = 60.0, 400.0
_MM = 25.4
_width: ContextVar[float] = ContextVar("width of figures in mm", default=_WIDTHS["full"])

# Points, on paper: of (a whole page's width, a column's).
_SIZES = {"title": (10.0, 8.0), "text": (8.5, 7.0), "small": (7.5, 6.5), "tiny": (6.5, 6.0)}

RC: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": [FONT],
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.handlelength": 1.7,
    "legend.columnspacing": 1.4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "image.cmap": "viridis",
    # An SVG looks the same on machines without the font; the PDF is the one whose text is text.
    "svg.fonttype": "path",
    # Identifiers in vector files do not change from run to run.
    "svg.hashsalt": "lla",
    "pdf.fonttype": 42,
}

_LINE = 1.32
_MARGIN = 0.09

P = ParamSpec("P")
T = TypeVar("T")


def millimetres(text: str) -> float:
    """A width as the user states it: ``full`` (180 mm), ``column`` (85 mm), or a number of mm.

    Raises:
        ConfigurationError: It is none of these, or no width for a figure.
    """
    try:
        found = _WIDTHS.get(text) or float(text.removesuffix("mm"))
    except ValueError:
        found = 0.0
    if _LEAST <= found <= _MOST:
        return found
    raise ConfigurationError(
        f"'{text}' is no width for a figure",
        f"choose full (180 mm), column (85 mm), or mm from {_LEAST:g} to {_MOST:g}: --width 120",
    )


@contextmanager
def drawn_at(width: float) -> Iterator[None]:
    """Draw figures for a width on paper, in mm: sizes of text are meant for it."""
    before = _width.set(width)
    try:
        yield
    finally:
        _width.reset(before)


def page_width() -> float:
    """The width that figures are drawn for, in inches."""
    return _width.get() / _MM


def narrow() -> bool:
    """Whether figures are drawn for a column: panels then stand one above the other."""
    return _width.get() < _NARROW


def size(kind: str) -> float:
    """The font size of a "title", of "text", "small" or "tiny", in points."""
    return _SIZES[kind][narrow()]


def styled(function: Callable[P, T]) -> Callable[P, T]:
    """Draw with the style of this package, whatever the user's own is, and leave theirs alone."""

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        sizes = {
            "font.size": size("text"),
            "axes.titlesize": size("text"),
            "axes.labelsize": size("text"),
            **dict.fromkeys(
                ("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), size("small")
            ),
        }
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(cast(Any, {**RC, **sizes}))
            return function(*args, **kwargs)

    return wrapper


def new_figure(
    width: float,
    height: float,
    caption: str,
    *,
    title: str = "",
    notes: Sequence[str] = (),
    legend: Sequence[Any] = (),
) -> Figure:
    """A figure outside of pyplot: title, warnings and legend above, the caption below.

    Args:
        width: In inches; :func:`page_width` is what figures are drawn for.
        height: Of what lies between head and footer, in inches.
        caption: The footer's text, in parts between `` · ``.
        title: What is shown.
        notes: What to know before trusting it, each on lines of its own.
        legend: Artists with labels, for a legend of all panels together.
    """
    lines = wrapped(caption, width - 2 * _MARGIN, size("tiny"), joint=" · ")
    warned = _note_lines(notes, width)
    columns, rows = _legend_shape(legend, width - 2 * _MARGIN)
    titled = wrapped(title, width - 2 * _MARGIN, size("title"), 3)
    title_height = _lines_height("title", len(titled))
    notes_height = _lines_height("small", len(warned))
    above = title_height + notes_height + _lines_height("small", rows)
    below = _lines_height("tiny", len(lines))
    total = height + above + below
    figure = Figure(figsize=(width, total), layout="constrained")
    FigureCanvasAgg(figure)
    figure.text(
        _MARGIN / width, 0.05 / total, symbols("\n".join(lines)), fontsize=size("tiny"),
        color="#555555", va="bottom", linespacing=_LINE, gid="footer",
    )  # fmt: skip
    top = 1 - 0.05 / total
    figure.text(
        _MARGIN / width,
        top,
        symbols("\n".join(titled)),
        fontsize=size("title"),
        va="top",
        gid="title",
    )
    figure.text(
        _MARGIN / width, top - title_height / total, symbols("\n".join(warned)),
        fontsize=size("small"), color=WARNING, va="top", linespacing=_LINE, gid="notes",
    )  # fmt: skip
    if legend:
        place = (_MARGIN / width, top - (title_height + notes_height) / total)
        figure.legend(
            handles=list(legend), loc="upper left", bbox_to_anchor=place, ncols=columns,
            borderaxespad=0.0, borderpad=0.0, labelspacing=0.3,
        )  # fmt: skip
    engine = figure.get_layout_engine()
    assert engine is not None
    rect = (0.0, below / total, 1.0, height / total)
    engine.set(rect=rect, w_pad=0.04, h_pad=0.04)  # type: ignore[call-arg]
    return figure


def _note_lines(notes: Sequence[str], width: float) -> list[str]:
    room = width - 2 * _MARGIN
    return [line for note in notes for line in wrapped(f"▸ {note}", room, size("small"), 3)]


def _lines_height(kind: str, count: int) -> float:
    return (count * _LINE * size(kind) + 4) / 72 if count else 0.0


def _legend_shape(handles: Sequence[Any], room: float) -> tuple[int, int]:
    """Columns and rows of a legend that is no wider than the room, in inches."""
    if not handles:
        return 1, 0
    # A mark and its gaps take as much as four letters of the font's size.
    widths = np.array([text_width(str(h.get_label()), size("small")) for h in handles])
    widths += 4.2 * size("small") / 72
    columns = len(handles)
    # As matplotlib does, each column is filled from the top before the next.
    while columns > 1 and sum(part.max() for part in np.array_split(widths, columns)) > room:
        columns -= 1
    return columns, -(-len(handles) // columns)


def legend_above(axes: Axes, title: str = "", handles: Sequence[Any] | None = None) -> None:
    """Put the legend of a panel as wide as the figure between its title and the panel.

    Args:
        axes: The panel.
        title: Of the panel.
        handles: What the legend explains; by default all that is labelled.
    """
    found = list(axes.get_legend_handles_labels()[0] if handles is None else handles)
    columns, rows = _legend_shape(found, 0.86 * page_width())
    if found:
        axes.legend(
            handles=found, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=columns,
            borderaxespad=0.1, borderpad=0.15, labelspacing=0.25,
        )  # fmt: skip
    if title:
        axes.set_title(symbols(title), pad=4 + rows * 1.3 * size("small") + 3 * bool(rows))


def room_of(figure: Figure) -> tuple[float, float]:
    """Lay a new figure out by hand: where in inches from below the plots begin, and end."""
    engine = figure.get_layout_engine()
    assert engine is not None
    _, bottom, _, share = engine.get()["rect"]
    height = float(figure.get_size_inches()[1])
    figure.set_layout_engine("none")
    return bottom * height, (bottom + share) * height


def root(axes: Axes) -> Figure:
    """The whole figure that axes are part of."""
    # ``get_figure(root=True)`` came with matplotlib 3.10; a figure's figure is itself.
    return cast(Figure, cast(Any, axes.figure).figure)


def log_worthy(values: ArrayLike) -> bool:
    """Whether the finite values are positive and span more than two orders of magnitude."""
    array = np.asarray(values, dtype=np.float64)
    finite = array[np.isfinite(array)]
    return bool(finite.size and finite.min() > 0 and finite.max() > 100 * finite.min())
