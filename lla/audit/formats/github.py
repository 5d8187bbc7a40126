"""GitHub Actions' annotations: ``::error file=…,line=…,title=…::message``, ten at most.

Properties and message are escaped as the runner's toolkit does: ``%``, carriage return and line
feed in both, ``:`` and ``,`` in properties besides.
"""

from __future__ import annotations

from collections.abc import Iterator

from lla.audit.findings import Audit, Finding, Trouble

__all__ = ["MOST", "render"]

MOST = 10
"""How many annotations of a step GitHub shows."""

_LEVELS = {Trouble.FAILURE: "error", Trouble.DOUBT: "error", Trouble.WARNING: "warning"}


def render(audit: Audit) -> str:
    """The annotations, errors first; the last one counts what did not fit."""
    found = sorted(_annotations(audit), key=lambda item: item[0] != "error")
    if len(found) > MOST:
        left = len(found) - (MOST - 1)
        more = f"{left} more gates or checkpoints need attention: see the log or the step's summary"
        worst = found[MOST - 1][0]
        found = [
            *found[: MOST - 1],
            (worst, _line(worst, audit.policy.place, 1, "lla audit", more)),
        ]
    return "".join(f"{line}\n" for _, line in found)


def _annotations(audit: Audit) -> Iterator[tuple[str, str]]:
    path = audit.policy.place
    for one in audit.audited:
        if one.error is not None:
            told = f"{one.name}: {one.error.reason}\n{one.error.remedy}".strip()
            yield "error", _line("error", path, 1, "not audited", told)
        for finding in one.findings:
            level = _LEVELS.get(finding.trouble)
            if level:
                message = f"{one.name}: {_message(finding)}"
                title = f"{finding.gate.id}: {finding.outcome.words}"
                yield level, _line(level, path, finding.gate.line or 1, title, message)


def _message(finding: Finding) -> str:
    why = f"\n{finding.gate.why}" if finding.gate.why else ""
    return f"{finding.message}{why}"


def _line(level: str, path: str, line: int, title: str, message: str) -> str:
    properties = f"file={_property(path)},line={line},title={_property(title)}"
    return f"::{level} {properties}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
