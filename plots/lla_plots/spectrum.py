"""Figures of a matrix's spectrum: density and outliers, the bulk; the trace by layer."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lla.analyses.spectrum import SpectrumResult
from lla.numbers import interval
from lla_plots.bulk import draw_bulk
from lla_plots.layers import draw_layers
from lla_plots.style import (
    BLUE,
    SKY,
    VERMILLION,
    legend_above,
    narrow,
    new_figure,
    page_width,
    styled,
)

__all__ = ["density_limits", "draw_density", "eigenvalue_label", "figures", "matrix"]


@styled
def figures(result: SpectrumResult, caption: str) -> dict[str, Figure]:
    """Draw ``spectrum`` and, where the trace is known by layer, ``layers``."""
    drawn = {"spectrum": _spectrum(result, caption)}
    if len(result.layers.names):
        drawn["layers"] = draw_layers(result.layers, caption, matrix(result))
    return drawn


def matrix(result: SpectrumResult) -> str:
    """What the spectrum is of, as "Hessian"."""
    return (result.operator.why or result.operator.value).partition(",")[0]


def eigenvalue_label(result: SpectrumResult) -> str:
    """The label of an axis of eigenvalues; a curvature has the units of the loss."""
    return f"eigenvalue of the {matrix(result)} (loss units)"


def _spectrum(result: SpectrumResult, caption: str) -> Figure:
    open_ones = int(np.sum(~result.converged.astype(bool)))
    what = "1 eigenvalue has" if open_ones == 1 else f"{open_ones} eigenvalues have"
    notes = (f"{what} not converged (hollow)",) if open_ones else ()
    title = f"Spectrum of the {matrix(result)}"
    height = 5.6 if narrow() else 6.6
    figure = new_figure(page_width(), height, caption, title=title, notes=notes)
    above, below = figure.subplots(2, 1, height_ratios=(1.15, 1))
    draw_density(above, result)
    legend_above(above, f"Whole:  {_ends(result)}")
    draw_bulk(below, result, eigenvalue_label(result))
    return figure


def _ends(result: SpectrumResult) -> str:
    ends = (("λ_max", result.lambda_max), ("λ_min", result.lambda_min))
    between = "\n" if narrow() else ",  "
    return between.join(f"{name} = {interval(value)}" for name, value in ends if value.exists)


def draw_density(axes: Axes, result: SpectrumResult) -> None:
    """Draw the density with its band, and the eigenvalues found one by one.

    Args:
        axes: Where to.
        result: What to draw.
    """
    density = result.density
    floor, top = density_limits(result)
    axes.set_yscale("log")
    axes.set_ylim(floor, top)
    x, y = density.eigenvalue, np.clip(density.density, floor / 10, None)
    low, high = (np.clip(end, floor / 10, None) for end in (density.low, density.high))
    axes.fill_between(
        x, low, high, fc=SKY, ec=SKY, alpha=0.6, lw=0.4, label="interval of the mean over probes"
    )
    axes.plot(x, y, color=BLUE, lw=1.2, label="density, mean over probes")
    _draw_eigenvalues(axes, result)
    axes.set_xlabel(eigenvalue_label(result))
    axes.set_ylabel("density (1 / loss units)")
    axes.grid(axis="y")
    axes.margins(x=0.02)


def density_limits(result: SpectrumResult) -> tuple[float, float]:
    """From a little below what a single smoothed eigenvalue reaches to above the highest peak."""
    highest = np.nanmax(np.append(result.density.high, result.density.density), initial=0.0)
    top = 3 * float(highest) if np.isfinite(highest) and highest > 0 else 1.0
    count, width = int(np.sum(result.layers.parameters)), result.density.width.value
    if count > 0 and width > 0:
        return min(0.2 / (count * width * math.sqrt(2 * math.pi)), top / 1e3), top
    return top / 1e8, top


def _draw_eigenvalues(axes: Axes, result: SpectrumResult) -> None:
    """A stem for each eigenvalue; its residual, where it is wide enough to be seen, across it."""
    floor, top = axes.get_ylim()
    height = floor * (top / floor) ** 0.2
    good = result.converged.astype(bool)
    kinds = (
        (good, "o", VERMILLION, "eigenvalue ± residual"),
        (~good, "D", "white", "not converged ± residual"),
    )
    for mask, marker, face, words in kinds:
        values, residuals = result.eigenvalues[mask], result.residuals[mask]
        if not values.size:
            continue
        axes.vlines(values, floor, height, color=VERMILLION, lw=0.9)
        axes.errorbar(
            values, np.full(values.shape, height), xerr=np.nan_to_num(residuals), fmt=marker,
            ms=4.0, mfc=face, mec=VERMILLION, ecolor="black", elinewidth=1.1, capsize=2.5,
            capthick=1.1, label=words,
        )  # fmt: skip
