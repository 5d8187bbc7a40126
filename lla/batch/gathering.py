"""What an index takes of each report: its scalars and a few facts; the reports are then let go."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from lla.analyses.analysis import Analysis
from lla.analyses.checkpoints import natural
from lla.analyses.fields import entries as declared
from lla.analyses.registry import available
from lla.batch.entry import Entry
from lla.batch.runs import Place, places
from lla.comparing.comparison import needed_of
from lla.comparing.facts import ARRAYS, differing
from lla.errors import LlaError
from lla.estimate import Estimate, Label
from lla.report import Report
from lla.report.storage import read_scalars

__all__ = ["FEW_OUTLIERS", "FEW_TREND", "UNREADABLE", "Course", "Gathered", "Row", "gathered"]

FEW_TREND = 4
"""The fewest points of a trend."""
FEW_OUTLIERS = 5
"""The fewest values among which one may be an outlier."""
UNREADABLE = "unreadable"
"""Status of a checkpoint that is done and whose report cannot be read."""


@dataclass(frozen=True)
class Row:
    """One checkpoint.

    Attributes:
        entry: As the batch tells it.
        status: Its status, or "unreadable" where it is done and the report cannot be read.
        reason: Why it has no values, or "".
        remedy: What to do next, or "".
        place: Where it stands by its name.
        peers: Which checkpoints its values are held against: its run's, or, where that is small,
            those of all small runs.
        sha256: Digest of the checkpoint, or "".
        report_sha256: Digest that the report states, or "".
        told: The epoch that the checkpoint or its recipe tells; NaN if none.
        caption: What was analysed, as figures say it.
        verdicts: Verdict of each condition, by its id.
    """

    entry: Entry
    status: str
    reason: str
    remedy: str
    place: Place
    peers: str = ""
    sha256: str = ""
    report_sha256: str = ""
    told: float = math.nan
    caption: str = ""
    verdicts: tuple[tuple[str, str], ...] = ()

    @property
    def epoch(self) -> float:
        """The epoch that the checkpoint tells, or else its name."""
        return self.place.epoch if math.isnan(self.told) else self.told


@dataclass(frozen=True)
class Course:
    """A metric across the checkpoints: one value for each row, or words.

    Attributes:
        path: Its metric path.
        about: What it is.
        units: Its units.
        analysis: The analysis that it is of.
        title: Title of its column among the headlines, or "".
        judged: Whether trends and outliers are looked for: not in a setting, a check or words.
        values: The estimates or labels.
        apart: For each row what it has not in common with the first of its run, so that the two
            are not comparable; "" if nothing.
        apart_peers: The same for the first of its peers.
    """

    path: str
    about: str
    units: str
    analysis: str
    title: str
    judged: bool
    values: tuple[Estimate | Label, ...]
    apart: tuple[str, ...]
    apart_peers: tuple[str, ...]

    @cached_property
    def words(self) -> bool:
        """Whether the values are words."""
        return any(isinstance(value, Label) for value in self.values)

    def numbers(self, name: str) -> np.ndarray:
        """``value``, ``low``, ``high`` or ``confidence`` of each row, shape (rows,)."""
        found = [
            getattr(one, name) if isinstance(one, Estimate) else math.nan for one in self.values
        ]
        return np.array(found, dtype=np.float64)


@dataclass(frozen=True)
class Gathered:
    """All checkpoints and all metrics, in an order of their own.

    Attributes:
        rows: The checkpoints, by name.
        courses: The metrics, in the order of the registry.
    """

    rows: tuple[Row, ...]
    courses: tuple[Course, ...]

    @property
    def runs(self) -> dict[str, list[int]]:
        """The rows of each run."""
        found: dict[str, list[int]] = {}
        for index, row in enumerate(self.rows):
            found.setdefault(row.place.run, []).append(index)
        return found


def gathered(entries: Sequence[Entry], folder: Path) -> Gathered:
    """Read the reports one after another, in the order of the names.

    Args:
        entries: The checkpoints.
        folder: What relative paths are relative to.
    """
    ordered = sorted(entries, key=lambda entry: (natural(entry.name), entry.name, entry.checkpoint))
    rows = _peered(
        [
            Row(e, e.status, e.reason, e.remedy, p)
            for e, p in zip(ordered, places(ordered), strict=True)
        ]
    )
    reading = _Reading(len(rows))
    for index, row in enumerate(rows):
        if row.status != "done":
            continue
        try:
            report = read_scalars(folder / row.entry.report, ARRAYS)
        except LlaError as error:
            rows[index] = replace(
                row,
                status=UNREADABLE,
                reason=error.reason.replace(f"{folder}/", ""),
                remedy=error.remedy.replace(f"{folder}/", ""),
            )
            continue
        rows[index] = _told(row, report)
        reading.take(index, row, report)
    return Gathered(tuple(rows), reading.courses(rows))


def _peered(rows: Sequence[Row]) -> list[Row]:
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[row.place.run] = sizes.get(row.place.run, 0) + (row.status == "done")
    return [
        replace(row, peers=row.place.run if sizes[row.place.run] >= FEW_OUTLIERS else "")
        for row in rows
    ]


def _told(row: Row, report: Report) -> Row:
    training = report.provenance.get("configuration", {}).get("training", {})
    epoch = training.get("epoch")
    return replace(
        row,
        sha256=report.checkpoint.sha256,
        report_sha256=report.sha256,
        told=math.nan if epoch is None else float(epoch),
        caption=report.caption,
        verdicts=tuple((one.id, one.verdict) for one in report.verdicts),
    )


class _Reading:
    """The columns as they fill."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._values: dict[str, dict[int, Estimate | Label]] = {}
        self._whys: list[dict[str, str]] = [{} for _ in range(count)]
        self._apart: dict[str, dict[str, dict[int, str]]] = {"run": {}, "peers": {}}
        self._first: dict[tuple[str, str], Report] = {}

    def take(self, index: int, row: Row, report: Report) -> None:
        """Keep what the index needs of a report."""
        for path, value in report.metrics.items():
            self._values.setdefault(path, {})[index] = value
        for name, stage in report.stages.items():
            if stage.status != "done":
                self._whys[index][name] = f"{stage.status.replace('_', ' ')}: {stage.why}"
        kinds = {"run": row.place.run, "peers": row.peers}
        if row.peers == row.place.run:
            del kinds["peers"]  # the same first report, and so the same
        for kind, name in kinds.items():
            if (kind, name) not in self._first:
                self._first[kind, name] = report
            else:
                self._hold(kind, index, self._first[kind, name], report)

    def _hold(self, kind: str, index: int, first: Report, report: Report) -> None:
        """Note which metrics are not comparable with the first report's."""
        known: dict[tuple[str, ...], str] = {}
        for analysis, result in report.analyses():
            for entry in declared(result):
                if entry.kind != "metric":
                    continue
                needed = needed_of(analysis, entry.name)
                asked = (analysis.name, *needed)
                if asked not in known:
                    facts = differing(first, report, needed, analysis.name)
                    known[asked] = "; ".join(map(str, facts))
                if known[asked]:
                    path = f"{analysis.group}/{entry.name}"
                    self._apart[kind].setdefault(path, {})[index] = known[asked]

    def courses(self, rows: Sequence[Row]) -> tuple[Course, ...]:
        """The columns of all metrics that any report has."""
        found = []
        for analysis in available().values():
            titles = dict(analysis.headline)
            for entry in declared(analysis.result):
                path = f"{analysis.group}/{entry.name}"
                if entry.kind != "metric" or path not in self._values:
                    continue
                known = self._values[path]
                values = tuple(
                    known.get(index) or self._absent(rows[index], index, analysis, text=entry.text)
                    for index in range(self._count)
                )
                unjudged = {*analysis.compared.given, *analysis.compared.checks}
                apart, peers = (self._apart[kind].get(path, {}) for kind in ("run", "peers"))
                judged = not entry.text and entry.name not in unjudged
                found.append(
                    Course(
                        path=path,
                        about=entry.about,
                        units=entry.units,
                        analysis=analysis.name,
                        title=titles.get(entry.name, ""),
                        judged=judged,
                        values=values,
                        apart=tuple(apart.get(i, "") for i in range(self._count)),
                        apart_peers=tuple(
                            (apart if row.peers == row.place.run else peers).get(i, "")
                            for i, row in enumerate(rows)
                        ),
                    )
                )
        return tuple(found)

    def _absent(self, row: Row, index: int, analysis: Analysis, *, text: bool) -> Estimate | Label:
        why = self._whys[index].get(analysis.name, "not analysed")
        why = why if row.status == "done" else row.status
        return Label("", why) if text else Estimate.missing(why)
