"""Figures of the loss landscape: map, surface, and cuts with the quadratic model."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from lla.analyses.landscape import LandscapeResult
from lla.numbers import number
from lla_plots.plane import axis_labels, center, color_bar, loss_norm, masked_loss, warnings
from lla_plots.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    VERMILLION,
    log_worthy,
    new_figure,
    styled,
    symbols,
)
from lla_plots.surface import draw_surface

__all__ = ["draw_map", "figures"]


@styled
def figures(result: LandscapeResult, caption: str) -> dict[str, Figure]:
    """Draw ``landscape``, ``surface`` and ``landscape_cuts``; nothing where no point is finite."""
    if masked_loss(result).count() == 0:
        return {}
    return {
        "landscape": _map(result, caption),
        "surface": draw_surface(result, caption),
        "landscape_cuts": _cuts(result, caption),
    }


def _levels(norm: Normalize) -> np.ndarray:
    low, high = float(norm.vmin or 0.0), float(norm.vmax or 1.0)
    if isinstance(norm, LogNorm):
        return np.geomspace(low, high, 17)[1:-1]
    inner = np.asarray(MaxNLocator(12).tick_values(low, high))
    return inner[(inner > low) & (inner < high)]


def _warn(axes: Axes, result: LandscapeResult) -> None:
    lines = warnings(result)
    if lines:
        axes.text(
            0.5, 0.98, symbols("\n".join(lines)), transform=axes.transAxes, ha="center", va="top",
            fontsize=8, color=BLACK,
            bbox={"boxstyle": "round", "fc": "white", "ec": VERMILLION, "alpha": 0.92},
        )  # fmt: skip


def _map(result: LandscapeResult, caption: str) -> Figure:
    figure = new_figure(6.6, 5.0, caption)
    axes = figure.subplots()
    draw_map(axes, result)
    axes.set_title("Loss around the checkpoint")
    axes.legend(loc="lower right", frameon=True, framealpha=0.9)
    _warn(axes, result)
    return figure


def draw_map(axes: Axes, result: LandscapeResult) -> None:
    """Draw the loss as colours with contours, and mark the checkpoint.

    Args:
        axes: Where to; its figure gets a colour bar.
        result: What to draw.
    """
    loss = masked_loss(result)
    norm = loss_norm(loss)
    alpha, beta = result.surface.alpha, result.surface.beta
    axes.set_facecolor("#BBBBBB")
    mesh = axes.pcolormesh(alpha, beta, loss.T, norm=norm, shading="nearest", rasterized=True)
    if float(norm.vmax or 0.0) > float(np.ma.min(loss)) < float(np.ma.max(loss)):
        axes.contour(
            alpha, beta, loss.T, levels=_levels(norm), colors="white", linewidths=0.6, alpha=0.75
        )
    axes.plot(0, 0, "*", ms=13, mfc=VERMILLION, mec="white", mew=1.0, label="checkpoint", ls="none")
    axes.set_xlim(float(alpha[0]), float(alpha[-1]))
    axes.set_ylim(float(beta[0]), float(beta[-1]))
    labels = axis_labels(result)
    axes.set_xlabel(symbols(labels[0]))
    axes.set_ylabel(symbols(labels[1]))
    color_bar(axes, mesh, "loss")


def _cuts(result: LandscapeResult, caption: str) -> Figure:
    figure = new_figure(6.6, 3.5, caption)
    panels = figure.subplots(1, 2, sharey=True)
    surface, loss = result.surface, masked_loss(result)
    quadratic = np.asarray(surface.quadratic, dtype=np.float64)
    alpha, beta, _ = center(result)
    cuts = (
        (surface.alpha, loss[:, beta], quadratic[:, beta]),
        (surface.beta, loss[alpha, :], quadratic[alpha, :]),
    )
    drawn = np.concatenate([cut[1].compressed() for cut in cuts])
    logarithmic = log_worthy(drawn)
    for axes, cut, label in zip(panels, cuts, axis_labels(result), strict=True):
        _draw_cut(axes, *cut)
        _shade_radius(axes, result)
        axes.set_xlabel(symbols(label).replace(", λ", ",\nλ"))
        axes.margins(x=0)
    _limit_cuts(panels[0], drawn, logarithmic)
    panels[0].set_ylabel("loss")
    panels[0].set_title("Cuts through the checkpoint")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
    _warn(panels[1], result)
    return figure


def _draw_cut(
    axes: Axes, x: np.ndarray, loss: np.ma.MaskedArray[Any, Any], quadratic: np.ndarray
) -> None:
    axes.plot(x, np.ma.filled(loss, np.nan), "o-", ms=2.8, color=BLUE, lw=1.3, label="loss")
    dense = np.linspace(x[0], x[-1], 401)
    known = np.isfinite(quadratic)
    if np.count_nonzero(known) >= 3:
        # The model is a parabola along each axis: three points give it between the grid's.
        parabola = np.polynomial.Polynomial.fit(x[known], quadratic[known], 2)(dense)
        axes.plot(dense, parabola, "--", color=ORANGE, lw=1.5, label="quadratic model")
    axes.axvline(0, color=GREY, lw=0.8, zorder=0)
    axes.grid(axis="y")
    axes.set_axisbelow(True)


def _shade_radius(axes: Axes, result: LandscapeResult) -> None:
    radius = result.quadratic_radius
    if radius.exists and np.isfinite(radius.value):
        words = f"model holds to {number(radius.value, 2)}"
        axes.axvspan(-radius.value, radius.value, color=GREEN, alpha=0.15, lw=0, label=words)


def _limit_cuts(axes: Axes, drawn: np.ndarray, logarithmic: bool) -> None:
    """Limits from the loss alone: the quadratic model may go anywhere, below zero as well."""
    if not drawn.size:
        return
    low, high = float(drawn.min()), float(drawn.max())
    if logarithmic:
        axes.set_yscale("log")
        axes.set_ylim(low / 2, high * 2)
        axes.yaxis.set_major_locator(LogLocator(numticks=8))
    else:
        span = (high - low) or 1.0
        axes.set_ylim(low - 0.1 * span, high + 0.1 * span)
