"""Figure of the sharpness measures: each rise of the loss beside its second-order form."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from lla.analyses.sharpness import SharpnessResult
from lla.estimate import Estimate
from lla.numbers import interval, number
from lla_plots.style import BLUE, GREY, VERMILLION, new_figure, page_width, styled
from lla_plots.text import symbols

__all__ = ["ROWS", "figures"]

# Name, measured, second order, first order: names of metrics.
ROWS = (
    ("SAM: worst in a ball", "sam", "sam_order2", "sam_order1"),
    ("ASAM: worst relative to |θ|", "asam", "asam_order2", "asam_order1"),
    ("m-sharpness: a batch’s own step", "m_sharpness", "", ""),
    ("average over Gaussian noise", "average", "average_order2", ""),
    ("average over noise relative to |θ|", "scaled_average", "scaled_average_order2", ""),
)
_MEASURED: dict[str, Any] = {"color": BLUE, "marker": "o", "ms": 6}
_SECOND: dict[str, Any] = {"color": VERMILLION, "marker": "D", "ms": 6, "mfc": "white"}
_FIRST: dict[str, Any] = {"color": GREY, "marker": "|", "ms": 11, "mew": 1.8}
_ROW = 0.52  # inches


@styled
def figures(result: SharpnessResult, caption: str) -> dict[str, Figure]:
    """Draw ``sharpness``; nothing where no rise is known."""
    rows = [row for row in ROWS if _of(result, row[1]).exists]
    if not rows:
        return {}
    figure = new_figure(
        page_width(), _ROW * len(rows) + 0.5, caption,
        title="Rises of the loss around the checkpoint",
        notes=_notes(result, rows), legend=_legend(),
    )  # fmt: skip
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.set_ylim(len(rows) - 0.6, -0.55)
    axes.set_xlim(*_limits(result, rows))
    for y, (title, measured, second, first) in enumerate(rows):
        _draw_row(axes, y, title, *(_of(result, name) for name in (measured, second, first)))
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("rise of the loss")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(lambda x, _: number(x, 2))
    return {"sharpness": figure}


def _of(result: SharpnessResult, name: str) -> Estimate:
    found: Estimate = getattr(result, name) if name else Estimate.missing("")
    return found


def _limits(result: SharpnessResult, rows: list[tuple[str, str, str, str]]) -> tuple[float, float]:
    values = [
        end
        for _, *names in rows
        for one in (_of(result, name) for name in names)
        for end in (one.value, one.high)
        if math.isfinite(end) and end > 0
    ]
    if not values:
        return 1e-3, 1.0
    low, high = min(values), max(values)
    pad = max(1.6, (high / low) ** 0.06)
    return low / pad, high * pad


def _draw_row(
    axes: Axes, y: float, title: str, measured: Estimate, second: Estimate, first: Estimate
) -> None:
    left = axes.get_xlim()[0]
    place = axes.get_yaxis_transform()
    told = interval(measured)
    axes.text(0.0, y - 0.36, symbols(title), transform=place, va="center", fontweight="bold")
    axes.text(1.0, y - 0.36, symbols(told), transform=place, va="center", ha="right", color=BLUE)
    axes.axhline(y, color="#CCCCCC", lw=0.7, zorder=0)
    for one, style, at in ((first, _FIRST, y), (second, _SECOND, y), (measured, _MEASURED, y)):
        if not one.exists or not one.value > 0:
            continue
        ends = max(one.low, left), max(one.high, left)
        if one is not first:
            axes.plot(ends, [at, at], color=style["color"], lw=2.0, solid_capstyle="butt")
        axes.plot(one.value, at, ls="none", zorder=4, **style)


def _notes(result: SharpnessResult, rows: list[tuple[str, str, str, str]]) -> list[str]:
    found = []
    below = [title for title, name, *_ in rows if not _of(result, name).value > 0]
    if below:
        found.append(f"not drawn, because it is no rise: {', '.join(below)}")
    missing = [row for row in ROWS if row not in rows]
    for title, name, *_ in missing:
        found.append(f"{title.partition(':')[0]}: {_of(result, name).why}")
    return found


def _legend() -> list[Line2D]:
    return [
        Line2D([], [], label="measured, with its interval", lw=2.0, **_MEASURED),
        Line2D([], [], label="second-order form", ls="none", **_SECOND),
        Line2D([], [], label="first-order form", ls="none", **_FIRST),
    ]
