"""Figures of further metrics over the plane or along the lines of a landscape."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lla.analyses.landscape import LandscapeResult, Profiles, Surface
from lla_plots.plane import axis_labels, color_bar, length_unit, loss_norm, warnings
from lla_plots.style import (
    GREEN,
    GREY,
    PURPLE,
    VERMILLION,
    narrow,
    new_figure,
    page_width,
    size,
)
from lla_plots.text import symbols, wrapped

__all__ = ["draw_metrics", "figure_name"]

_COLUMNS = 3
_PANEL = 2.2  # inches
_VALUES: dict[str, Any] = {"color": PURPLE, "lw": 1.2, "marker": "o", "ms": 2.2}
_ALSO: dict[str, Any] = {"color": GREEN, "lw": 1.2, "ls": "-."}


def figure_name(metric: str) -> str:
    """The name of a metric's figure."""
    return f"landscape_{metric}"


def draw_metrics(result: LandscapeResult, caption: str) -> dict[str, Figure]:
    """Draw each further metric, by the figure's name: a map over the plane, or lines."""
    held = result.surface if result.surface is not None else result.profiles
    if held is None or held.metrics is None or held.metric_values is None:
        return {}
    also = held.also_metric_values
    drawn = {}
    for index, name in enumerate(held.metrics):
        values = np.ma.masked_invalid(held.metric_values[index])
        if not values.count():
            continue
        beside = None if also is None else also[index]
        if isinstance(held, Surface):
            drawn[figure_name(name)] = _over_plane(result, held, name, values, caption)
        else:
            drawn[figure_name(name)] = _along_lines(result, held, name, values, beside, caption)
    return drawn


def _over_plane(
    result: LandscapeResult,
    surface: Surface,
    name: str,
    values: np.ma.MaskedArray[Any, Any],
    caption: str,
) -> Figure:
    mark: dict[str, Any] = {"marker": "*", "mfc": VERMILLION, "mec": "white", "ls": "none"}
    figure = new_figure(
        page_width(), 3.0 if narrow() else 4.6, caption, title=f"{name} around the checkpoint",
        notes=warnings(result), legend=[Line2D([], [], ms=9, label="checkpoint", **mark)],
    )  # fmt: skip
    axes = figure.subplots()
    mesh = axes.pcolormesh(
        surface.alpha, surface.beta, values.T, norm=loss_norm(values), shading="nearest",
        rasterized=True, cmap="cividis",
    )  # fmt: skip
    if values.min() < values.max() and min(values.shape) > 1:
        axes.contour(
            surface.alpha, surface.beta, values.T, 10, colors="white", linewidths=0.6, alpha=0.75
        )
    axes.plot(0, 0, ms=12, mew=0.9, **mark)
    axes.set_xlim(float(surface.alpha[0]), float(surface.alpha[-1]))
    axes.set_ylim(float(surface.beta[0]), float(surface.beta[-1]))
    x_label, y_label = (symbols(label).replace(", λ", ",\nλ") for label in axis_labels(result))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    color_bar(axes, mesh, symbols(name))
    return figure


def _along_lines(
    result: LandscapeResult,
    profiles: Profiles,
    name: str,
    values: np.ma.MaskedArray[Any, Any],
    also: np.ndarray | None,
    caption: str,
) -> Figure:
    count = len(profiles.names)
    columns = min(count, 1 if narrow() else _COLUMNS)
    rows = math.ceil(count / columns)
    legend = [Line2D([], [], label=name, **_VALUES)]
    if also is not None:
        legend.append(Line2D([], [], label=f"{name} on the further data", **_ALSO))
    figure = new_figure(
        page_width(), _PANEL * rows, caption, title=f"{name} along lines through the checkpoint",
        notes=warnings(result), legend=legend,
    )  # fmt: skip
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for index, axes in enumerate(panels):
        if index >= count:
            axes.set_visible(False)
            continue
        axes.plot(profiles.distance[index], values[index], **_VALUES)
        if also is not None:
            axes.plot(profiles.distance[index], also[index], **_ALSO)
        axes.axvline(0, color=GREY, lw=0.8, zorder=0)
        room = 0.8 * page_width() / (1 if narrow() else _COLUMNS)
        lines = wrapped(profiles.names[index], room, size("small"), 2)
        axes.set_title(symbols("\n".join(lines)), fontsize=size("small"))
        axes.set_xlabel(f"distance ({length_unit(result, index)})")
        if index % columns == 0:
            axes.set_ylabel(symbols(name))
    return figure
