"""What ``--json`` prints of a batch and of its index: plain values, non-finite numbers as None."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from lla.batch.batch import Batch
from lla.batch.entry import Written
from lla.batch.layout import SCHEMA
from lla.batch.reading import Index, Metric
from lla.batch.runner import Row
from lla.estimate import finite_or_none

__all__ = ["BATCH", "SAID", "batch_document", "index_document"]

BATCH = "lla-batch/1"
"""Schema of what ``lla batch --json`` prints."""
SAID = ("seconds", "reason", "remedy", "exit_code", "peak")
"""What of a job's outcome is told; None before there is any."""

# Told in the index's file for programs that draw it; a list has its places.
_NUMBERING = "checkpoint"


def batch_document(batch: Batch, index: Written | None) -> dict[str, Any]:
    """What has become of a batch; without an index, what it would do."""
    files = {name: str(getattr(index, name)) for name in ("hdf5", "csv", "html")} if index else None
    return {
        "schema": BATCH,
        "folder": str(batch.folder),
        "index": files,
        "jobs": [_job(row) for row in batch.rows],
    }


def _job(row: Row) -> dict[str, Any]:
    said = vars(row.record.outcome) if row.record else {}
    return {
        "name": row.job.name,
        "checkpoint": row.job.checkpoint,
        "report": row.job.report,
        "state": row.state,
        "attempts": row.attempts or (row.record.attempts if row.record else 0),
        **{key: said.get(key) for key in SAID},
    }


def index_document(index: Index) -> dict[str, Any]:
    """What an index holds."""
    rows = [{**row, "verdicts": json.loads(row["verdicts"])} for row in _rows(index.checkpoints)]
    names = index.checkpoints.name
    return {
        "schema": SCHEMA,
        "index": index.path,
        "index_sha256": index.sha256 or None,
        "checkpoints": rows,
        "metrics": {metric.path: _metric(metric) for metric in index.metrics},
        "trends": list(_rows(index.trends)),
        "outliers": [
            {"name": names[int(row.pop("row")) - 1], **row} for row in _rows(index.outliers)
        ],
    }


def _metric(metric: Metric) -> dict[str, Any]:
    values = [
        {name: value for name, value in row.items() if name != "epoch"}
        for row in _rows(metric.values)
    ]
    return {"about": metric.about, "units": metric.units, "values": values}


def _rows(table: Any) -> Iterator[dict[str, Any]]:
    """The rows of a table of columns."""
    columns: Mapping[str, Any] = {
        item.name: getattr(table, item.name)
        for item in fields(table)
        if item.name != _NUMBERING and getattr(table, item.name) is not None
    }
    for row in zip(*columns.values(), strict=True):
        plain = (value.item() if hasattr(value, "item") else value for value in row)
        yield dict(zip(columns, map(finite_or_none, plain), strict=True))
