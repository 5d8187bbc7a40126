"""Figure of the Hessian's trace by layer."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from lla.analyses.spectrum import Layers
from lla.numbers import number
from lla_plots.style import BLUE, ORANGE, new_figure, short, symbols

__all__ = ["draw_layers"]

_MOST_LAYERS = 40


def draw_layers(layers: Layers, caption: str) -> Figure:
    """Draw a bar for each layer, the largest 40 where there are more, with interval and share."""
    count = min(len(layers.names), _MOST_LAYERS)
    chosen = np.arange(len(layers.names))
    if len(layers.names) > _MOST_LAYERS:
        largest = np.argsort(-np.abs(np.nan_to_num(layers.trace)))[:_MOST_LAYERS]
        chosen = np.sort(largest)
    figure = new_figure(6.6, 1.5 + 0.26 * count, caption)
    axes = figure.subplots()
    places = np.arange(count)
    trace, low, high = (getattr(layers, name)[chosen] for name in ("trace", "low", "high"))
    colors = [BLUE if value >= 0 else ORANGE for value in trace]
    finite = np.concatenate([[0.0], *(ends[np.isfinite(ends)] for ends in (trace, low, high))])
    extent = float(np.ptp(finite)) or 1.0
    limits = finite.min() - 0.02 * extent * bool(finite.min() < 0), finite.max() + 0.17 * extent
    axes.barh(places, trace, color=colors, height=0.7)
    axes.hlines(places, np.clip(low, *limits), np.clip(high, *limits), color="black", lw=1.1)
    for place, index in enumerate(chosen.tolist()):
        ends = [layers.trace[index], layers.high[index], 0.0]
        right = max(end for end in ends if np.isfinite(end))
        axes.text(right + 0.012 * extent, place, _share(layers, index), va="center", fontsize=8)
    axes.set_yticks(places, [symbols(short(layers.names[index], 34)) for index in chosen])
    axes.invert_yaxis()
    axes.axvline(0, color="black", lw=0.8)
    axes.set_xlim(*limits)
    axes.set_xlabel("trace of the layer's Hessian block (loss units), with its interval")
    hidden = len(layers.names) - count
    axes.set_title("Curvature by layer" + (f" (the {hidden} smallest left out)" if hidden else ""))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    return figure


def _share(layers: Layers, index: int) -> str:
    if not np.isfinite(layers.trace[index]):
        return "not known"
    share = layers.share[index]
    if not np.isfinite(share):
        return number(float(layers.trace[index]))
    return "< 0.1 %" if 0 < share < 5e-4 else f"{100 * share:.1f} %"
