"""The page on a training: how its curvature moved towards 2/η."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lla.analyses.stability import TrainingSeries
from lla.estimate import Estimate
from lla.numbers import interval, number
from lla_plots.parts import Cell, Section, Shown, Table
from lla_plots.phrases import capital, counted
from lla_plots.series import positions, remarks
from lla_plots.tables import number_cell

__all__ = ["over_training"]

_NEAR = 0.2  # of 2/η
_SHARPER = 1.5


def over_training(series: TrainingSeries | None) -> Sequence[Section]:
    """How the curvature moved over the training; nothing where there is no series."""
    if series is None or not series.names:
        return ()
    lead = " ".join(part for part in (_path(series), _against(series)) if part)
    return (
        Section(
            "stability_series",
            "How did the curvature move over the training?",
            _answer(series),
            lead,
            31,
            notes=tuple(capital(f"{remark}.") for remark in remarks(series)),
            figures=(Shown("stability_series", "Curvature at each checkpoint", lead),),
            tables=(_table(series),),
        ),
    )


def _ends(values: np.ndarray) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    return (float(known[0]), float(known[-1])) if known.size else (float("nan"), float("nan"))


def _answer(series: TrainingSeries) -> str:
    first, last = _ends(series.lambda_max)
    if not np.isfinite(first):
        return "not known: no checkpoint has a λ_max"
    return f"λ_max from {number(first)} to {number(last)}"


def _path(series: TrainingSeries) -> str:
    """Where λ_max went."""
    first, last = _ends(series.lambda_max)
    count = counted(len(series.names), "checkpoint")
    if not np.isfinite(first):
        return f"None of {count} has a λ_max."
    words = f"Over {count}, λ_max goes from {number(first)} to {number(last)}"
    top = int(np.nanargmax(series.lambda_max))
    where, what = positions(series)
    if float(series.lambda_max[top]) > _SHARPER * max(first, last):
        at = f"{what} {number(float(where[top]))}" if what == "epoch" else series.names[top]
        words += f", with {number(float(series.lambda_max[top]))} at {at} between them"
    if first > 0 and last > _SHARPER * first:
        words += ": the training became sharper (progressive sharpening)"
    elif last > 0 and first > _SHARPER * last:
        words += ": the training became flatter"
    return f"{words}."


def _against(series: TrainingSeries) -> str:
    """Where it is against the learning rate at the end."""
    said = []
    pairs = (
        ("λ_max", series.lambda_max, series.edge, "largest stable λ_max"),
        ("The batch sharpness", series.batch_sharpness, series.two_over_lr, "2/η"),
    )
    for name, values, limit, word in pairs:
        known = np.isfinite(values) & np.isfinite(limit)
        if not known.any():
            continue
        at = int(np.flatnonzero(known)[-1])
        share = float(values[at] / limit[at])
        place = (
            "at the edge of stability" if abs(share - 1) <= _NEAR
            else "beyond the edge" if share > 1 else "below the edge"
        )  # fmt: skip
        said.append(
            f"{name} at the last checkpoint is {number(share, 3)} times the {word} of "
            f"{number(float(limit[at]))}: {place}."
        )
    return " ".join(said)


def _table(series: TrainingSeries) -> Table:
    head = ("checkpoint", "epoch", "η", "2/η", "λ_max", "trace", "batch sharpness", "loss")
    rows = []
    for row, name in enumerate(series.names):
        cells = [Cell(name, "code")]
        cells += [number_cell(float(c[row])) for c in (series.epoch, series.lr, series.two_over_lr)]
        for key in ("lambda_max", "trace", "batch_sharpness"):
            ends = (float(getattr(series, f"{key}{part}")[row]) for part in ("", "_low", "_high"))
            cells.append(_interval_cell(*ends))
        cells.append(number_cell(float(series.loss[row])))
        rows.append(tuple(cells))
    return Table(head, tuple(rows), "Each checkpoint, with the intervals")


def _interval_cell(value: float, low: float, high: float) -> Cell:
    if np.isnan(value):
        return number_cell(value)
    return Cell(interval(Estimate(value, low, high)), "number")
