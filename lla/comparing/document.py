"""The JSON document of a comparison, ``lla-compare/1``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.resources import files
from typing import Any

from lla.comparing.changes import Change, Comparison, Words
from lla.comparing.gate import gate
from lla.report import Report

__all__ = ["SCHEMA", "document", "schema"]

SCHEMA = "lla-compare/1"


def schema() -> dict[str, Any]:
    """The JSON schema that every document meets."""
    text = files("lla.comparing").joinpath("compare.schema.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def document(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """The document of comparisons with one reference: plain values, non-finite numbers as None.

    Raises:
        ValueError: There is no comparison.
    """
    if not comparisons:
        raise ValueError("a document needs at least one comparison")
    return {
        "schema": SCHEMA,
        "reference": _about(comparisons[0].reference),
        "across": list(comparisons[0].across),
        "comparisons": [_comparison(comparison) for comparison in comparisons],
        "gate": asdict(gate(comparisons)) | {"reasons": list(gate(comparisons).reasons)},
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        **_about(comparison.other),
        "same_checkpoint": comparison.same_checkpoint,
        "draws": "shared" if comparison.shared_draws else "independent",
        "crossed": [asdict(fact) for fact in comparison.crossed],
        "obstacles": [asdict(fact) for fact in comparison.obstacles],
        "metrics": _changes(comparison.changes),
        "layers": _changes(comparison.layers),
        "labels": _words(comparison.labels),
        "verdicts": _words(comparison.verdicts),
    }


def _about(report: Report) -> dict[str, Any]:
    data = report.provenance.get("data", {})
    return {
        "report": report.path or None,
        "checkpoint": asdict(report.checkpoint),
        "data": {key: data.get(key) for key in ("source", "split", "samples", "sha256")},
        "seed": report.provenance.get("settings", {}).get("seed"),
    }


def _changes(changes: Iterable[Change]) -> dict[str, Any]:
    return {change.path: _change(change) for change in changes}


def _change(change: Change) -> dict[str, Any]:
    found = {
        "outcome": change.outcome,
        "reference": change.reference.plain(),
        "other": change.other.plain(),
        "difference": change.difference.plain(),
        "relative": change.relative.plain(),
        "worse_if_larger": change.worse,
        "sampling": change.sampling or None,
    }
    return {**found, "why": change.why} if change.why else found


def _words(words: Iterable[Words]) -> dict[str, Any]:
    fields = ("reference", "other", "outcome", "why")
    return {one.id: {key: getattr(one, key) for key in fields} for one in words}
