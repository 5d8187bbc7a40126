"""SARIF 2.1.0 (OASIS): a rule for each gate, a result for each finding at the gate's line.

A gate that could not be decided is of kind ``open``, which the standard has for rules that lacked
the information to decide (section 3.27.9); levels are for kind ``fail`` alone (3.27.10). A waiver
is an external suppression with its justification.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lla import __version__
from lla.audit.findings import Audit, Audited, Finding, Outcome
from lla.audit.policy import Gate

__all__ = ["SCHEMA", "render"]

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_KINDS = {
    Outcome.PASS: "pass",
    Outcome.FAIL: "fail",
    Outcome.INCONCLUSIVE: "open",
    Outcome.NOT_EVALUATED: "notApplicable",
}


def render(audit: Audit) -> str:
    """The log file."""
    gates = {gate.id: gate for gate in audit.policy.gates}
    rules = list(gates)
    errors = [one for one in audit.audited if one.error is not None]
    run = {
        "tool": {
            "driver": {
                "name": "lla",
                "semanticVersion": __version__,
                "rules": [_rule(gate) for gate in gates.values()],
            }
        },
        "invocations": [
            {
                "executionSuccessful": not errors,
                "exitCode": audit.exit_code,
                "toolExecutionNotifications": [_notification(one) for one in errors],
            }
        ],
        "results": [
            _result(audit, one, finding, rules.index(finding.gate.id))
            for one in audit.audited
            for finding in one.findings
        ],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _rule(gate: Gate) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": gate.id,
        "shortDescription": {"text": gate.asks},
        "defaultConfiguration": {"level": gate.severity},
    }
    return {**found, "fullDescription": {"text": gate.why}} if gate.why else found


def _notification(one: Audited) -> dict[str, Any]:
    assert one.error is not None
    text = f"{one.name}: {one.error.reason} {one.error.remedy}".strip()
    return {"level": "error", "message": {"text": text}}


def _result(audit: Audit, one: Audited, finding: Finding, index: int) -> dict[str, Any]:
    gate = finding.gate
    outcome = finding.was or finding.outcome
    key = hashlib.sha256(f"{gate.id}\n{one.name}".encode(errors="replace")).hexdigest()
    found: dict[str, Any] = {
        "ruleId": gate.id,
        "ruleIndex": index,
        "kind": _KINDS[outcome],
        "level": gate.severity if outcome is Outcome.FAIL else "none",
        "message": {"text": f"{one.name}: {finding.message}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(audit.policy.place)},
                    "region": {"startLine": gate.line or 1},
                },
                "logicalLocations": [{"name": one.name, "kind": "checkpoint"}],
            }
        ],
        "partialFingerprints": {"gateAndCheckpoint/v1": key},
    }
    if finding.outcome is Outcome.WAIVED and finding.waiver is not None:
        found["suppressions"] = [
            {
                "kind": "external",
                "status": "accepted",
                "justification": f"{finding.waiver.reason} (until {finding.waiver.expires})",
            }
        ]
    return found


def _uri(place: str) -> str:
    path = Path(place)
    return path.as_uri() if path.is_absolute() else quote(os.fsencode(place))
