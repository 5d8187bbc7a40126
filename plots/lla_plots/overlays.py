"""Spectra, traces by layer and cuts of several reports over each other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from scipy.special import ndtr

from lla.analyses.spectrum import Density, SpectrumResult
from lla.estimate import student_quantile
from lla.numbers import number
from lla.report import Report
from lla_plots.plane import masked_loss, surface_of
from lla_plots.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    VERMILLION,
    log_worthy,
    new_figure,
)
from lla_plots.text import short, symbols

__all__ = [
    "NAME",
    "WIDTH",
    "common_caption",
    "draw_cuts",
    "draw_layers",
    "draw_spectra",
    "report_style",
]

WIDTH = 6.6
NAME = 30

_COLORS = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE)
# Told apart in grey as well.
_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_HATCHES = ("", "////", "....", "xxxx", r"\\\\")
_MOST_LAYERS = 20
_CELLS = 1024
_SMOOTHING = 0.005


def common_caption(reports: Sequence[Report], names: Sequence[str]) -> str:
    """Which checkpoints, and on what; what all have in common once."""
    parts = [report.caption.split(" · ")[1:] for report in reports]
    common = [part for part in parts[0] if all(part in other for other in parts)]
    own = [
        f"{name}: {', '.join(part for part in told if part not in common) or 'the same'}"
        for name, told in zip(names, parts, strict=True)
    ]
    return " · ".join([*own, *common])


def report_style(index: int, count: int) -> tuple[str, object]:
    """Colour and line of a report: a sequence where there are many, as over epochs."""
    if count <= len(_COLORS):
        return _COLORS[index], _LINES[index]
    red, green, blue, _ = colormaps["viridis"](0.92 * index / (count - 1))
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}", "-"


def draw_spectra(reports: Sequence[Report], names: Sequence[str]) -> Figure | None:
    """Densities with their bands, and below them the eigenvalues in a lane for each report."""
    chosen = [index for index, one in enumerate(reports) if "spectrum" in one.results]
    if len(chosen) < 2:
        return None
    results = [reports[index].results["spectrum"] for index in chosen]
    edges, width = _common_cells(results)
    lane = 0.22 * len(chosen)
    figure = new_figure(WIDTH, 4.3 + lane, common_caption(reports, names))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 0.25 + lane))
    floor, top = math.inf, 0.0
    for lane_at, (index, result) in enumerate(zip(chosen, results, strict=True)):
        color, line = report_style(index, len(reports))
        level = reports[index].provenance.get("settings", {}).get("confidence", 0.95)
        mean, half = _smoothed(result.density, edges, width, level)
        # A little below what a single eigenvalue reaches: less is the smoothing's own tail.
        count = max(1, int(np.sum(result.layers.parameters)))
        floor = min(floor, 0.2 / (count * width * math.sqrt(2 * math.pi)))
        top = max(top, 3 * float(np.max(mean + half)))
        x, least = (edges[1:] + edges[:-1]) / 2, floor / 1e3
        low, high = np.maximum(mean - half, least), np.maximum(mean + half, least)
        above.fill_between(x, low, high, color=color, alpha=0.16, lw=0)
        label = symbols(short(names[index], NAME))
        above.plot(x, np.maximum(mean, least), color=color, ls=line, lw=1.4, label=label)
        _draw_lane(below, result.eigenvalues, result.converged.astype(bool), lane_at, color)
    above.set_yscale("log")
    above.set_ylim(floor, top)
    above.set_ylabel("share of eigenvalues per unit")
    above.set_title("Spectra: mean over probes with its band; below, the eigenvalues found")
    above.legend(loc="upper right")
    above.grid(axis="y")
    below.set_yticks(range(len(chosen)), [symbols(short(names[index], 18)) for index in chosen])
    below.set_ylim(len(chosen) - 0.4, -0.6)
    below.tick_params(axis="y", length=0)
    below.spines["left"].set_visible(False)
    below.set_xlabel(
        f"eigenvalue of the {_matrix(reports, chosen)} (loss units); "
        f"all smoothed with standard deviation {number(width, 2)}"
    )
    return figure


def _common_cells(results: Sequence[SpectrumResult]) -> tuple[np.ndarray, float]:
    """Cells over all spectra, and one smoothing for all of them: 0.5 % of the range."""
    ends = np.concatenate(
        [np.append(result.density.nodes.ravel(), result.eigenvalues) for result in results]
    )
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    width = _SMOOTHING * ((high - low) or abs(high) or 1.0)
    return np.linspace(low - 5 * width, high + 5 * width, _CELLS + 1), width


def _smoothed(
    density: Density, edges: np.ndarray, width: float, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Density and half-width of its band over probes in each cell, from nodes and weights.

    A report's own curve is smoothed by its own range, so that two of them would differ by that.
    """
    nodes = np.nan_to_num(density.nodes)
    weights = np.where(np.isfinite(density.nodes), density.weights, 0.0)
    below = ndtr((edges[None, :, None] - nodes[:, None, :]) / width)
    shares = np.einsum("pen,pn->pe", np.diff(below, axis=1), weights) / np.diff(edges)
    half = np.zeros(shares.shape[1])
    if len(shares) > 1:
        quantile = student_quantile(confidence, len(shares) - 1)
        half = quantile * shares.std(axis=0, ddof=1) / math.sqrt(len(shares))
    return shares.mean(axis=0), half


def _matrix(reports: Sequence[Report], chosen: Sequence[int]) -> str:
    words = dict.fromkeys(reports[index].results["spectrum"].operator.why for index in chosen)
    return " and ".join(words) or "Hessian"


def _draw_lane(
    axes: Axes, values: np.ndarray, converged: np.ndarray, lane: int, color: str
) -> None:
    axes.axhline(lane, color="#DDDDDD", lw=0.6, zorder=0)
    for mask, face in ((converged, color), (~converged, "white")):
        axes.plot(
            values[mask], np.full(int(mask.sum()), lane), "|" if face == color else "o",
            ms=9 if face == color else 4.5, mew=1.5, color=color, mfc=face, ls="none",
        )  # fmt: skip


def draw_layers(reports: Sequence[Report], names: Sequence[str]) -> Figure | None:
    """The trace of each layer in each report, with its interval."""
    chosen = [
        index
        for index, one in enumerate(reports)
        if "spectrum" in one.results and len(one.results["spectrum"].layers.names)
    ]
    if len(chosen) < 2:
        return None
    tables = [reports[index].results["spectrum"].layers for index in chosen]
    rows = list(dict.fromkeys(name for table in tables for name in table.names))
    largest = {
        name: max(
            abs(float(table.trace[table.names.index(name)]))
            for table in tables
            if name in table.names
        )
        for name in rows
    }
    kept = sorted(rows, key=lambda name: -np.nan_to_num(largest[name]))[:_MOST_LAYERS]
    rows = [name for name in rows if name in kept]
    thick = 0.8 / len(chosen)
    row_height = 0.12 + 0.13 * len(chosen)
    figure = new_figure(WIDTH, 1.7 + row_height * len(rows), common_caption(reports, names))
    axes = figure.subplots()
    for bar, (index, table) in enumerate(zip(chosen, tables, strict=True)):
        color, _ = report_style(index, len(reports))
        here = [place for place, name in enumerate(rows) if name in table.names]
        at = [table.names.index(rows[place]) for place in here]
        places = np.array(here) - 0.4 + (bar + 0.5) * thick
        hatch = _HATCHES[index] if len(reports) <= len(_HATCHES) else ""
        axes.barh(
            places, table.trace[at], height=0.9 * thick, color=color, hatch=hatch,
            edgecolor="white", lw=0.4, label=symbols(short(names[index], NAME)),
        )  # fmt: skip
        axes.hlines(places, table.low[at], table.high[at], color="black", lw=1.0)
    axes.set_yticks(range(len(rows)), [symbols(short(name, NAME)) for name in rows])
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.axvline(0, color="black", lw=0.8)
    axes.set_xlabel("trace of the layer's block (loss units), with its interval")
    left_out = len(largest) - len(rows)
    axes.set_title(
        "Curvature by layer" + (f" (the {left_out} smallest left out)" if left_out else "")
    )
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside upper right", ncols=min(3, len(chosen))
    )
    return figure


def draw_cuts(reports: Sequence[Report], names: Sequence[str]) -> Figure | None:
    """The loss along each report's own two directions: distances from its own checkpoint."""
    chosen = [
        index
        for index, one in enumerate(reports)
        if "landscape" in one.results
        and one.results["landscape"].surface is not None
        and masked_loss(one.results["landscape"]).count()
    ]
    if len(chosen) < 2:
        return None
    figure = new_figure(WIDTH, 3.7, common_caption(reports, names))
    panels = figure.subplots(1, 2, sharey=True)
    drawn = []
    for index in chosen:
        result = reports[index].results["landscape"]
        surface, loss = surface_of(result), masked_loss(result)
        alpha, beta = (int(np.argmin(np.abs(x))) for x in (surface.alpha, surface.beta))
        color, line = report_style(index, len(reports))
        cuts = ((surface.alpha, loss[:, beta]), (surface.beta, loss[alpha, :]))
        for axes, (x, y) in zip(panels, cuts, strict=True):
            label = symbols(short(names[index], NAME))
            axes.plot(x, np.ma.filled(y, np.nan), color=color, ls=line, lw=1.4, label=label)
            drawn.append(y.compressed())
    if log_worthy(np.concatenate(drawn)):
        panels[0].set_yscale("log")
        panels[0].yaxis.set_major_locator(LogLocator(numticks=8))
    directions = reports[chosen[0]].results["landscape"].axes.names
    for axes, name in zip(panels, directions, strict=True):
        axes.set_xlabel(symbols(f"distance along its {name}\n(parameter norm)"))
        axes.axvline(0, color=GREY, lw=0.8, zorder=0)
        axes.grid(axis="y")
    panels[0].set_ylabel("loss")
    panels[0].set_title("Cuts through each checkpoint")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=min(3, len(chosen))
    )
    return figure
