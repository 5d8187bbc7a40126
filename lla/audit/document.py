"""The JSON document of an audit, ``lla-audit/1``."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.resources import files
from typing import Any

from lla.audit.findings import Audit, Audited, Finding, Outcome
from lla.audit.policy import Gate, Waiver
from lla.estimate import Estimate, finite_or_none

__all__ = ["SCHEMA", "document", "schema"]

SCHEMA = "lla-audit/1"


def schema() -> dict[str, Any]:
    """The JSON schema that every document meets."""
    text = files("lla.audit").joinpath("audit.schema.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def document(audit: Audit) -> dict[str, Any]:
    """An audit in plain values, non-finite numbers as None."""
    outcomes = [finding.outcome for finding in audit.findings]
    return {
        "schema": SCHEMA,
        "policy": audit.policy.path,
        "exit_code": audit.exit_code,
        "counts": {one.value: outcomes.count(one) for one in Outcome},
        "checkpoints": [_audited(one) for one in audit.audited],
        "notes": list(audit.notes),
    }


def _audited(one: Audited) -> dict[str, Any]:
    report, error = one.report, one.error
    return {
        "name": one.name,
        "report": (report.path or None) if report else None,
        "report_sha256": (report.sha256 or None) if report else None,
        "checkpoint": asdict(report.checkpoint) if report else None,
        "further_runs": one.further,
        "error": error
        and {"reason": error.reason, "remedy": error.remedy, "exit_code": error.exit_code},
        "gates": [_finding(finding) for finding in one.findings],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    stated = finding.stated
    return {
        **_gate(finding.gate),
        "verdict": finding.outcome.value,
        "without_waiver": finding.was.value if finding.was else None,
        "trouble": finding.trouble.value,
        "message": finding.message,
        "confidence": finding.confidence,
        "measured": _estimate(finding.measured),
        "reference": _estimate(finding.reference),
        "current": _estimate(finding.current),
        "stated": stated and asdict(stated),
        "waiver": _waiver(finding.waiver, holds=finding.outcome is Outcome.WAIVED),
    }


def _gate(gate: Gate) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    if gate.verdict:
        limits["accept"] = list(gate.accept)
    elif gate.baseline:
        limits.update(gate.baseline.limits)
    else:
        limits = {"min": finite_or_none(gate.limits[0]), "max": finite_or_none(gate.limits[1])}
    return {
        "id": gate.id,
        "line": gate.line,
        "kind": gate.kind.value,
        "subject": gate.subject,
        "severity": gate.severity,
        "limits": limits,
        "why": gate.why,
    }


def _waiver(waiver: Waiver | None, *, holds: bool) -> dict[str, Any] | None:
    if waiver is None:
        return None
    return {"reason": waiver.reason, "expires": waiver.expires.isoformat(), "holds": holds}


def _estimate(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else estimate.plain()
