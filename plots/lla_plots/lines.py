"""Figures of the loss along lines, along a curve to another checkpoint, and on planes beside."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lla.analyses.landscape import LandscapeResult
from lla.numbers import interval, number
from lla_plots.maps import draw_map
from lla_plots.plane import color_bar, length_unit, loss_norm, masked_loss, warnings
from lla_plots.style import (
    BLUE,
    GREEN,
    GREY,
    VERMILLION,
    log_worthy,
    narrow,
    new_figure,
    page_width,
    size,
)
from lla_plots.text import symbols, wrapped

__all__ = ["draw_band", "draw_lines", "draw_panel", "draw_path"]

_LOSS: dict[str, Any] = {"color": BLUE, "lw": 1.2, "marker": "o", "ms": 2.2}
_MODEL: dict[str, Any] = {"color": VERMILLION, "lw": 1.4, "ls": "--"}
_ALSO: dict[str, Any] = {"color": GREEN, "lw": 1.2, "ls": "-."}
_PANEL = 2.2  # inches
_COLUMNS = 3


def draw_lines(result: LandscapeResult, caption: str) -> Figure:
    """Draw the loss along each line, and the model of second order over it."""
    profiles = result.profiles
    assert profiles is not None
    count = len(profiles.names)
    columns = min(count, 1 if narrow() else _COLUMNS)
    rows = math.ceil(count / columns)
    legend = [Line2D([], [], label="loss", **_LOSS)]
    if np.isfinite(profiles.quadratic).any():
        legend.append(Line2D([], [], label="model of second order", **_MODEL))
    if profiles.also_loss is not None:
        legend.append(Line2D([], [], label="loss on the further data", **_ALSO))
    figure = new_figure(
        page_width(), _PANEL * rows, caption, title="Loss along lines through the checkpoint",
        notes=warnings(result), legend=legend,
    )  # fmt: skip
    panels = np.atleast_1d(figure.subplots(rows, columns, sharey=True, squeeze=False)).ravel()
    for index, axes in enumerate(panels):
        if index >= count:
            axes.set_visible(False)
            continue
        _draw_line(axes, result, index)
        if index % columns == 0:
            axes.set_ylabel("loss")
    return figure


def _draw_line(axes: Axes, result: LandscapeResult, index: int) -> None:
    profiles = result.profiles
    assert profiles is not None
    distance, loss = profiles.distance[index], profiles.loss[index]
    known = loss[np.isfinite(loss)]
    axes.plot(distance, loss, **_LOSS)
    if known.size:
        # The model may go anywhere; the loss decides what is seen.
        low, high = float(known.min()), float(known.max())
        margin = 0.08 * ((high - low) or 1.0)
        quadratic = profiles.quadratic[index]
        seen = np.where(quadratic > high + margin, np.nan, quadratic)
        axes.plot(distance, seen, **_MODEL)
        if log_worthy(known):
            axes.set_yscale("log")
    if profiles.also_loss is not None:
        axes.plot(distance, profiles.also_loss[index], **_ALSO)
    axes.axvline(0, color=GREY, lw=0.8, zorder=0)
    eigenvalue = float(result.axes.eigenvalues[index])
    told = f"{profiles.names[index]}" + (
        f", λ = {number(eigenvalue)}" if np.isfinite(eigenvalue) else ""
    )
    lines = wrapped(told, 0.8 * page_width() / (1 if narrow() else _COLUMNS), size("small"), 2)
    axes.set_title(symbols("\n".join(lines)), fontsize=size("small"))
    axes.set_xlabel(f"distance ({length_unit(result, index)})")


def draw_path(result: LandscapeResult, caption: str) -> Figure:
    """Draw the loss along the trained curve, and along the straight line beside it."""
    path = result.path
    assert path is not None
    curve: dict[str, Any] = {"color": GREEN, "lw": 1.6, "marker": "s", "ms": 2.6}
    line = {**_LOSS, "ls": "--"}
    words = (
        f"line: barrier {interval(result.barrier)}",
        f"{path.kind[0]} curve: barrier {interval(result.curve_barrier)}",
    )
    legend = [Line2D([], [], label=words[0], **line), Line2D([], [], label=words[1], **curve)]
    figure = new_figure(
        page_width(), 2.8, caption, title="Ways to the other checkpoint", legend=legend,
        notes=warnings(result),
    )  # fmt: skip
    axes = figure.subplots()
    axes.plot(path.t, path.straight_loss, **line)
    axes.plot(path.t, path.loss, **curve)
    if log_worthy(np.concatenate([path.loss, path.straight_loss])):
        axes.set_yscale("log")
    axes.set_xlabel("t: 0 at the checkpoint, 1 at the other")
    axes.set_ylabel("loss")
    return figure


def draw_panel(result: LandscapeResult, caption: str) -> Figure:
    """Draw the first plane and those beside it, each with its own axes, in one scale of colours."""
    parts = {_kind_of(result): replace(result, trajectory=None, topology=None)}
    for name, beside in result.panel.items():
        parts[name] = replace(
            result, surface=beside.surface, axes=beside.axes, trajectory=None, topology=None
        )
    columns = 1 if narrow() else 2
    rows = math.ceil(len(parts) / columns)
    losses = np.concatenate(
        [np.ma.filled(masked_loss(one), np.nan).ravel() for one in parts.values()]
    )
    norm = loss_norm(np.ma.masked_invalid(losses))
    figure = new_figure(
        page_width(), 2.9 * rows, caption, title="The same loss on other planes",
        notes=warnings(result),
    )  # fmt: skip
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(parts) :]:
        axes.set_visible(False)
    for axes, (name, part) in zip(panels, parts.items(), strict=False):
        draw_map(axes, part, norm)
        axes.set_title(symbols(f"{name}{_bends(part)}"), fontsize=size("small"))
    return figure


def _kind_of(result: LandscapeResult) -> str:
    """What the first plane's axes are, in a word or two."""
    raw = bool(np.isfinite(result.axes.eigenvalues).all())
    return "Hessian eigenvectors" if raw else "the axes asked for"


def _bends(result: LandscapeResult) -> str:
    """The curvature along each axis per unit of distance in parameter space."""
    curvature = result.axes.curvature / result.axes.norms**2
    if not np.isfinite(curvature).all():
        return ""
    return f"\ndᵀHd/‖d‖²: {' and '.join(number(float(one), 3) for one in curvature)}"


def draw_band(result: LandscapeResult, caption: str) -> Figure:
    """Draw mean and quantiles of the loss over repeated planes, on one scale."""
    band = result.band
    assert band is not None
    parts = {"10 % quantile": band.low, "mean": band.mean, "90 % quantile": band.high}
    norm = loss_norm(np.ma.masked_invalid(np.stack(list(parts.values()))))
    rows, columns = (3, 1) if narrow() else (1, 3)
    figure = new_figure(
        page_width(), 2.4 * rows, caption,
        title=f"Loss over {len(band.loss)} planes of random directions", notes=warnings(result),
    )  # fmt: skip
    panels = figure.subplots(rows, columns, sharex=True, sharey=True).ravel()
    for axes, (name, loss) in zip(panels, parts.items(), strict=True):
        mesh = axes.pcolormesh(
            band.alpha, band.beta, loss.T, norm=norm, shading="nearest", rasterized=True
        )
        axes.set_title(name)
        axes.set_xlabel(f"α ({length_unit(result, 0)})")
    panels[0].set_ylabel(f"β ({length_unit(result, 1)})")
    color_bar(panels[-1], mesh, "loss")
    return figure
