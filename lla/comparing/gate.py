"""Did the checkpoint get worse? Three answers: no, yes, or it cannot be said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lla.comparing.changes import Change, Comparison
from lla.numbers import confidence, metric

__all__ = ["Gate", "gate"]

_VIOLATED = "violated"


@dataclass(frozen=True, slots=True)
class Gate:
    """The answer, and the reasons in words.

    Attributes:
        status: "passed", "failed" or "inconclusive".
        reasons: One sentence for each metric or verdict that decided it.
    """

    status: Literal["passed", "failed", "inconclusive"]
    reasons: tuple[str, ...]


def gate(comparisons: Sequence[Comparison]) -> Gate:
    """Judge comparisons by the metrics whose increase is for the worse, and by verdicts.

    It fails where such a metric is larger beyond its uncertainty, or a verdict has become
    ``violated``. It is inconclusive where such a metric is not comparable, is in the reference
    alone, or has not converged; and where there is none to judge by. A failure comes first.
    """
    failures: list[str] = []
    doubts: list[str] = []
    for comparison in comparisons:
        name = comparison.other.path or comparison.other.checkpoint.path or "the report"
        watched = [change for change in comparison.changes if change.worse]
        for change in watched:
            reason = f"{name}: {change.path} {_told(change)}"
            if change.outcome == "larger" and change.holds:
                failures.append(reason)
            elif _doubtful(change):
                doubts.append(reason)
        failures += [
            f"{name}: {words.id} is violated, and was {words.reference.replace('_', ' ')}"
            for words in comparison.verdicts
            if words.other == _VIOLATED and words.reference not in ("", _VIOLATED)
        ]
        if not any(change.difference.exists for change in watched):
            doubts.append(f"{name}: no metric to judge by is in both reports and comparable")
    if failures:
        return Gate("failed", tuple(failures))
    return Gate("inconclusive", tuple(doubts)) if doubts else Gate("passed", ())


def _doubtful(change: Change) -> bool:
    if change.outcome == "missing":
        return change.reference.exists
    if change.outcome == "not_shown" and not change.difference.converged:
        return True  # too wide to tell
    return not change.holds


def _told(change: Change) -> str:
    if change.outcome in ("not_comparable", "missing"):
        return f"is {change.outcome.replace('_', ' ')} ({change.why})"
    level = confidence(change.difference)
    words = {"larger": "is larger", "smaller": "is smaller"}.get(
        change.outcome, "is not shown to differ"
    )
    return f"{words}: by {metric(change.difference)} ({level})"
