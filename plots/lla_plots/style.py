"""What all figures share: colours, sizes, the footer. Nothing here changes matplotlib's state."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

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
    "footer",
    "log_worthy",
    "new_figure",
    "short",
    "styled",
    "symbols",
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

PALETTE = (BLACK, "#FFFFFF", ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE, GREY)

OUTCOME_COLORS = {
    "violated": VERMILLION,
    # Okabe–Ito's orange, darkened until words in it can be read on white.
    "at_edge": "#A86F00",
    "consistent": "#00775A",
    "inconclusive": BLUE,
    "not_applicable": GREY,
}

RC: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.fontsize": 8.0,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "image.cmap": "viridis",
    # Text of vector files stays text, and their identifiers do not change from run to run.
    "svg.fonttype": "none",
    "svg.hashsalt": "lla",
    "pdf.fonttype": 42,
}

_FOOTER_HEIGHT = 0.3

P = ParamSpec("P")
T = TypeVar("T")


def styled(function: Callable[P, T]) -> Callable[P, T]:
    """Draw with the style of this package, whatever the user's own is, and leave theirs alone."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(cast(Any, RC))
            return function(*args, **kwargs)

    return wrapped


def new_figure(width: float, height: float, caption: str) -> Figure:
    """A figure outside of pyplot, with the caption as its footer.

    Args:
        width: In inches.
        height: In inches, the footer included.
        caption: The footer's text.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    footer(figure, caption)
    return figure


def footer(figure: Figure, caption: str) -> None:
    """Write the caption below the figure and keep the plots clear of it."""
    width, height = figure.get_size_inches()
    lines = textwrap.wrap(caption, width=max(20, int(width * 20.5)), max_lines=3)
    if not lines:
        return
    text = symbols("\n".join(lines))
    figure.text(
        0.012, 0.06 / height, text, fontsize=6.5, color="#555555", va="bottom", gid="footer"
    )
    share = (_FOOTER_HEIGHT + 0.13 * (len(lines) - 1)) / height
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0.0, share, 1.0, 1.0 - share))  # type: ignore[call-arg]


def short(text: str, length: int) -> str:
    """A name cut in its middle to a length, since its ends tell it apart."""
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"


def symbols(text: str) -> str:
    """Text with dollar signs kept from starting a formula, and the indices of λ set low."""
    escaped = text.replace("$", r"\$")
    return re.sub(r"λ_(max|min)", r"λ$_{\\mathrm{\1}}$", escaped)


def log_worthy(values: ArrayLike) -> bool:
    """Whether the finite values are positive and span more than two orders of magnitude."""
    array = np.asarray(values, dtype=np.float64)
    finite = array[np.isfinite(array)]
    return bool(finite.size and finite.min() > 0 and finite.max() > 100 * finite.min())
