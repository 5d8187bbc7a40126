"""The page of a batch: what failed, trends, outliers, and every metric of every checkpoint."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lla.batch.gathering import UNREADABLE, Course, Gathered, Row
from lla.batch.outliers import BEYOND, Outlier
from lla.batch.trends import Trend
from lla.errors import LlaError
from lla.estimate import Estimate, Label
from lla.numbers import interval, number
from lla.report import read
from lla.report.storage import refuse_page
from lla_plots import courses, scripts
from lla_plots.index import INDEX, Value, chips, library, row_of, value_of
from lla_plots.index import Row as Shown
from lla_plots.page import page, write_page
from lla_plots.pictures import Picture, still

__all__ = ["write_batch"]

_PANELS = 6
_STATUSES = ("done", "failed", UNREADABLE, "stopped", "waiting")
_SAID = {
    "rises": "rises",
    "falls": "falls",
    "open": "open",
    "none": "none shown",
    "constant": "constant",
    "few": "too few",
    "unordered": "no order",
}
# The most telling first; what a page shows without being asked.
_TELLING = ("rises", "falls", "open")


@dataclass(frozen=True)
class Told:
    """A trend in words."""

    path: str
    run: str
    verdict: str
    said: str
    slope: str
    tau: str
    p: str
    why: str


@dataclass(frozen=True)
class Chart:
    """A metric to draw on demand."""

    name: str
    title: str
    plot: Any


@dataclass(frozen=True)
class _Files:
    """Pages that were written, and what each row of the table shows of them."""

    pages: tuple[Path, ...]
    rows: tuple[Shown, ...]


def write_batch(
    table: Gathered,
    trends: Sequence[Trend],
    outliers: Sequence[Outlier],
    place: Path,
    *,
    pages: bool,
) -> tuple[Path, ...]:
    """Write the page, and a page for each report if asked for; the index last.

    Returns:
        The pages of the reports.

    Raises:
        ReportError: A file cannot be written, or something in its place is no page of ours.
    """
    target = place / INDEX
    refuse_page(target)
    odd = {(one.row, one.path): one.why for one in outliers}
    runs = courses.lines(table)
    plotly = library(place) if runs or pages else None
    files = _files(table, odd, place, plotly if pages else None)
    counts = Counter(row.status for row in table.rows)
    telling = [_told(one) for one in trends if one.verdict in _TELLING]
    batch = {
        "failures": [row for row in table.rows if row.status not in ("done", "waiting")],
        "all": len(table.rows),
        "counts": ", ".join(f"{counts[s]} {s}" for s in _STATUSES if counts[s]),
        "picture": _picture(table, runs, outliers),
        "trends": telling,
        "quiet": [_told(one) for one in trends if one.verdict not in _TELLING],
        "outliers": [(table.rows[one.row].entry.name, one) for one in outliers],
        "beyond": number(BEYOND),
        "charts": _charts(table, runs, outliers),
    }
    content = scripts.render(
        "index.html.jinja",
        plotly if runs else None,
        "index.js",
        rows=files.rows,
        columns=[(one.path, one.title) for one in table.courses if one.title],
        problems=(),
        more=_more(table, odd),
        batch=batch,
    )
    write_page(target, content)
    return files.pages


def _files(
    table: Gathered, odd: dict[tuple[int, str], str], place: Path, plotly: scripts.Plotly | None
) -> _Files:
    """The rows of the table; with plotly.js in the folder, a page of each report beside it."""
    written, rows = [], []
    for index, row in enumerate(table.rows):
        if row.status != "done":
            continue
        file = place / row.entry.report
        beside = file.with_suffix(".html")
        pictures: Sequence[Picture] = ()
        if plotly is not None:
            refuse_page(beside)
            up = Path(os.path.relpath(place, beside.parent)).as_posix()
            shared = scripts.shared(f"{up}/{plotly.address}") if up != "." else plotly
            try:
                made = page(read(file), shared, f"{up}/{INDEX}" if up != "." else INDEX)
            except LlaError:  # it has been read a moment ago, and is being replaced
                made = None
            if made is not None:
                written.append(write_page(beside, made.html))
                pictures = made.pictures
        report = row.entry.report
        address = str(Path(report).with_suffix(".html")) if beside.is_file() else report
        rows.append(_row(table, index, row, odd, address, pictures))
    return _Files(tuple(written), tuple(rows))


def _row(
    table: Gathered,
    index: int,
    row: Row,
    odd: dict[tuple[int, str], str],
    address: str,
    pictures: Sequence[Picture],
) -> Shown:
    values = {
        one.path: _value(one.values[index], odd.get((index, one.path), ""))
        for one in table.courses
        if one.title
    }
    return row_of(
        row.entry.name,
        row.entry.report,
        address,
        values,
        chips(v for _, v in row.verdicts),
        pictures,
    )


def _value(value: Estimate | Label, odd: str) -> Value:
    return replace(value_of(value), odd=odd)


def _picture(
    table: Gathered, runs: Sequence[courses.Line], outliers: Sequence[Outlier]
) -> Picture | None:
    """The headline metrics over the runs, as an image."""
    drawn = [index for run in runs for index in run.rows]
    shown = [one for one in table.courses if one.title and one.judged and _varies(one, drawn)][
        :_PANELS
    ]
    if not shown:
        return None
    light, dark = still(courses.figure(shown, runs, outliers, _caption(table)))
    title = "Headline metrics over the runs, with their intervals"
    alt = f"{', '.join(one.title for one in shown)} of {len(drawn)} checkpoints"
    return Picture("trends", title, alt, light, dark)


def _caption(table: Gathered) -> str:
    """How many checkpoints, and what all of them have in common."""
    told = [row.caption.split(" · ")[1:] for row in table.rows if row.caption]
    common = [part for part in told[0] if all(part in other for other in told)] if told else []
    common = [part for part in common if not part.startswith("sha256")]
    return " · ".join([f"{len(told)} checkpoints", *common])


def _told(one: Trend) -> Told:
    slope = ""
    if one.slope == one.slope:
        slope = f"{interval(Estimate(one.slope, one.low, one.high))} per {one.axis}"
    return Told(
        one.path, one.run, one.verdict, _SAID[one.verdict], slope, number(one.tau, 2),
        number(one.p_holm, 2), one.why,
    )  # fmt: skip


def _charts(
    table: Gathered, runs: Sequence[courses.Line], outliers: Sequence[Outlier]
) -> list[tuple[str, list[Chart]]]:
    """Every metric that varies, to be drawn when its analysis is opened."""
    found: dict[str, list[Chart]] = {}
    names = [row.entry.name for row in table.rows]
    drawn = [index for run in runs for index in run.rows]
    for one in table.courses:
        if not one.words and _varies(one, drawn):
            odd = [found for found in outliers if found.path == one.path]
            plot = courses.plot(one, runs, names, odd)
            chart = Chart(
                one.path.replace("/", "-").replace(".", "-"), f"{one.path}: {one.about}", plot
            )
            found.setdefault(one.analysis, []).append(chart)
    return list(found.items())


def _varies(one: Course, rows: Sequence[int]) -> bool:
    known = one.numbers("value")[list(rows)]
    known = known[np.isfinite(known)]
    return len(known) > 1 and bool(known.min() < known.max())


def _more(table: Gathered, odd: dict[tuple[int, str], str]) -> list[dict[str, Any]]:
    """The columns that a reader may add: texts, what to sort by, how it looks, by row."""
    rows = [index for index, row in enumerate(table.rows) if row.status == "done"]
    return [
        {
            "path": one.path,
            "about": one.about,
            "cells": [_cell(one, index, odd.get((index, one.path), "")) for index in rows],
        }
        for one in table.courses
        if not one.title
    ]


def _cell(one: Course, index: int, odd: str) -> list[str]:
    value = _value(one.values[index], odd)
    return [value.text, value.order, value.kind, value.odd]
