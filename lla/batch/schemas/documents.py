"""The schemas of what ``--json`` prints of a batch and of its index."""

from __future__ import annotations

from typing import Any, get_args

from lla.analyses.fields import Entry, entries
from lla.batch.documents import BATCH, SAID
from lla.batch.layout import SCHEMA, Checkpoints, Numbers, Outliers, Trends, Words
from lla.batch.trends import Verdict
from lla.estimate import OUTCOMES
from lla.report.schemas.parts import COUNT, DIALECT, NUMBER, TEXT, Schema, one_of, record

__all__ = ["batch_schema", "index_schema"]

_STATES = {
    "waiting": "not begun: the batch was stopped, or was only looked at (--dry-run)",
    "done": "its report was written by this batch",
    "skipped": "its report was there, of the same files and settings",
    "failed": "its report is missing or incomplete; the reason says why",
    "stopped": "ended between two products; the next batch goes on with it",
}
_ABOUT = {
    "seconds": "what its worker took; of a skipped one, when it was made",
    "reason": "what was wrong, and why",
    "remedy": "what to do next",
    "exit_code": "what lla analyze would have ended with",
    "peak": "largest resident memory of its worker, bytes",
}
_TYPES = {"seconds": "number", "exit_code": "integer", "peak": "integer"}
# Columns that are whole numbers; the others are numbers, or null where there is none.
_WHOLE = {"points", "family", "count"}


def batch_schema() -> Schema:
    """The schema of :func:`lla.batch.documents.batch_document`."""
    files = {name: {**TEXT, "description": f"the index as {name.upper()}"} for name in
             ("hdf5", "csv", "html")}  # fmt: skip
    job: dict[str, Schema] = {
        "name": {**TEXT, "description": "its name, unique in the batch"},
        "checkpoint": {
            **TEXT,
            "description": "the checkpoint, absolute; or a name behind a scheme",
        },
        "report": {**TEXT, "description": "where its report is, or would be, absolute"},
        "state": {**one_of(_STATES), "description": "what has become of it"},
        "attempts": {**COUNT, "description": "how often it was begun"},
        **{
            name: {"type": [_TYPES.get(name, "string"), "null"], "description": _ABOUT[name]}
            for name in SAID
        },
    }
    return {
        "$schema": DIALECT,
        "$id": "urn:lla:batch:1",
        "title": f"The document that lla batch --json prints, {BATCH}",
        **record(
            {
                "schema": {"const": BATCH, "description": "version of this format"},
                "folder": {**TEXT, "description": "the folder of the reports, absolute"},
                "index": {
                    "description": "the index's files; null where none is made (--dry-run)",
                    "anyOf": [record(files), {"type": "null"}],
                },
                "jobs": {
                    "type": "array",
                    "items": record(job),
                    "description": "a job for each checkpoint, in the order of their naming",
                },
            }
        ),
    }


def index_schema() -> Schema:
    """The schema of :func:`lla.batch.documents.index_document`."""
    verdicts = {
        "type": "object",
        "additionalProperties": {"enum": list(OUTCOMES)},
        "description": "verdict of each condition, by its id",
    }
    metric = {
        "about": {**TEXT, "description": "what it is"},
        "units": {**TEXT, "description": "its units; none for a pure number or words"},
        "values": {
            "type": "array",
            "items": {"anyOf": [_row(Numbers), _row(Words)]},
            "description": "a value for each checkpoint, in the same order",
        },
    }
    columns = {name: column for name, column in _of(Outliers).items() if name != "row"}
    outlier = record({"name": {**TEXT, "description": "the checkpoint's name"}, **columns})
    parts = {
        "schema": {"const": SCHEMA, "description": "version of this format"},
        "index": {**TEXT, "description": "the HDF5 file"},
        "index_sha256": {
            "type": ["string", "null"],
            "pattern": "^[0-9a-f]{64}$",
            "description": "digest of the HDF5 file, without its last line, which states it",
        },
        "checkpoints": _list(
            record({**_of(Checkpoints), "verdicts": verdicts}), "a row for each checkpoint"
        ),
        "metrics": {
            "type": "object",
            "additionalProperties": record(metric),
            "description": "every metric by its path, across the checkpoints",
        },
        "trends": _list(_row(Trends), "a row for each metric over each run of several checkpoints"),
        "outliers": _list(outlier, "a row for each value that is unlike the others"),
    }
    return {
        "$schema": DIALECT,
        "$id": "urn:lla:index:1:document",
        "title": f"The document that lla show --json prints of an index, {SCHEMA}",
        **record(parts),
    }


def _list(items: Schema, about: str) -> Schema:
    return {"type": "array", "items": items, "description": about}


def _row(type: Any) -> Schema:
    return record(_of(type))


def _of(type: Any) -> dict[str, Schema]:
    """The columns of a table, as the keys of a row."""
    unsaid = {"checkpoint", "epoch"} if type is Numbers else {"checkpoint"}
    return {entry.name: _column(entry) for entry in entries(type) if entry.name not in unsaid}


def _column(entry: Entry) -> Schema:
    about = {"description": entry.about}
    if entry.name == "verdict":
        return {"enum": list(get_args(Verdict)), **about}
    if entry.text:
        return {**TEXT, **about}
    if entry.name == "converged":
        return {"type": "boolean", **about}
    return {**(COUNT if entry.name in _WHOLE else NUMBER), **about}
