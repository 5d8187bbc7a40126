"""The schema of the JSON document that ``--json`` prints."""

from __future__ import annotations

from dataclasses import fields

from lla.analyses.fields import Entry, entries
from lla.analyses.registry import built_in
from lla.report.report import SCHEMA, STATUSES, Stage
from lla.report.schemas.parts import (
    COUNT,
    DIALECT,
    DIGEST,
    ESTIMATE,
    LABEL,
    NUMBER,
    TEXT,
    TIME,
    VERDICT,
    Schema,
    one_of,
    record,
)

__all__ = ["document_schema"]


def document_schema() -> Schema:
    """The schema of :func:`lla.report.document`: numbers that are not finite are null there."""
    properties: dict[str, Schema] = {
        "schema": {"const": SCHEMA, "description": "version of this format"},
        "report": {"type": ["string", "null"], "description": "the HDF5 file, if there is one"},
        "report_sha256": {
            **DIGEST,
            "type": ["string", "null"],
            "description": "digest of the HDF5 file, without its last line, which states it",
        },
        "checkpoint": {**_checkpoint(), "description": "what was analysed"},
        "metrics": {**_metrics(), "description": "every scalar by its path, as in the HDF5 file"},
        "verdicts": {
            "type": "array",
            "items": record(VERDICT),
            "description": "what each condition says",
        },
        "stages": {
            "type": "object",
            "additionalProperties": _stage(),
            "description": "how each analysis went, by its name",
        },
        "plan": {
            "type": "object",
            "description": "how products were made, measured on this machine",
        },
        "provenance": {**_provenance(), "description": "with what, from what, when"},
    }
    return {
        "$schema": DIALECT,
        "$id": "urn:lla:report:1:document",
        "title": f"The document that --json prints, {SCHEMA}",
        **record(properties),
        "$defs": {
            "estimate": record(ESTIMATE, ["why"]),
            "label": record(LABEL, ["why"]),
            "verdict": record(VERDICT),
        },
    }


def _checkpoint() -> Schema:
    return record(
        {
            "path": {**TEXT, "description": "as given; empty for a live module"},
            "sha256": {
                **DIGEST,
                "description": "digest of the file, or of a live module's parameters",
            },
            "format": {**TEXT, "description": "name of the file's format"},
            "parameters": {**COUNT, "description": "number of parameters analysed"},
        }
    )


def _metrics() -> Schema:
    known = {
        f"{analysis.group}/{entry.name}": _metric(entry)
        for analysis in built_in().values()
        for entry in entries(analysis.result)
        if entry.kind == "metric"
    }
    others = {"anyOf": [{"$ref": "#/$defs/estimate"}, {"$ref": "#/$defs/label"}]}
    return {"type": "object", "properties": known, "additionalProperties": others}


def _metric(entry: Entry) -> Schema:
    kind = "label" if entry.text else "estimate"
    found: Schema = {"$ref": f"#/$defs/{kind}", "description": entry.about}
    if not entry.text:
        # A value that does not exist may come without its units.
        found["properties"] = {"units": {"enum": sorted({entry.units, ""})}}
    return found


def _stage() -> Schema:
    known: dict[str, Schema] = {
        "status": {**one_of(STATUSES), "description": "how it went"},
        "seconds": {"type": "number", "minimum": 0, "description": "wall time of its own"},
        "why": {**TEXT, "description": "why it is not done"},
        "key": {**TEXT, "description": "digest of all that its numbers depend on"},
        "finished": {**TEXT, "description": "when it ended, UTC"},
        "settings": {"type": "object", "description": "the settings that its numbers depend on"},
    }
    names = [item.name for item in fields(Stage) if item.name != "work"]
    found = record({name: known[name] for name in names}, set(names) - {"status", "seconds"})
    # Work by its kind: matvecs, gradients, points, images, batches, and what others bring.
    found["additionalProperties"] = COUNT
    return found


def _provenance() -> Schema:
    versions = dict.fromkeys(("lla", "torch", "numpy", "python"), TEXT)
    settings = {"seed": COUNT, "dtype": TEXT, "confidence": NUMBER}
    data = {
        "source": {**TEXT, "description": "name of the data; empty where it was given in memory"},
        "split": {**TEXT, "description": "its split"},
        "samples": {**COUNT, "description": "how many were analysed"},
        "available": {**COUNT, "description": "of how many"},
        "sha256": {**DIGEST, "description": "digest of the samples analysed"},
    }
    found = record(
        {
            "versions": {**_open(record(versions)), "description": "of lla and what it rests on"},
            "command": {
                "type": "array",
                "items": TEXT,
                "description": "the command line, or empty",
            },
            "started": {**TIME, "description": "when the run began, UTC"},
            "finished": {**TIME, "description": "when it ended, UTC"},
            "device": {**TEXT, "description": "torch device that computed"},
            "settings": {
                **_open(record(settings)),
                "description": "seed of all draws, dtype of the model, confidence of intervals",
            },
            "configuration": {
                "type": "object",
                "additionalProperties": {"type": "object"},
                "description": "every setting as it was resolved, by section",
            },
            "origins": {
                "type": "object",
                "additionalProperties": TEXT,
                "description": "where each setting that is not a default came from",
            },
            "data": {**_open(record(data)), "description": "what the loss is an average over"},
        }
    )
    return _open(found)


def _open(schema: Schema) -> Schema:
    """The same with room for what later versions add."""
    return {name: value for name, value in schema.items() if name != "additionalProperties"}
