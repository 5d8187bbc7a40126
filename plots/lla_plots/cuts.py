"""Cuts through the loss landscape along each axis, with the quadratic model over them."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator

from lla.analyses.landscape import LandscapeResult
from lla.estimate import Estimate
from lla.numbers import interval, number
from lla_plots.plane import axis_labels, center, masked_loss, surface_of, warnings
from lla_plots.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    VERMILLION,
    log_worthy,
    narrow,
    new_figure,
    page_width,
)
from lla_plots.text import symbols

__all__ = ["draw_cuts"]

_DECADES = 1e3
_LOSS: dict[str, Any] = {"color": BLUE, "lw": 1.2, "marker": "o", "ms": 2.6}
_MODEL: dict[str, Any] = {"color": VERMILLION, "lw": 1.6, "ls": "--"}
_HOLE: dict[str, Any] = {"color": BLACK, "marker": "x", "ms": 4, "ls": "none"}
_HOLDS: dict[str, Any] = {"color": GREEN, "alpha": 0.14, "lw": 0}
_BREAKS: dict[str, Any] = {"fc": "none", "ec": GREEN, "hatch": "/////", "alpha": 0.7, "lw": 0}


def draw_cuts(result: LandscapeResult, caption: str) -> Figure:
    """Draw the loss along α and along β, the model of second order, and how far it holds."""
    rows, columns = (2, 1) if narrow() else (1, 2)
    title = "Cuts through the checkpoint"
    title += ", and the quadratic model" * bool(np.isfinite(surface_of(result).quadratic).any())
    height = 4.6 if narrow() else 2.9
    figure = new_figure(
        page_width(), height, caption, title=title, notes=_notes(result), legend=_legend(result)
    )
    panels = figure.subplots(rows, columns, sharey=True)
    surface, loss = surface_of(result), masked_loss(result)
    quadratic = np.asarray(surface.quadratic, dtype=np.float64)
    alpha, beta, _ = center(result)
    cuts = (
        (surface.alpha, loss[:, beta], quadratic[:, beta]),
        (surface.beta, loss[alpha, :], quadratic[alpha, :]),
    )
    drawn = np.concatenate([cut[1].compressed() for cut in cuts])
    for axes, cut, label in zip(panels, cuts, axis_labels(result), strict=True):
        _draw_cut(axes, *cut)
        _shade_radius(axes, result.quadratic_radius)
        axes.set_xlabel(symbols(label).replace(", λ", ",\nλ"))
        axes.margins(x=0)
    _limit_cuts(panels[0], drawn)
    for axes in panels if narrow() else panels[:1]:
        axes.set_ylabel("loss")
    return figure


def _notes(result: LandscapeResult) -> list[str]:
    found = list(warnings(result))
    for symbol, measured in zip("αβ", (result.curvature_alpha, result.curvature_beta), strict=True):
        if measured.exists and not measured.converged:
            words = f"the curvature along {symbol} was not checked: finite differences give"
            found.append(f"{words} {interval(measured)}")
    return found


def _draw_cut(
    axes: Axes, x: np.ndarray, loss: np.ma.MaskedArray[Any, Any], quadratic: np.ndarray
) -> None:
    axes.plot(x, np.ma.filled(loss, np.nan), label="loss", **_LOSS)
    dense = np.linspace(x[0], x[-1], 401)
    known = np.isfinite(quadratic)
    if np.count_nonzero(known) >= 3:
        # The model is a parabola along each axis: three points give it between the grid's.
        parabola = np.polynomial.Polynomial.fit(x[known], quadratic[known], 2)(dense)
        axes.plot(dense, parabola, label="quadratic model", **_MODEL)
    holes = x[np.ma.getmaskarray(loss)]
    if holes.size:
        place = axes.get_xaxis_transform()
        axes.plot(holes, np.full(holes.shape, 0.97), transform=place, label="not finite", **_HOLE)
    axes.axvline(0, color=GREY, lw=0.8, zorder=0)
    axes.grid(axis="y")


def _shade_radius(axes: Axes, radius: Estimate) -> None:
    """Shade where the model holds, and hatch where between two grid points it breaks."""
    if not radius.exists or not np.isfinite(radius.low):
        return
    low, high = radius.low, radius.high
    axes.axvspan(-low, low, zorder=0, label="model holds", **_HOLDS)
    if np.isfinite(high) and high > low:
        for ends in ((-high, -low), (low, high)):
            axes.axvspan(*ends, zorder=0, **_BREAKS)


def _holds(result: LandscapeResult) -> str:
    """How far the model holds, and what that means: how far it is off on the points within."""
    radius, surface = result.quadratic_radius, surface_of(result)
    inside = np.hypot(surface.alpha[:, None], surface.beta[None, :]) <= radius.low
    off = np.abs(masked_loss(result) - surface.quadratic)[inside].max()
    meaning = "" if np.ma.is_masked(off) else f" (off by ≤ {number(float(off), 2)})"
    at_least = "" if np.isfinite(radius.high) else "at least "
    return f"model holds within {at_least}{number(radius.low, 3)}{meaning}"


def _legend(result: LandscapeResult) -> list[Line2D | Patch]:
    found: list[Line2D | Patch] = [Line2D([], [], label="loss", **_LOSS)]
    if np.isfinite(surface_of(result).quadratic).any():
        found.append(Line2D([], [], label="quadratic model", **_MODEL))
    radius = result.quadratic_radius
    if radius.exists and np.isfinite(radius.low):
        found.append(Patch(label=_holds(result), **_HOLDS))
        if np.isfinite(radius.high) and radius.high > radius.low:
            found.append(Patch(label=f"not beyond {number(radius.high, 3)}", **_BREAKS))
    if np.ma.getmaskarray(masked_loss(result)).any():
        found.append(Line2D([], [], label="loss not finite", **_HOLE))
    return found


def _limit_cuts(axes: Axes, drawn: np.ndarray) -> None:
    """Limits from the loss alone: the quadratic model may go anywhere, below zero as well."""
    if not drawn.size:
        return
    low, high = float(drawn.min()), float(drawn.max())
    # A parabola is one on a linear axis only: that is left where the loss leaves no choice.
    if log_worthy(drawn) and high > _DECADES * low:
        axes.set_yscale("log")
        axes.set_ylim(low / 2, high * 2)
        axes.yaxis.set_major_locator(LogLocator(numticks=8))
    else:
        span = (high - low) or 1.0
        axes.set_ylim(low - 0.1 * span, high + 0.1 * span)
