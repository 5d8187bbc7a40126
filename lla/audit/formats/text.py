"""For a terminal: 80 columns, what needs attention first."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from lla.audit.findings import Audit, Audited, Finding, Trouble, counted

__all__ = ["render"]

_WIDTH = 80
_OUTCOME = 15
_MEANING = {
    0: "fine",
    1: "a gate failed",
    3: "nothing was evaluated",
    4: "inconclusive",
}
_ORDER = (Trouble.FAILURE, Trouble.DOUBT, Trouble.WARNING, Trouble.NONE)


def render(audit: Audit) -> str:
    """The audit as lines of text."""
    return "\n".join(_lines(audit)) + "\n"


def _lines(audit: Audit) -> Iterator[str]:
    for one in audit.audited:
        yield from _wrapped(one.name + _further(one), "", "  ")
        if one.error is not None:
            yield from _wrapped(f"{'error':{_OUTCOME}}{one.error.reason}", "  ", _deep())
            yield from _wrapped(one.error.remedy, _deep(), _deep())
        for finding in sorted(one.findings, key=lambda found: _ORDER.index(found.trouble)):
            yield from _finding(finding)
        yield ""
    for note in audit.notes:
        yield from _wrapped(note, "note: ", "      ")
    code = audit.exit_code
    errors = sum(one.error is not None for one in audit.audited)
    told = f", {errors} not judged" if errors else ""
    yield f"{counted(audit.findings)}{told}: {_MEANING.get(code, 'an error')} (exit code {code})"


def _further(one: Audited) -> str:
    if not one.further:
        return ""
    return f" ({one.further} further run{'s' if one.further > 1 else ''} with more work)"


def _finding(finding: Finding) -> Iterator[str]:
    mark = " (warning)" if finding.trouble is Trouble.WARNING else ""
    told = f"{finding.outcome.words:{_OUTCOME}}{finding.gate.id}{mark}"
    yield from _wrapped(told, "  ", _deep())
    yield from _wrapped(finding.message, _deep(), _deep())
    if finding.gate.why and finding.trouble is not Trouble.NONE:
        yield from _wrapped(f"({finding.gate.why})", _deep(), _deep())


def _deep() -> str:
    return " " * (_OUTCOME + 2)


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    # Names may be longer than a line: they are broken rather than cut.
    return textwrap.wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )
