"""The loss landscape as a surface in three dimensions, its contours below."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lla.analyses.landscape import LandscapeResult
from lla.numbers import number
from lla_plots.plane import axis_labels, center, color_bar, loss_norm, masked_loss, warnings
from lla_plots.style import VERMILLION, new_figure, symbols

__all__ = ["draw_surface"]


def draw_surface(result: LandscapeResult, caption: str) -> Figure:
    """Draw the surface; its height is the logarithm where the loss spans orders of magnitude."""
    figure = new_figure(6.6, 5.1, caption)
    axes: Any = figure.add_subplot(projection="3d", computed_zorder=False)
    loss = masked_loss(result)
    norm = loss_norm(loss)
    logarithmic = isinstance(norm, LogNorm)
    # mplot3d has no logarithmic axes: the logarithm is drawn, and the ticks say the loss.
    height = np.ma.filled(np.ma.log10(loss) if logarithmic else loss, np.nan)
    x, y = np.meshgrid(result.surface.alpha, result.surface.beta, indexing="ij")
    low, high = float(np.nanmin(height)), float(np.nanmax(height))
    span = (high - low) or 1.0
    floor = low - 0.45 * span
    colormap, shading = ScalarMappable().get_cmap(), Normalize(low, low + span)
    if high > low:
        axes.contourf(
            x, y, height, 18, zdir="z", offset=floor, cmap=colormap, norm=shading, zorder=0
        )
    axes.plot_surface(
        x, y, height, facecolors=colormap(shading(height)), rcount=80, ccount=80, shade=False,
        linewidth=0.15, edgecolor=(0, 0, 0, 0.25), zorder=1,
    )  # fmt: skip
    _mark_center(axes, result, height, floor)
    axes.set_zlim(floor, low + 1.02 * span)
    _label_surface(axes, result, low, high, logarithmic)
    mappable = ScalarMappable(norm, colormap)
    color_bar(axes, mappable, "loss", shrink=0.55, pad=0.08)
    return figure


def _mark_center(axes: Any, result: LandscapeResult, height: np.ndarray, floor: float) -> None:
    alpha, beta, _ = center(result)
    a, b = result.surface.alpha[alpha], result.surface.beta[beta]
    if np.isfinite(height[alpha, beta]):
        axes.plot([a, a], [b, b], [floor, height[alpha, beta]], color=VERMILLION, lw=1.4, zorder=4)
    axes.plot([a], [b], [floor], "*", color=VERMILLION, mec="white", ms=11, zorder=5)


def _label_surface(
    axes: Any, result: LandscapeResult, low: float, high: float, logarithmic: bool
) -> None:
    labels = [symbols(label).replace(", λ", ",\nλ") for label in axis_labels(result)]
    axes.set_xlabel(labels[0], labelpad=9)
    axes.set_ylabel(labels[1], labelpad=9)
    if logarithmic:
        decades = np.arange(np.ceil(low), np.floor(high) + 1)
        axes.set_zticks(decades, [number(float(10**decade)) for decade in decades])
    else:
        ticks = np.asarray(MaxNLocator(4).tick_values(low, high))
        axes.set_zticks(ticks[(ticks >= low) & (ticks <= high)])
    axes.figure.suptitle(
        "Loss surface" + (", logarithmic height" if logarithmic else ""),
        x=0.012,
        ha="left",
        fontsize=10,
    )
    axes.locator_params(axis="x", nbins=5)
    axes.locator_params(axis="y", nbins=5)
    axes.view_init(elev=28, azim=-58)
    axes.set_box_aspect((1, 1, 0.75), zoom=0.98)
    lines = warnings(result)
    if lines:
        axes.text2D(
            0.0,
            0.93,
            symbols("\n".join(lines)),
            transform=axes.transAxes,
            fontsize=8,
            color=VERMILLION,
        )
