"""GitHub-flavoured Markdown, for a pull request or a step's summary."""

from __future__ import annotations

from collections.abc import Iterator

from lla.audit.findings import Audit, Audited, Finding, Outcome, Trouble, counted
from lla.comparing.markdown import code, escaped, table

__all__ = ["render"]

_HEADLINES = {
    0: "The audit passes.",
    1: "A gate failed.",
    3: "Nothing was evaluated.",
    4: "It cannot be said whether the audit passes.",
}
_ERROR = "Something could not be audited."


def render(audit: Audit) -> str:
    """A headline, a table for each checkpoint, and notes."""
    head = f"**{_HEADLINES.get(audit.exit_code, _ERROR)}** {counted(audit.findings)}"
    parts = [head, *("\n".join(_section(one)) for one in audit.audited)]
    if audit.notes:
        parts.append("\n".join(f"- {escaped(note)}" for note in audit.notes))
    return "\n\n".join(parts) + "\n"


def _section(one: Audited) -> Iterator[str]:
    further = f", {one.further} further runs" if one.further else ""
    yield f"{code(one.name)}: {counted(one.findings)}{further}"
    yield ""
    if one.error is not None:
        yield f"- **error**: {escaped(one.error.reason)} ({escaped(one.error.remedy)})"
        return
    yield from table(("gate", "verdict", "asks for", "found"), map(_row, one.findings))


def _row(finding: Finding) -> tuple[str, ...]:
    word = finding.outcome.words
    if finding.trouble in (Trouble.FAILURE, Trouble.DOUBT):
        word = f"**{word}**"
    elif finding.trouble is Trouble.WARNING and finding.outcome is not Outcome.PASS:
        word = f"{word} (warning)"
    why = f" ({finding.gate.why})" if finding.gate.why else ""
    return code(finding.gate.id), word, finding.gate.asks + why, finding.message
