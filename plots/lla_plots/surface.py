"""The loss landscape as a surface in three dimensions, its contours below."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d import Axes3D  # type: ignore[import-untyped]

from lla.analyses.landscape import LandscapeResult
from lla.numbers import number
from lla_plots.plane import (
    axis_labels,
    center,
    color_bar,
    loss_norm,
    masked_loss,
    surface_of,
    warnings,
)
from lla_plots.style import VERMILLION, narrow, new_figure, page_width, room_of, size
from lla_plots.text import symbols

__all__ = ["draw_surface"]

# Lines for the names of the axes, with a gap.
_NAMES = 3.2


def draw_surface(result: LandscapeResult, caption: str) -> Figure:
    """Draw the surface; its height is the logarithm where the loss spans orders of magnitude."""
    loss = masked_loss(result)
    norm = loss_norm(loss)
    logarithmic = isinstance(norm, LogNorm)
    title = "Loss surface, contours below" + (", logarithmic height" if logarithmic else "")
    notes = [note.replace("(hatched)", "(gaps)") for note in warnings(result)]
    figure = new_figure(page_width(), 3.0 if narrow() else 4.4, caption, title=title, notes=notes)
    axes = _axes(figure)
    # mplot3d has no logarithmic axes: the logarithm is drawn, and the ticks say the loss.
    height = np.ma.filled(np.ma.log10(loss) if logarithmic else loss, np.nan)
    x, y = np.meshgrid(surface_of(result).alpha, surface_of(result).beta, indexing="ij")
    low, high = float(np.nanmin(height)), float(np.nanmax(height))
    span = (high - low) or 1.0
    floor = low - 0.5 * span
    colormap, shading = ScalarMappable().get_cmap(), Normalize(low, low + span)
    if high > low:
        axes.contourf(
            x, y, height, 18, zdir="z", offset=floor, cmap=colormap, norm=shading, zorder=0
        )
    axes.plot_surface(
        x, y, height, facecolors=colormap(shading(height)), rcount=80, ccount=80, shade=False,
        linewidth=0.15, edgecolor=(0, 0, 0, 0.3), zorder=1,
    )  # fmt: skip
    _mark_center(axes, result, height, floor)
    axes.set_zlim(floor, low + 1.02 * span)
    _label_surface(axes, (low, high), logarithmic)
    if not narrow():
        _draw_scale(figure, ScalarMappable(norm, colormap))
    _name_axes(figure, result)
    return figure


class _Box(Axes3D):  # type: ignore[misc]
    """Axes in three dimensions that draw without complaint where cells are missing.

    mplot3d pads polygons of fewer corners with uninitialized memory, projects it with the rest
    and masks it: what stands there may overflow, and none of it is drawn.
    """

    def draw(self, renderer: Any) -> None:
        """Draw the axes and what they hold."""
        with np.errstate(over="ignore", invalid="ignore"):
            super().draw(renderer)


def _axes(figure: Figure) -> Any:
    """Axes placed by hand: the automatic layout does not know how far a turned box reaches."""
    bottom, top = room_of(figure)
    height = float(figure.get_size_inches()[1])
    names = _NAMES * size("text") / 72
    # A column's figure is as wide as the turned box and the labels on its right.
    left, share = (-0.05, 1.0) if narrow() else (0.0, 0.84)
    box = (left, (bottom + names) / height, share, (top - bottom - names) / height)
    return figure.add_axes(_Box(figure, box, computed_zorder=False))


def _draw_scale(figure: Figure, mappable: ScalarMappable) -> None:
    width = float(figure.get_size_inches()[0])
    place = figure.axes[0].get_position()
    box = (1 - 0.85 / width, place.y0 + 0.28 * place.height, 0.14 / width, 0.5 * place.height)
    color_bar(figure.axes[0], mappable, "loss", cax=figure.add_axes(box))


def _name_axes(figure: Figure, result: LandscapeResult) -> None:
    """The long names of the axes level below the box: turned with its edges they would meet."""
    names = "\n".join(symbols(label) for label in axis_labels(result))
    height = float(figure.get_size_inches()[1])
    footer = next(text for text in figure.texts if text.get_gid() == "footer")
    lines = 1 + footer.get_text().count("\n")
    y = (lines * 1.32 * size("tiny") + 8) / 72
    figure.text(
        0.5 if narrow() else 0.42, y / height, names, ha="center", va="bottom", linespacing=1.3
    )


def _mark_center(axes: Any, result: LandscapeResult, height: np.ndarray, floor: float) -> None:
    alpha, beta, _ = center(result)
    a, b = surface_of(result).alpha[alpha], surface_of(result).beta[beta]
    if np.isfinite(height[alpha, beta]):
        axes.plot([a, a], [b, b], [floor, height[alpha, beta]], color=VERMILLION, lw=1.3, zorder=4)
    axes.plot([a], [b], [floor], "*", color=VERMILLION, mec="white", ms=10, zorder=5)
    outlined = [withStroke(linewidth=1.5, foreground="#333333")]
    axes.text(a, b, floor, "  checkpoint", color="white", path_effects=outlined, zorder=6)


def _label_surface(axes: Any, ends: tuple[float, float], logarithmic: bool) -> None:
    axes.set_xlabel("α", labelpad=-4)
    axes.set_ylabel("β", labelpad=-4)
    ticks, words = _heights(*ends, logarithmic)
    axes.set_zticks(ticks, words)
    axes.set_zlabel("loss", labelpad=1 if narrow() else 2)
    for axis, pad in ((axes.xaxis, -1), (axes.yaxis, -1), (axes.zaxis, 2)):
        axis.set_tick_params(pad=pad)
    # The outermost ticks of two axes would meet in their corner.
    axes.xaxis.set_major_locator(MaxNLocator(5, prune="both"))
    axes.yaxis.set_major_locator(MaxNLocator(5, prune="both"))
    axes.view_init(elev=28, azim=-58)
    axes.set_box_aspect((1, 1, 0.75), zoom=0.9 if narrow() else 0.98)


def _heights(low: float, high: float, logarithmic: bool) -> tuple[np.ndarray, list[str]]:
    """Ticks of the height, and what they say."""
    if not logarithmic:
        ticks = np.asarray(MaxNLocator(4).tick_values(low, high))
        ticks = ticks[(ticks >= low) & (ticks <= high)]
        return ticks, [number(float(tick)) for tick in ticks]
    decades = np.arange(np.ceil(low), np.floor(high) + 1)
    decades = decades[:: 1 + len(decades) // 6]
    return decades, [number(float(10**decade)) for decade in decades]
