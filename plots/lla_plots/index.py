"""Pages of many reports in one folder: an index, a page each, one plotly.js for all."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lla.analyses.registry import available
from lla.errors import LlaError, ReportError
from lla.estimate import GRAVEST, Estimate, Label
from lla.numbers import interval, metric, outcome
from lla.report import Report, read
from lla.report.storage import refuse_page
from lla_plots import scripts
from lla_plots.draw import write
from lla_plots.page import name_of, page, write_page
from lla_plots.pictures import Picture, Still, thumbnail

__all__ = [
    "INDEX",
    "Folder",
    "Row",
    "Value",
    "chips",
    "library",
    "row_of",
    "value_of",
    "write_folder",
]

INDEX = "index.html"
_MOST_THUMBNAILS = 2
_BANNER = b"plotly.js v"


@dataclass(frozen=True)
class Folder:
    """What was written.

    Attributes:
        index: The index.
        pages: A page for each report that could be read.
        problems: Reports that could not, each with the reason.
    """

    index: Path
    pages: tuple[Path, ...]
    problems: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Value:
    """One metric of one checkpoint: as text, as a number to sort by, and how it looks.

    ``odd`` says why it is an outlier, or "".
    """

    text: str
    order: str
    kind: str
    odd: str = ""


_ABSENT = Value("not analysed", "", "missing")


@dataclass(frozen=True)
class Row:
    """One checkpoint of the index.

    Attributes:
        name: Its name.
        report: The report's file.
        address: Its page.
        values: By metric path.
        verdicts: Counts in words with their outcomes, the gravest first.
        gravity: Number to sort by: the gravest verdict first.
        pictures: Small images with what they show.
    """

    name: str
    report: str
    address: str
    values: dict[str, Value]
    verdicts: tuple[tuple[str, str], ...]
    gravity: int
    pictures: tuple[tuple[Still, str], ...]


def write_folder(reports: Sequence[str], folder: str | Path) -> Folder:
    """Write a page for each report, and an index of all of them.

    A report that cannot be read is listed in the index with the reason. Each file is replaced only
    when it is complete, the index last.

    Args:
        reports: Report files.
        folder: Where to; made if it does not exist.

    Raises:
        ReportError: The folder cannot be written, something in it is no page of a report, or none
            of the reports can be read.
    """
    place = Path(folder)
    _make(place)
    index = place / INDEX
    targets = [place / f"{name}.html" for name in _names(reports)]
    for target in (index, *targets):
        refuse_page(target)
    plotly = library(place)
    rows, pages, problems = [], [], []
    for path, target in zip(reports, targets, strict=True):
        try:
            report = read(path)
        except LlaError as error:
            problems.append((path, error.reason))
            continue
        made = page(report, plotly, INDEX)
        pages.append(write_page(target, made.html))
        rows.append(_row(report, path, target, made.pictures))
    if not rows:
        raise ReportError(f"none of the reports can be read: {problems[0][1]}", "lla analyze MODEL")
    write_page(index, _index(rows, problems))
    return Folder(index, tuple(pages), tuple(problems))


def _make(place: Path) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReportError(
            f"pages cannot be written to '{place}': {error.strerror or error}",
            "choose another folder: -o FOLDER",
        ) from None


def _names(reports: Iterable[str]) -> list[str]:
    """A file name for each page: the report's, with its folder's where two are the same."""
    paths = [Path(path) for path in reports]
    stems = [path.name.removesuffix(".h5").removesuffix(".lla") for path in paths]
    taken, found = {Path(INDEX).stem}, []
    for path, stem in zip(paths, stems, strict=True):
        name = f"{path.parent.name}-{stem}" if stems.count(stem) > 1 and path.parent.name else stem
        wanted, count = name, 1
        while name in taken:
            count += 1
            name = f"{wanted}-{count}"
        taken.add(name)
        found.append(name)
    return found


def library(place: Path) -> scripts.Plotly:
    """plotly.js in the folder, under its version's name; written unless it is there already."""
    content = scripts.plotly_source().encode()
    version = re.search(r"plotly\.js v([\w.-]+)", content[:400].decode(errors="replace"))
    target = place / f"plotly{f'-{version[1]}' if version else ''}.min.js"
    if target.exists():
        if not target.is_file() or _BANNER not in target.read_bytes()[:400]:
            raise ReportError(
                f"{target} is there already, and no plotly.js: it is not replaced",
                "choose another folder: -o FOLDER",
            )
        if target.read_bytes() == content:
            return scripts.shared(target.name)
    try:
        write(target, content)
    except OSError as error:
        raise ReportError(
            f"{target} cannot be written: {error.strerror or error}",
            "choose another folder: -o FOLDER",
        ) from None
    return scripts.shared(target.name)


def _row(report: Report, path: str, target: Path, pictures: Sequence[Picture]) -> Row:
    values = {key: value_of(value) for key, value in report.metrics.items()}
    verdicts = chips(verdict.verdict for verdict in report.verdicts)
    return row_of(name_of(report), path, target.name, values, verdicts, pictures)


def row_of(
    name: str,
    path: str,
    address: str,
    values: dict[str, Value],
    verdicts: tuple[tuple[str, str], ...],
    pictures: Sequence[Picture],
) -> Row:
    """A row of the table, sorted by its gravest verdict, with the first pictures in small."""
    return Row(
        name,
        path,
        address,
        values,
        verdicts,
        GRAVEST.index(verdicts[0][0]) if verdicts else len(GRAVEST),
        tuple((thumbnail(picture.light), picture.title) for picture in pictures[:_MOST_THUMBNAILS]),
    )


def chips(verdicts: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Verdicts counted, the gravest first, each with its words."""
    counts = Counter(verdicts)
    return tuple((name, f"{counts[name]} {outcome(name)}") for name in GRAVEST if name in counts)


def value_of(value: Estimate | Label) -> Value:
    """How the table shows a metric."""
    if isinstance(value, Label):
        return Value(metric(value), value.value, "")
    if not value.exists:
        return Value(interval(value), "", "missing")
    text = interval(value) if value.converged else f"{interval(value)}, not converged"
    order = repr(value.value) if math.isfinite(value.value) else ""
    return Value(text, order, "number" if value.converged else "warn")


def _index(rows: Sequence[Row], problems: Sequence[tuple[str, str]]) -> str:
    columns = [
        (f"{analysis.group}/{name}", title)
        for analysis in available().values()
        for name, title in analysis.headline
        if any(f"{analysis.group}/{name}" in row.values for row in rows)
    ]
    shown = {path for path, _ in columns}
    paths = dict.fromkeys(path for row in rows for path in row.values if path not in shown)
    return scripts.render(
        "index.html.jinja",
        None,
        "index.js",
        rows=rows,
        columns=columns,
        problems=problems,
        more=[_further(path, rows) for path in paths],
        batch=None,
    )


def _further(path: str, rows: Sequence[Row]) -> dict[str, Any]:
    """A column that a reader may add: texts, what to sort by and how it looks, by row."""
    found = [row.values.get(path, _ABSENT) for row in rows]
    return {"path": path, "cells": [[one.text, one.order, one.kind, one.odd] for one in found]}
