"""For a terminal: 80 columns, what needs attention first."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby

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
        ordered = sorted(one.findings, key=lambda found: _ORDER.index(found.trouble))
        for _, alike in groupby(ordered, key=_said):
            yield from _told(list(alike))
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


def _said(finding: Finding) -> tuple[str, ...]:
    """What is said of a finding besides its gate and metric: what is said of many is said once."""
    message = finding.message.removeprefix(f"{finding.gate.metric}: ")
    named = "" if message != finding.message else finding.gate.id
    return finding.outcome.words, finding.trouble.name, message, finding.gate.why, named


def _told(alike: Sequence[Finding]) -> Iterator[str]:
    finding = alike[0]
    mark = " (warning)" if finding.trouble is Trouble.WARNING else ""
    ids = ", ".join(one.gate.id for one in alike)
    yield from _wrapped(f"{finding.outcome.words:{_OUTCOME}}{ids}{mark}", "  ", _deep())
    message = finding.message if len(alike) == 1 else _said(finding)[2]
    yield from _wrapped(message, _deep(), _deep())
    if finding.gate.why and finding.trouble is not Trouble.NONE:
        yield from _wrapped(f"({finding.gate.why})", _deep(), _deep())


def _deep() -> str:
    return " " * (_OUTCOME + 2)


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    # Names may be longer than a line: they are broken rather than cut.
    return textwrap.wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )
