"""``index.h5``: what of a batch goes where in one self-describing HDF5 file, and back.

A metric keeps the path that it has in the reports, with an NXdata group in the place of a scalar.
What is of the batch itself is below ``/index``. There are no times in it: the same reports give the
same file.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import h5py
import numpy as np

from lla import __version__
from lla.analyses.fields import Plot, array, group
from lla.analyses.registry import available
from lla.batch.gathering import Course, Gathered
from lla.batch.outliers import Outlier
from lla.batch.trends import Trend, axis_of
from lla.estimate import Estimate
from lla.report import codec, nexus, seal

__all__ = [
    "SCHEMA",
    "Checkpoints",
    "Numbers",
    "Outliers",
    "OverEpochs",
    "OverRows",
    "Own",
    "Trends",
    "Words",
    "content_of",
]

SCHEMA = "lla-index/1"
_ROW = ("checkpoint",)
_TREND = ("trend",)
_OUTLIER = ("outlier",)
_GROWTH = 1 << 20


@dataclass(frozen=True)
class Checkpoints:
    """One row for each checkpoint."""

    checkpoint: np.ndarray = array("row of the index, from 1", _ROW)
    name: tuple[str, ...] = array("name in the batch", _ROW)
    status: tuple[str, ...] = array("done, failed, stopped, waiting or unreadable", _ROW)
    reason: tuple[str, ...] = array("why there are no values", _ROW)
    remedy: tuple[str, ...] = array("what to do next", _ROW)
    path: tuple[str, ...] = array("the checkpoint's file", _ROW)
    sha256: tuple[str, ...] = array("digest of the checkpoint", _ROW)
    report: tuple[str, ...] = array("the report's file", _ROW)
    report_sha256: tuple[str, ...] = array("digest that the report states of itself", _ROW)
    epoch: np.ndarray = array("epoch told by the checkpoint, its recipe or its name", _ROW)
    step: np.ndarray = array("training step told by the name", _ROW)
    run: tuple[str, ...] = array("run that the checkpoint is of", _ROW)
    order: np.ndarray = array("position in the run; NaN where there is no order", _ROW)
    order_kind: tuple[str, ...] = array("what that position counts", _ROW)
    verdicts: tuple[str, ...] = array("verdict of each condition, JSON", _ROW)


@dataclass(frozen=True)
class Numbers:
    """A metric across the checkpoints."""

    checkpoint: np.ndarray = array("row of the index, from 1", _ROW)
    epoch: np.ndarray | None = array("epoch, where all are of one run that has epochs", _ROW)
    value: np.ndarray = array("value", _ROW)
    low: np.ndarray = array("lower end of its interval", _ROW)
    high: np.ndarray = array("upper end of its interval", _ROW)
    confidence: np.ndarray = array("confidence of the interval; NaN: no stated level", _ROW)
    converged: np.ndarray = array("whether it is as sure as was asked for", _ROW)
    why: tuple[str, ...] = array("why there is no value", _ROW)
    apart: tuple[str, ...] = array("why it is not comparable with the first of its run", _ROW)


@dataclass(frozen=True)
class OverRows(Numbers):
    """Drawn over the rows of the index."""

    plot = Plot("value", ("checkpoint",), ("low", "high"))


@dataclass(frozen=True)
class OverEpochs(Numbers):
    """Drawn over the epochs: all checkpoints are of one run that has them."""

    plot = Plot("value", ("epoch",), ("low", "high"))


@dataclass(frozen=True)
class Words:
    """A result in words across the checkpoints."""

    checkpoint: np.ndarray = array("row of the index, from 1", _ROW)
    value: tuple[str, ...] = array("the words", _ROW)
    why: tuple[str, ...] = array("what they rest on, or why there are none", _ROW)


@dataclass(frozen=True)
class Trends:
    """One row for each metric over each run of several checkpoints."""

    path: tuple[str, ...] = array("metric", _TREND)
    run: tuple[str, ...] = array("run", _TREND)
    axis: tuple[str, ...] = array("what the run is ordered by", _TREND)
    points: np.ndarray = array("number of values", _TREND)
    verdict: tuple[str, ...] = array("rises, falls, open, none, constant, few or unordered", _TREND)
    why: tuple[str, ...] = array("the reason in words", _TREND)
    slope: np.ndarray = array("Theil-Sen slope per unit of the axis", _TREND)
    low: np.ndarray = array("lower end of its interval, for any values within theirs", _TREND)
    high: np.ndarray = array("upper end", _TREND)
    tau: np.ndarray = array("Kendall's tau of the values", _TREND)
    p: np.ndarray = array("its two-sided p-value", _TREND)
    p_worst: np.ndarray = array("the largest p-value of any values within the intervals", _TREND)
    p_holm: np.ndarray = array("that, after Holm's correction", _TREND)
    family: np.ndarray = array("number of metrics it was corrected for", _TREND)


@dataclass(frozen=True)
class Outliers:
    """One row for each value that is unlike the others."""

    row: np.ndarray = array("row of the index, from 1", _OUTLIER)
    path: tuple[str, ...] = array("metric", _OUTLIER)
    z: np.ndarray = array("robust z of the value", _OUTLIER)
    z_low: np.ndarray = array("robust z of its lower end", _OUTLIER)
    z_high: np.ndarray = array("robust z of its upper end", _OUTLIER)
    median: np.ndarray = array("median of the values it is held against", _OUTLIER)
    count: np.ndarray = array("how many these are", _OUTLIER)
    why: tuple[str, ...] = array("the reason in words", _OUTLIER)


@dataclass(frozen=True)
class Own:
    """What is of the batch itself."""

    about = "The checkpoints, trends over runs, outliers"

    checkpoints: Checkpoints = group("The checkpoints", Checkpoints)
    trends: Trends = group("Trends over runs", Trends)
    outliers: Outliers = group("Values unlike the others", Outliers)


def content_of(table: Gathered, trends: Sequence[Trend], outliers: Sequence[Outlier]) -> bytes:
    """The bytes of ``index.h5``, with the digest that it states of itself."""
    options = {"driver": "core", "backing_store": False, "block_size": _GROWTH}
    with h5py.File(uuid4().hex, "w", track_order=True, **options) as file:
        _fill(file, table, trends, outliers)
        file.flush()
        content: bytes = file.id.get_file_image()
    return content + seal.line(hashlib.sha256(content).hexdigest())


def _fill(
    file: h5py.File, table: Gathered, trends: Sequence[Trend], outliers: Sequence[Outlier]
) -> None:
    facts = {
        "NX_class": "NXroot",
        "lla_schema": SCHEMA,
        "creator": "lla",
        "creator_version": __version__,
        "file_name": "index.h5",
        "HDF5_Version": h5py.version.hdf5_version,
    }
    for name, value in facts.items():
        file.attrs[name] = value
    own = file.create_group("index", track_order=True)
    nexus.describe(own, "NXcollection", Own.about)
    numbered = [replace(one, row=one.row + 1) for one in outliers]
    codec.encode(
        Own(_checkpoints(table), _columns(Trends, trends), _columns(Outliers, numbered)), own
    )
    epochs = _epochs(table)
    for course in table.courses:
        _add(file, course, epochs)
    # The first headline that has values is what a viewer opens.
    shown = [one for one in table.courses if one.title and np.isfinite(one.numbers("value")).any()]
    for course in reversed(shown):
        group_name, _, name = course.path.partition("/")
        file.attrs["default"] = group_name
        file[group_name].attrs["default"] = name


def _add(file: h5py.File, course: Course, epochs: np.ndarray | None) -> None:
    """Add a metric at its path."""
    group_name, _, name = course.path.partition("/")
    if group_name not in file:
        parent = file.create_group(group_name, track_order=True)
        nexus.describe(parent, "NXentry", available()[course.analysis].about)
    parent = file[group_name]
    child = parent.create_group(name, track_order=True)
    nexus.describe(child, "NXcollection" if course.words else "NXdata", course.about)
    codec.encode(_words(course) if course.words else _numbers(course, epochs), child)
    if not course.words:
        if "default" not in parent.attrs:
            parent.attrs["default"] = name
        child["value"].attrs["long_name"] = course.about
        for part in ("value", "low", "high", "value_errors"):
            if course.units:
                child[part].attrs["units"] = course.units


def _numbering(count: int) -> np.ndarray:
    return np.arange(1, count + 1, dtype=np.int64)


def _numbers(course: Course, epochs: np.ndarray | None) -> Numbers:
    known = [one if isinstance(one, Estimate) else Estimate.missing("") for one in course.values]
    return (OverRows if epochs is None else OverEpochs)(
        checkpoint=_numbering(len(known)),
        epoch=epochs,
        value=course.numbers("value"),
        low=course.numbers("low"),
        high=course.numbers("high"),
        confidence=course.numbers("confidence"),
        converged=np.array([one.converged for one in known], dtype=bool),
        why=tuple(one.why for one in known),
        apart=course.apart,
    )


def _words(course: Course) -> Words:
    return Words(
        _numbering(len(course.values)),
        tuple(str(one.value) if not isinstance(one, Estimate) else "" for one in course.values),
        tuple(one.why for one in course.values),
    )


def _epochs(table: Gathered) -> np.ndarray | None:
    """The epochs to draw over: where all are of one run that is ordered by them."""
    runs = list(table.runs.values())
    if len(runs) != 1:
        return None
    axis = axis_of(table, runs[0])
    known = np.array(axis.position)
    return known if axis.kind == "epoch" and np.isfinite(known).all() else None


def _checkpoints(table: Gathered) -> Checkpoints:
    rows = table.rows
    order, kind = [math.nan] * len(rows), [""] * len(rows)
    for members in table.runs.values():
        axis = axis_of(table, members)
        for index, position in zip(members, axis.position, strict=True):
            order[index], kind[index] = position, axis.kind
    texts = {
        "name": [row.entry.name for row in rows],
        "status": [row.status for row in rows],
        "reason": [row.reason for row in rows],
        "remedy": [row.remedy for row in rows],
        "path": [row.entry.checkpoint for row in rows],
        "sha256": [row.sha256 for row in rows],
        "report": [row.entry.report for row in rows],
        "report_sha256": [row.report_sha256 for row in rows],
        "run": [row.place.run.replace("\n", " ") for row in rows],
        "order_kind": kind,
        "verdicts": [json.dumps(dict(row.verdicts)) for row in rows],
    }
    return Checkpoints(
        checkpoint=_numbering(len(rows)),
        epoch=np.array([row.epoch for row in rows], dtype=np.float64),
        step=np.array([row.place.step for row in rows], dtype=np.float64),
        order=np.array(order, dtype=np.float64),
        **{name: tuple(found) for name, found in texts.items()},
    )


def _columns(type: Any, found: Sequence[Any]) -> Any:
    """The fields of many as arrays."""
    columns: dict[str, Any] = {}
    for name, field in type.__dataclass_fields__.items():
        values = [getattr(one, name) for one in found]
        if "str" in str(field.type):
            columns[name] = tuple(values)
        else:
            whole = name in ("points", "family", "count", "row")
            columns[name] = np.array(values, dtype=np.int64 if whole else np.float64)
    return type(**columns)
