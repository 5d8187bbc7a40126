"""Plotly figures as plain data: what the page hands to plotly.js."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lla.analyses.landscape import LandscapeResult
from lla.analyses.spectrum import SpectrumResult
from lla.numbers import number
from lla_plots.plane import axis_labels, masked_loss, surface_of
from lla_plots.spectrum import density_limits
from lla_plots.style import BLUE, VERMILLION, log_worthy

__all__ = ["spectrum", "surface"]

Figure = dict[str, Any]


def spectrum(result: SpectrumResult) -> Figure:
    """The density with its band, and the eigenvalues found one by one, with hover."""
    density = result.density
    floor, top = density_limits(result)
    x = _plain(density.eigenvalue)

    def lifted(values: np.ndarray) -> list[Any]:
        # A logarithmic axis has no place for zero.
        kept: list[Any] = _plain(np.clip(values, floor / 10, None))
        return kept

    band = {"x": x, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    traces = [
        {**band, "y": lifted(density.low), "showlegend": False},
        {
            **band,
            "y": lifted(density.high),
            "fill": "tonexty",
            "fillcolor": "rgba(86,180,233,0.4)",
            "name": "band over probes",
        },
        {
            "x": x,
            "y": lifted(density.density),
            "mode": "lines",
            "line": {"color": BLUE, "width": 2},
            "name": "density, mean over probes",
            "hovertemplate": "λ = %{x:.4g}<br>density %{y:.3g}<extra></extra>",
        },
        _eigenvalues(result, floor * (top / floor) ** 0.22),
    ]
    layout = {
        "xaxis": {"title": {"text": "eigenvalue of the Hessian (loss units)"}},
        "yaxis": {
            "title": {"text": "share of eigenvalues per unit"},
            "type": "log",
            "range": [math.log10(floor), math.log10(top)],
            "exponentformat": "power",
            "dtick": 1,
        },
        "legend": {"x": 1, "xanchor": "right", "y": 1},
        "hovermode": "closest",
        "margin": {"t": 36, "r": 10},
    }
    return {"data": traces, "layout": layout}


def _eigenvalues(result: SpectrumResult, height: float) -> dict[str, Any]:
    converged = result.converged.astype(bool)
    words = [
        f"λ = {number(float(value), 6)}<br>residual {number(float(residual), 2)}, "
        + ("converged" if good else "not converged")
        for value, residual, good in zip(
            result.eigenvalues, result.residuals, converged, strict=True
        )
    ]
    return {
        "x": _plain(result.eigenvalues),
        "y": [height] * len(result.eigenvalues),
        "mode": "markers",
        "marker": {
            "color": VERMILLION,
            "size": 9,
            "symbol": ["circle" if good else "circle-open" for good in converged],
        },
        "name": "eigenvalues (open: not converged)",
        "text": words,
        "hovertemplate": "%{text}<extra></extra>",
    }


def surface(result: LandscapeResult) -> Figure | None:
    """The loss as a surface to rotate, its contours below; None where no point is finite."""
    loss = masked_loss(result)
    if loss.count() == 0:
        return None
    logarithmic = log_worthy(loss.compressed())
    height = np.ma.filled(np.ma.log10(loss) if logarithmic else loss, np.nan)
    low, high = float(np.nanmin(height)), float(np.nanmax(height))
    span = (high - low) or 1.0
    # plotly's own logarithmic axis has no projected contours; the ticks say the loss instead.
    ticks = _ticks(low, high, logarithmic)
    sheet = {
        "type": "surface",
        "x": _plain(surface_of(result).alpha),
        "y": _plain(surface_of(result).beta),
        "z": _plain(height.T),
        "text": [[number(float(v)) for v in row] for row in np.ma.filled(loss, np.nan).T],
        "hovertemplate": "α = %{x:.4g}<br>β = %{y:.4g}<br>loss %{text}<extra></extra>",
        "colorscale": "Viridis",
        "colorbar": {"title": {"text": "loss"}, "thickness": 14, "len": 0.7, **ticks},
        "contours": {
            "z": {
                "show": True,
                "usecolormap": True,
                "project": {"z": True},
                "start": low,
                "end": high,
                "size": span / 14,
            }
        },
    }
    heights = {"range": [low - 0.5 * span, high + 0.03 * span], **ticks}
    return {"data": [sheet, *_checkpoint(result, height)], "layout": _scene(result, heights)}


def _scene(result: LandscapeResult, heights: dict[str, Any]) -> dict[str, Any]:
    # plotly reads tags in its texts: those of a name must not be any.
    x_label, y_label = (
        label.replace("<", "‹").replace(">", "›").replace(", λ", ",<br>λ")
        for label in axis_labels(result)
    )
    scene = {
        "xaxis": {"title": {"text": x_label}},
        "yaxis": {"title": {"text": y_label}},
        "zaxis": {"title": {"text": "loss"}, **heights},
        "aspectmode": "manual",
        "domain": {"x": [0, 0.95], "y": [0.06, 1]},
        "aspectratio": {"x": 1, "y": 1, "z": 0.75},
        "camera": {
            "eye": {"x": 1.2, "y": -1.33, "z": 0.8},
            "center": {"x": 0, "y": 0, "z": -0.16},
        },
    }
    return {"scene": scene, "margin": {"t": 0, "b": 0, "l": 0, "r": 0}}


def _ticks(low: float, high: float, logarithmic: bool) -> dict[str, Any]:
    if not logarithmic:
        return {}
    decades = [float(d) for d in range(math.ceil(low), math.floor(high) + 1)]
    return {"tickvals": decades, "ticktext": [number(10**decade) for decade in decades]}


def _checkpoint(result: LandscapeResult, height: np.ndarray) -> list[dict[str, Any]]:
    alpha = int(np.argmin(np.abs(surface_of(result).alpha)))
    beta = int(np.argmin(np.abs(surface_of(result).beta)))
    if not np.isfinite(height[alpha, beta]):
        return []
    marker = {
        "type": "scatter3d",
        "mode": "markers",
        "x": [float(surface_of(result).alpha[alpha])],
        "y": [float(surface_of(result).beta[beta])],
        "z": [float(height[alpha, beta])],
        "marker": {"color": VERMILLION, "size": 6, "line": {"color": "white", "width": 1}},
        "hovertemplate": "checkpoint<extra></extra>",
        "showlegend": False,
    }
    return [marker]


def _plain(values: ArrayLike) -> Any:
    """Nested lists with six digits, None where JSON has no number."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim > 1:
        return [_plain(row) for row in array]
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in array.tolist()]
