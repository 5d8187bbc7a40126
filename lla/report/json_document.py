"""The JSON document that ``--json`` prints: the scalars of a report, without its arrays."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from lla.estimate import Estimate, Label
from lla.report.report import SCHEMA, Report

__all__ = ["document"]


def document(report: Report) -> dict[str, Any]:
    """The report's document, schema ``lla-report/1``: plain values, non-finite numbers as None."""
    found: dict[str, Any] = _finite(
        {
            "schema": SCHEMA,
            "report": report.path or None,
            "report_sha256": report.sha256 or None,
            "checkpoint": asdict(report.checkpoint),
            "metrics": {path: _metric(value) for path, value in report.metrics.items()},
            "verdicts": [asdict(verdict) for verdict in report.verdicts],
            "stages": {name: _stage(report, name) for name in report.stages},
            "plan": report.plan,
            "provenance": report.provenance,
        }
    )
    return found


def _metric(value: Estimate | Label) -> dict[str, Any]:
    fields = asdict(value)
    if not fields["why"]:
        del fields["why"]
    return fields


def _stage(report: Report, name: str) -> dict[str, Any]:
    stage = report.stages[name]
    found: dict[str, Any] = {"status": stage.status, "seconds": stage.seconds, **stage.work}
    facts = {name: getattr(stage, name) for name in ("why", "key", "finished", "settings")}
    return {**found, **{name: fact for name, fact in facts.items() if fact}}


def _finite(value: Any) -> Any:
    """The value with every non-finite number replaced by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
