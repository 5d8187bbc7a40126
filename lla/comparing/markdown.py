"""A comparison for a pull request: the outcome in a line, a table, everything else folded away."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lla.comparing.changes import Change, Comparison, Words
from lla.comparing.gate import Gate
from lla.comparing.wording import (
    change_text,
    counted,
    draws,
    group_of,
    lacking,
    level,
    names_of,
    notes,
    outcome_text,
)
from lla.numbers import outcome, spread

__all__ = ["code", "escaped", "markdown", "table"]

_WIDTH = 120
_GATE = {
    "passed": "Not worse than the reference.",
    "failed": "Worse than the reference.",
    "inconclusive": "It cannot be said whether it is worse than the reference.",
}
_HEAD = ("metric", "reference", "this", "change", "confidence", "")


def markdown(comparisons: Sequence[Comparison], judged: Gate | None = None) -> str:
    """GitHub-flavoured Markdown of comparisons with one reference.

    Rows of tables are at most 120 columns wide where names are not longer than the program's own.

    Args:
        comparisons: Each with the same reference.
        judged: The gate's answer, for the first line.
    """
    names = names_of([comparisons[0].reference, *(one.other for one in comparisons)])
    parts = [
        "\n".join(_section(comparison, names[0], name))
        for comparison, name in zip(comparisons, names[1:], strict=True)
    ]
    if judged is not None:
        reasons = "".join(f"\n- {escaped(reason)}" for reason in judged.reasons)
        parts.insert(0, f"**{_GATE[judged.status]}**{chr(10) if reasons else ''}{reasons}")
    return "\n\n".join(parts) + "\n"


def _section(comparison: Comparison, reference: str, name: str) -> Iterator[str]:
    yield f"**{code(name)} against {code(reference)}: {counted(comparison.shown)}**"
    yield ""
    gone = lacking(comparison.changes)
    told = [escaped(note) for note in notes(comparison)]
    told += [f"{code(group)}: {escaped(why)}" for group, why in gone.items()]
    yield from (f"- {note}" for note in told)
    if told:
        yield ""
    yield from table(_HEAD, (_row(one) for one in comparison.shown if group_of(one) not in gone))
    said = (*comparison.verdicts, *comparison.labels)
    changed = [one for one in said if one.outcome == "changed"]
    if changed:
        yield ""
        yield from table(("verdict", "reference", "this", "why"), map(_said, changed))
    yield ""
    yield "<details><summary>Everything compared, and how</summary>"
    yield ""
    yield from _details(comparison)
    yield ""
    yield "</details>"


def _details(comparison: Comparison) -> Iterator[str]:
    yield f"- reference: {escaped(comparison.reference.caption)}"
    yield f"- this: {escaped(comparison.other.caption)}"
    yield f"- {draws(comparison)}"
    gone = lacking(comparison.changes)
    known = [one for one in comparison.changes if not one.absent and group_of(one) not in gone]
    rest = [one for one in known if not one.summary]
    for title, changes in (("Further metrics", rest), ("Traces of layers", comparison.layers)):
        if changes:
            yield ""
            yield f"{title}:"
            yield ""
            yield from table(_HEAD, map(_row, changes))
    missing = [one for one in known if one.outcome == "missing"]
    if missing:
        yield ""
        yield from (f"- {code(one.path)}: {escaped(one.why)}" for one in missing)


def _row(change: Change) -> tuple[str, ...]:
    word = outcome_text(change)
    if change.differs:
        word = f"**{word}**"
    path = change.path.removeprefix("hessian/layers/").removesuffix("/trace")
    return (
        code(path if change.path.startswith("hessian/layers/") else change.path),
        spread(change.reference),
        spread(change.other),
        change_text(change),
        level(change),
        word,
    )


def _said(words: Words) -> tuple[str, ...]:
    said = [outcome(text) if text else "—" for text in (words.reference, words.other)]
    used = sum(map(len, (words.id, *said))) + 20
    return code(words.id), *said, _cut(words.why, max(20, _WIDTH - used))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table, line by line, with its cells escaped."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(escaped(cell) for cell in row)} |"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def code(text: str) -> str:
    """A name as code; a backtick in it, which would end that, becomes an apostrophe."""
    return f"`{text.replace('`', chr(39))}`"


def escaped(text: str) -> str:
    """Text in one line that neither ends a table's cell nor starts HTML."""
    plain = " ".join(text.split())
    return plain.replace("|", "\\|").replace("<", "&lt;")
