"""Figure of a training: curvature at each checkpoint against 2/η, and the loss below it."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter

from lla.analyses.stability import TrainingSeries
from lla.analyses.stability.series import BETWEEN_NOTES
from lla.numbers import number
from lla_plots.phrases import capital, counted
from lla_plots.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    VERMILLION,
    log_worthy,
    new_figure,
    page_width,
)
from lla_plots.text import symbols

__all__ = ["draw_series", "positions", "remarks"]

_LINES: dict[str, tuple[str, dict[str, Any]]] = {
    "trace": ("trace of H", {"color": GREEN, "marker": "s", "ls": "-."}),
    "lambda_max": ("λ_max", {"color": BLUE, "marker": "o", "ls": "-"}),
    "batch_sharpness": ("batch sharpness", {"color": VERMILLION, "marker": "D", "ls": "--"}),
}
_RATE: dict[str, Any] = {"color": BLACK, "lw": 1.4, "ls": (0, (4, 2))}
_EDGE: dict[str, Any] = {"color": GREY, "lw": 1.4, "ls": ":"}
_HEIGHTS = (2.6, 1.0)  # inches
_MOST_REMARKS = 3


def draw_series(series: TrainingSeries | None, caption: str) -> dict[str, Figure]:
    """Draw ``stability_series``; nothing where there is no series."""
    if series is None or not series.names:
        return {}
    figure = new_figure(
        page_width(), sum(_HEIGHTS), caption, title="Curvature over the training, against 2/η",
        legend=_legend(series), notes=remarks(series)[:_MOST_REMARKS],
    )  # fmt: skip
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=_HEIGHTS)
    where, what = positions(series)
    _draw_curvature(above, series, where)
    below.plot(where, series.loss, color=BLACK, lw=1.2, marker=".", ms=4)
    if log_worthy(series.loss):
        below.set_yscale("log")
    below.set_ylabel("loss")
    below.set_xlabel(what)
    below.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return {"stability_series": figure}


def positions(series: TrainingSeries) -> tuple[np.ndarray, str]:
    """Where each checkpoint stands, and what that is: epochs, if each has its own."""
    epochs = np.asarray(series.epoch, dtype=np.float64)
    if np.isfinite(epochs).all() and len(set(epochs.tolist())) == len(epochs):
        return epochs, "epoch"
    return np.arange(1, len(epochs) + 1, dtype=np.float64), "checkpoint, in the given order"


def remarks(series: TrainingSeries) -> list[str]:
    """What to know before trusting it: each remark once, with the checkpoints that it is on."""
    found: dict[str, list[str]] = {}
    for name, note in zip(series.names, series.note, strict=True):
        for part in filter(None, note.split(BETWEEN_NOTES)):
            found.setdefault(part, []).append(name)
    told = []
    for part, names in found.items():
        where = names[0] if len(names) == 1 else counted(len(names), "checkpoint")
        everywhere = len(names) == len(series.names)
        told.append(capital(part) if everywhere else f"{where}: {part}")
    lost = int((~np.asarray(series.converged) & np.isfinite(series.lambda_max)).sum())
    if lost:
        told.append(f"λ_max has not converged at {counted(lost, 'checkpoint')}")
    return told


def _draw_curvature(axes: Axes, series: TrainingSeries, where: np.ndarray) -> None:
    drawn = [np.asarray(series.two_over_lr, dtype=np.float64)]
    for name, (_, style) in _LINES.items():
        values, low, high = (
            np.asarray(getattr(series, part), dtype=np.float64)
            for part in (name, f"{name}_low", f"{name}_high")
        )
        if not np.isfinite(values).any():
            continue
        reach = np.nan_to_num(np.stack([values - low, high - values]), nan=0.0, posinf=0.0)
        axes.errorbar(
            where, values, yerr=np.maximum(reach, 0.0), lw=1.3, ms=4, capsize=2.5, elinewidth=1.0,
            **style,
        )  # fmt: skip
        drawn.append(values)
    axes.plot(where, series.two_over_lr, drawstyle="steps-mid", zorder=1, **_RATE)
    if _differs(series):
        axes.plot(where, series.edge, drawstyle="steps-mid", zorder=1, **_EDGE)
        drawn.append(np.asarray(series.edge, dtype=np.float64))
    if log_worthy(np.concatenate(drawn)) or _wide(np.concatenate(drawn)):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda y, _: number(y, 2))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("curvature")


def _wide(values: np.ndarray) -> bool:
    """Whether the values are positive and some would lie at the bottom of a linear axis."""
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() > 0 and finite.max() > 10 * finite.min())


def _differs(series: TrainingSeries) -> bool:
    edge = np.asarray(series.edge, dtype=np.float64)
    known = np.isfinite(edge)
    return bool(known.any() and not np.allclose(edge[known], series.two_over_lr[known]))


def _legend(series: TrainingSeries) -> list[Line2D]:
    found = [
        Line2D([], [], lw=1.3, ms=4, label=symbols(label), **style)
        for name, (label, style) in _LINES.items()
        if np.isfinite(getattr(series, name)).any()
    ]
    if np.isfinite(series.two_over_lr).any():
        found.append(Line2D([], [], label="2/η", **_RATE))
    if _differs(series):
        label = "largest stable λ_max, with momentum and weight decay"
        found.append(Line2D([], [], label=symbols(label), **_EDGE))
    return found
