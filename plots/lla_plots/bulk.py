"""The bulk of a spectrum as bars on a symmetric-logarithmic axis.

The smoothing of the density, a share of the whole range, hides what lies near zero; the nodes of
the quadrature that the density comes from are not smoothed.
"""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lla.analyses.spectrum import Density, SpectrumResult
from lla.numbers import number
from lla_plots.style import BLACK, BLUE, GREY, ORANGE, VERMILLION, legend_above, page_width, size
from lla_plots.text import wrapped

__all__ = ["draw_bulk"]

_NEAR_ZERO = 3
_SMALLEST = 6
_OUTSIDE = 0.01
_TITLE = "Bulk: share of the eigenvalues in each bin"


def draw_bulk(axes: Axes, result: SpectrumResult, label: str) -> None:
    """Draw the share of the eigenvalues in each bin, with its range over probes.

    Args:
        axes: Where to.
        result: What to draw.
        label: Of the axis of eigenvalues.
    """
    density = result.density
    reach = float(np.nanmax(np.abs(np.append(density.nodes, result.eigenvalues)), initial=0.0))
    axes.set_xlabel(label)
    axes.set_ylabel("share of eigenvalues")
    if not np.isfinite(reach) or reach <= 0:
        axes.text(0.5, 0.5, "no curvature", transform=axes.transAxes, ha="center")
        return
    decades = _decades(density, reach)
    threshold = reach * 10.0**-decades
    edges = _symlog_edges(reach, decades)
    shares = _shares(density, edges)
    kept = np.flatnonzero(shares[0] > 0)
    if not kept.size:
        axes.text(0.5, 0.5, "no density", transform=axes.transAxes, ha="center")
        return
    axes.set_xscale("symlog", linthresh=threshold, linscale=0.5)
    axes.set_yscale("log")
    _draw_bars(axes, edges, shares, kept)
    ends = edges[kept[0]], edges[kept[-1] + 1]
    axes.set_xlim(*(_beyond(end, threshold, side) for end, side in zip(ends, (-1, 1), strict=True)))
    axes.set_xticks(_symlog_ticks(threshold, axes.get_xlim()))
    axes.minorticks_off()
    place = axes.get_xaxis_transform()
    axes.plot(
        result.eigenvalues, np.full(result.eigenvalues.shape, 0.97), "v", ms=3.5,
        color=VERMILLION, transform=place, clip_on=False,
    )  # fmt: skip
    words = f"{label}, logarithmic beyond ±{number(threshold, 2)}"
    axes.set_xlabel("\n".join(wrapped(words, 0.8 * page_width(), size("text"))))
    axes.grid(axis="y")
    legend_above(axes, _TITLE, _legend(shares, edges, kept))


def _draw_bars(axes: Axes, edges: np.ndarray, shares: np.ndarray, kept: np.ndarray) -> None:
    mean, low, high = (row[kept] for row in shares)
    left, right = edges[kept], edges[kept + 1]
    floor = 10 ** math.floor(math.log10(mean.min()) - 0.1)
    kinds = (
        (left >= 0, BLUE, ""),
        (right <= 0, ORANGE, "..."),
        ((left < 0) & (right > 0), GREY, "///"),
    )
    for mask, color, hatch in kinds:
        axes.bar(
            left[mask], (mean - floor)[mask], (right - left)[mask], floor, align="edge",
            color=color, edgecolor="white", hatch=hatch, lw=0.5,
        )  # fmt: skip
    # The line sits where the bar does on this axis, which is not the middle of its edges.
    scale = axes.xaxis.get_transform()
    middle = scale.inverted().transform((scale.transform(left) + scale.transform(right)) / 2)
    axes.vlines(middle, np.maximum(low, floor), high, color=BLACK, lw=0.9, zorder=3)
    axes.set_ylim(floor, 6.0)


def _legend(shares: np.ndarray, edges: np.ndarray, kept: np.ndarray) -> list[Patch | Line2D]:
    left, right = edges[kept], edges[kept + 1]
    inner = (left < 0) & (right > 0)
    bars = (
        (right <= 0, ORANGE, "...", "negative"),
        (inner, GREY, "///", f"near zero{_inner_share(shares[:, kept][:, inner])}"),
        (left >= 0, BLUE, "", "positive"),
    )
    found: list[Patch | Line2D] = [
        Patch(fc=color, ec="white", hatch=hatch, label=words)
        for mask, color, hatch, words in bars
        if mask.any()
    ]
    line = Line2D(
        [], [], color=BLACK, lw=0.9, marker="|", ls="none", ms=8, label="range over probes"
    )
    mark = Line2D([], [], color=VERMILLION, marker="v", ls="none", ms=4, label="eigenvalue found")
    return [*found, line, mark]


def _inner_share(inner: np.ndarray) -> str:
    if not inner.size:
        return ""
    low, high = 100 * float(inner[1, 0]), 100 * float(inner[2, 0])
    return f": {low:.1f} to {high:.1f} %"


def _decades(density: Density, reach: float) -> int:
    """Decades from the largest down to the linear middle: until mass lies outside of it."""
    nodes = np.where(np.isfinite(density.nodes), np.abs(density.nodes), 0.0)
    weights = np.nan_to_num(density.weights)
    for decades in range(_NEAR_ZERO, _SMALLEST):
        outside = weights[nodes > reach * 10.0**-decades].sum()
        if outside >= _OUTSIDE * weights.sum():
            return decades
    return _SMALLEST


def _symlog_edges(reach: float, decades: int) -> np.ndarray:
    per_decade = 4 if decades == _NEAR_ZERO else 3
    outward = reach * 10 ** (np.arange(-per_decade * decades, 1) / per_decade)
    # The last edge lies a hair outside, so that the largest node itself is inside.
    outward[-1] *= 1 + 1e-9
    return np.concatenate((-outward[::-1], outward))


def _beyond(end: float, threshold: float, side: int) -> float:
    """A little farther than the last bar; the bar in the middle is given its width as well."""
    return side * 1.35 * max(side * end, threshold)


def _symlog_ticks(threshold: float, limits: tuple[float, float]) -> np.ndarray:
    powers = 10.0 ** np.arange(math.ceil(math.log10(threshold) - 1e-9), 40)
    inside = powers[powers <= max(-limits[0], limits[1])]
    # With many decades on both sides, every other one: their labels would meet.
    step = 1 + (2 * len(inside) > 9)
    powers = inside[::-step]
    return np.array(sorted(p for p in (*-powers, 0.0, *powers) if limits[0] <= p <= limits[1]))


def _shares(density: Density, edges: np.ndarray) -> np.ndarray:
    """Mean, least and most weight over probes in each bin, shape (3, bins)."""
    table = np.stack(
        [
            np.histogram(nodes[np.isfinite(nodes)], edges, weights=weights[np.isfinite(nodes)])[0]
            for nodes, weights in zip(density.nodes, density.weights, strict=True)
        ]
    )
    return np.stack([table.mean(axis=0), table.min(axis=0), table.max(axis=0)])
