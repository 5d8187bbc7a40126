"""Figure of the curvature by layer: each block's trace and largest eigenvalue."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lla.analyses.spectrum import Layers
from lla.numbers import number
from lla_plots.style import BLACK, BLUE, ORANGE, VERMILLION, narrow, new_figure, page_width, size
from lla_plots.text import distinct, fitted, symbols

__all__ = ["draw_layers", "draw_traces", "largest"]

_LARGEST: dict[str, Any] = {
    "marker": "D",
    "ms": 4.5,
    "color": VERMILLION,
    "mec": "white",
    "mew": 0.5,
}
_MOST = {False: 30, True: 15}
_NAMES = {False: 1.9, True: 1.15}
_ROW = {False: 0.2, True: 0.17}


def draw_layers(layers: Layers, caption: str, matrix: str = "Hessian") -> Figure:
    """Draw trace and largest eigenvalue of each layer's block, of the largest where there are many.

    Args:
        layers: What to draw.
        caption: The footer's text.
        matrix: What the blocks are of.
    """
    chosen = largest(layers, _MOST[narrow()])
    hidden = len(layers.names) - len(chosen)
    title = f"Curvature by layer: blocks of the {matrix}"
    if hidden:
        title += f" ({hidden} with the smallest traces left out)"
    sharp = bool(np.isfinite(layers.lambda_max[chosen]).any())
    height = _ROW[narrow()] * len(chosen) + 0.5
    legend = _legend(layers, chosen, sharp=sharp)
    if narrow():
        figure = new_figure(page_width(), (1 + sharp) * height, caption, title=title, legend=legend)
        panels = figure.subplots(1 + sharp, 1, squeeze=False)[:, 0]
    else:
        figure = new_figure(page_width(), height, caption, title=title, legend=legend)
        panels = figure.subplots(
            1, 1 + sharp, sharey=True, squeeze=False, width_ratios=(1.3, 1)[: 1 + sharp]
        )[0]
    draw_traces(panels[0], layers, chosen, _NAMES[narrow()])
    if sharp:
        _draw_largest(panels[1], layers, chosen, named=narrow())
    return figure


def largest(layers: Layers, most: int) -> np.ndarray:
    """Indices of the layers with the largest traces, at most so many, in the layers' order."""
    order = np.argsort(-np.abs(np.nan_to_num(layers.trace)), kind="stable")
    return np.sort(order[:most])


def draw_traces(axes: Axes, layers: Layers, chosen: np.ndarray, room: float) -> None:
    """Draw a bar for each chosen layer's trace, with its interval and its share of the whole.

    Args:
        axes: Where to.
        layers: What to draw.
        chosen: Indices of the layers.
        room: Width of the longest name, in inches.
    """
    places = np.arange(len(chosen))
    trace, low, high = (getattr(layers, name)[chosen] for name in ("trace", "low", "high"))
    limits, extent = _limits(trace, low, high)
    for mask, color, hatch in ((trace >= 0, BLUE, ""), (trace < 0, ORANGE, "...")):
        axes.barh(
            places[mask], trace[mask], color=color, height=0.68, hatch=hatch, ec="white", lw=0
        )
    _draw_intervals(axes, places, (low, high), limits)
    for place, index in enumerate(chosen.tolist()):
        ends = [layers.trace[index], layers.high[index], 0.0]
        right = min(max(end for end in ends if np.isfinite(end)), limits[1] - 0.16 * extent)
        axes.text(
            right + 0.02 * extent, place, _share(layers, index), va="center",
            fontsize=size("small"), in_layout=False,
        )  # fmt: skip
    _name_rows(axes, layers, chosen, room)
    axes.axvline(0, color=BLACK, lw=0.8)
    axes.set_xlim(*limits)
    axes.set_xlabel("trace (loss units); share" + ("" if narrow() else " of the whole"))


def _draw_largest(axes: Axes, layers: Layers, chosen: np.ndarray, *, named: bool) -> None:
    places = np.arange(len(chosen))
    value, low, high = (
        getattr(layers, name)[chosen]
        for name in ("lambda_max", "lambda_max_low", "lambda_max_high")
    )
    limits, _ = _limits(value, low, high, room=0.05)
    _draw_intervals(axes, places, (low, high), limits)
    axes.plot(value, places, ls="none", **_LARGEST)
    axes.axvline(0, color=BLACK, lw=0.8)
    axes.set_xlim(*limits)
    axes.set_xlabel(symbols("λ_max of the block (loss units)"))
    axes.grid(axis="x")
    if named:
        _name_rows(axes, layers, chosen, _NAMES[True])
    else:
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)


def _limits(*ends: np.ndarray, room: float = 0.18) -> tuple[tuple[float, float], float]:
    """Limits with room for words on the right, and how far the finite ends reach."""
    # An end much farther than any value would leave the values no room: it gets an arrow.
    values = np.abs(ends[0][np.isfinite(ends[0])])
    farthest = 3 * float(values.max(initial=0.0)) or np.inf
    finite = np.concatenate(
        [[0.0], *(np.clip(end[np.isfinite(end)], -farthest, farthest) for end in ends)]
    )
    extent = float(np.ptp(finite)) or 1.0
    left = finite.min() - 0.03 * extent * bool(finite.min() < 0)
    return (left, finite.max() + room * extent), extent


def _draw_intervals(
    axes: Axes,
    places: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray],
    limits: tuple[float, float],
) -> None:
    known = ~(np.isnan(ends[0]) | np.isnan(ends[1]))
    low, high, rows = ends[0][known], ends[1][known], places[known]
    axes.hlines(rows, np.clip(low, *limits), np.clip(high, *limits), color=BLACK, lw=1.1)
    for end, edge, arrow in ((low, limits[0], "<"), (high, limits[1], ">")):
        inside = (end >= limits[0]) & (end <= limits[1])
        axes.plot(end[inside], rows[inside], "|", color=BLACK, ms=5, mew=1.1)
        # A line without points, not clipped, would reach to the figure's corner in its layout.
        if not inside.all():
            out = rows[~inside]
            axes.plot(np.full(out.shape, edge), out, arrow, color=BLACK, ms=4, clip_on=False)


def _name_rows(axes: Axes, layers: Layers, chosen: np.ndarray, room: float) -> None:
    shown = distinct([layers.names[index] for index in chosen], room, size("small"))
    names = [symbols(fitted(name, room, size("small"))) for name in shown]
    axes.set_yticks(np.arange(len(chosen)), names)
    axes.set_ylim(len(chosen) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _legend(layers: Layers, chosen: np.ndarray, *, sharp: bool) -> list[Patch | Line2D]:
    found: list[Patch | Line2D] = []
    trace = layers.trace[chosen]
    if (trace >= 0).any():
        found.append(Patch(fc=BLUE, label="trace of the block"))
    if (trace < 0).any():
        found.append(Patch(fc=ORANGE, ec="white", hatch="...", label="negative trace"))
    found.append(Line2D([], [], color=BLACK, lw=1.1, marker="|", label="interval, or bounds"))
    if sharp:
        found.append(Line2D([], [], ls="none", label="largest eigenvalue of the block", **_LARGEST))
    return found


def _share(layers: Layers, index: int) -> str:
    if not np.isfinite(layers.trace[index]):
        return "not known"
    share = layers.share[index]
    if not np.isfinite(share):
        return number(float(layers.trace[index]))
    return "< 0.1 %" if 0 < share < 5e-4 else f"{100 * share:.1f} %"
