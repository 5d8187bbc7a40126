"""Figures of the Hessian's spectrum: density, bulk, outliers; the trace by layer."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lla.analyses.spectrum import Density, SpectrumResult
from lla.numbers import interval, number
from lla_plots.layers import draw_layers
from lla_plots.style import BLUE, GREY, ORANGE, SKY, VERMILLION, new_figure, styled, symbols

__all__ = ["density_limits", "draw_density", "figures"]

_NEAR_ZERO = 1e-3
_BINS_PER_DECADE = 4
_EIGENVALUE = "eigenvalue of the Hessian (loss units)"


@styled
def figures(result: SpectrumResult, caption: str) -> dict[str, Figure]:
    """Draw ``spectrum`` and, where the trace is known by layer, ``layers``."""
    drawn = {"spectrum": _spectrum(result, caption)}
    if len(result.layers.names):
        drawn["layers"] = draw_layers(result.layers, caption)
    return drawn


def _spectrum(result: SpectrumResult, caption: str) -> Figure:
    figure = new_figure(6.6, 6.4, caption)
    above, below = figure.subplots(2, 1, height_ratios=(1.25, 1))
    draw_density(above, result)
    above.set_title("Density of the spectrum, and its certified ends")
    _draw_bulk(below, result)
    return figure


def draw_density(axes: Axes, result: SpectrumResult, *, ends: bool = True) -> None:
    """Draw the density with its band over probes, and the eigenvalues found one by one.

    Args:
        axes: Where to.
        result: What to draw.
        ends: Whether λ_max and λ_min are given as text.
    """
    density = result.density
    floor, top = density_limits(result)
    axes.set_yscale("log")
    axes.set_ylim(floor, top)
    x, y = density.eigenvalue, np.clip(density.density, floor / 10, None)
    low, high = (np.clip(end, floor / 10, None) for end in (density.low, density.high))
    axes.fill_between(x, low, high, color=SKY, alpha=0.5, lw=0, label="band over probes")
    axes.plot(x, y, color=BLUE, lw=1.3, label="density, mean over probes")
    _draw_eigenvalues(axes, result)
    axes.set_xlabel(_EIGENVALUE)
    axes.set_ylabel("share of eigenvalues per unit")
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    if ends:
        _name_ends(axes, result)
        axes.legend(loc="upper right")


def density_limits(result: SpectrumResult) -> tuple[float, float]:
    """From a little below what a single smoothed eigenvalue reaches to above the highest peak."""
    highest = np.nanmax(np.append(result.density.high, result.density.density), initial=0.0)
    top = 3 * float(highest) if np.isfinite(highest) and highest > 0 else 1.0
    count, width = int(np.sum(result.layers.parameters)), result.density.width.value
    if count > 0 and width > 0:
        return min(0.2 / (count * width * math.sqrt(2 * math.pi)), top / 1e3), top
    return top / 1e8, top


def _draw_eigenvalues(axes: Axes, result: SpectrumResult) -> None:
    kinds = (
        (result.converged.astype(bool), VERMILLION, "converged"),
        (~result.converged.astype(bool), "white", "not converged"),
    )
    floor, top = axes.get_ylim()
    height = floor * (top / floor) ** 0.22
    for mask, face, words in kinds:
        values = result.eigenvalues[mask]
        if not values.size:
            continue
        axes.vlines(values, floor, height, color=VERMILLION, lw=1.0)
        axes.plot(
            values,
            np.full(values.shape, height),
            "o",
            ms=4.5,
            mfc=face,
            mec=VERMILLION,
            ls="none",
            label=f"eigenvalue, residual {words}",
        )


def _name_ends(axes: Axes, result: SpectrumResult) -> None:
    lines = [
        symbols(f"{name} = {interval(estimate)}")
        for name, estimate in (("λ_max", result.lambda_max), ("λ_min", result.lambda_min))
        if estimate.exists
    ]
    axes.text(
        0.985,
        0.6,
        "\n".join(lines),
        transform=axes.transAxes,
        ha="right",
        va="top",
        color=VERMILLION,
        linespacing=1.5,
    )


def _draw_bulk(axes: Axes, result: SpectrumResult) -> None:
    """Bars on a symmetric-logarithmic axis: the smoothing of the density hides what is near 0."""
    density = result.density
    reach = np.nanmax(np.abs(np.append(density.nodes, result.eigenvalues)), initial=0.0)
    if not np.isfinite(reach) or reach <= 0:
        axes.text(0.5, 0.5, "no curvature", transform=axes.transAxes, ha="center")
        return
    threshold = _NEAR_ZERO * float(reach)
    edges = _symlog_edges(float(reach))
    mean, low, high = _shares(density, edges)
    kept = mean > 0
    axes.set_xscale("symlog", linthresh=threshold, linscale=0.5)
    axes.set_yscale("log")
    left, right = edges[:-1], edges[1:]
    colors = np.where(right <= 0, ORANGE, np.where(left >= 0, BLUE, GREY))
    floor = 10 ** math.floor(math.log10(mean[kept].min()) - 0.1)
    axes.bar(
        left[kept], mean[kept] - floor, (right - left)[kept], floor, align="edge",
        color=colors[kept], edgecolor="white", lw=0.5,
    )  # fmt: skip
    # The label sits where the bar does on this axis, which is not the middle of its edges.
    scale = axes.xaxis.get_transform()
    middle = scale.inverted().transform((scale.transform(left) + scale.transform(right)) / 2)
    axes.vlines(
        middle[kept], np.maximum(low[kept], floor), high[kept], color="black", lw=0.9, zorder=3
    )
    axes.set_ylim(floor, 2.5)
    axes.set_xlim(edges[np.argmax(kept)] * 1.3, edges[len(kept) - np.argmax(kept[::-1])] * 1.3)
    axes.set_xticks(_symlog_ticks(threshold, axes.get_xlim()))
    axes.minorticks_off()
    axes.set_xlabel(f"{_EIGENVALUE}; linear within ±{number(threshold, 2)}")
    axes.set_ylabel("share of eigenvalues")
    axes.set_title("The bulk: share in each bin, with the range over probes")
    axes.grid(axis="y")
    axes.set_axisbelow(True)


def _symlog_edges(reach: float) -> np.ndarray:
    count = round(-_BINS_PER_DECADE * math.log10(_NEAR_ZERO))
    outward = reach * 10 ** (np.arange(-count, 1) / _BINS_PER_DECADE)
    # The last edge lies a hair outside, so that the largest node itself is inside.
    outward[-1] *= 1 + 1e-9
    return np.concatenate((-outward[::-1], outward))


def _symlog_ticks(threshold: float, limits: tuple[float, float]) -> np.ndarray:
    powers = 10.0 ** np.arange(math.ceil(math.log10(threshold)), 40)
    inside = [p for p in (*-powers, 0.0, *powers) if limits[0] <= p <= limits[1]]
    return np.array(sorted(inside))


def _shares(density: Density, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, least and most weight over probes in each bin, each of shape (bins,)."""
    table = np.stack(
        [
            np.histogram(nodes[np.isfinite(nodes)], edges, weights=weights[np.isfinite(nodes)])[0]
            for nodes, weights in zip(density.nodes, density.weights, strict=True)
        ]
    )
    return table.mean(axis=0), table.min(axis=0), table.max(axis=0)
