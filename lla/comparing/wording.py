"""Comparisons in words and short texts, the same in the terminal and in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from lla.comparing.changes import NO_CONFIDENCE, Change, Comparison
from lla.estimate import Estimate
from lla.numbers import confidence, spread
from lla.report import Report

__all__ = [
    "OUTCOMES",
    "SAMPLES_ALONE",
    "change_text",
    "counted",
    "draws",
    "group_of",
    "lacking",
    "level",
    "name_of",
    "names_of",
    "notes",
    "outcome_text",
    "percent",
]

_DIGITS = 4
_MOST = 10.0
_LISTED = 4

SAMPLES_ALONE = "for the analysed samples: how much it varies with the samples is not known"

OUTCOMES = {
    "larger": "larger",
    "smaller": "smaller",
    "not_shown": "no difference shown",
    "equal": "equal",
    "not_comparable": "not comparable",
    "missing": "missing",
}


def name_of(report: Report) -> str:
    """A report's name for people: its file's, or its checkpoint's."""
    if report.path == "-":
        return "standard input"
    path = report.path or report.checkpoint.path
    return path.rpartition("/")[2] or "live module"


def names_of(reports: Sequence[Report]) -> list[str]:
    """Names that tell reports apart: with their folders where files of one name are compared."""
    names = [name_of(report) for report in reports]
    if len(set(names)) == len(names):
        return names
    longer = [report.path or report.checkpoint.path or name_of(report) for report in reports]
    if len(set(longer)) == len(longer):
        return longer
    return [f"{name} ({index})" for index, name in enumerate(longer)]


def counted(changes: Iterable[Change]) -> str:
    """How metrics came out: ``3 larger, 2 smaller, 6 no difference shown``."""
    outcomes: Counter[str] = Counter(change.outcome for change in changes if not change.absent)
    found = [f"{outcomes[key]} {text}" for key, text in OUTCOMES.items() if outcomes[key]]
    return ", ".join(found) or "nothing to compare"


def percent(relative: Estimate, *, ends: bool = True) -> str:
    """A relative change: ``+53.7 ± 0.2 %``; "" where there is none."""
    if not relative.exists:
        return ""
    text = spread(
        Estimate(100 * relative.value, 100 * relative.low, 100 * relative.high),
        digits=_DIGITS,
        ends=ends,
    )
    return f"{_signed(text, relative.value)} %"


def change_text(change: Change, *, ends: bool = True) -> str:
    """The relative change; where that says little, the difference; "" where there is none.

    It says little where the reference is zero within its interval, and beyond tenfold.

    Args:
        change: What to show.
        ends: Whether an interval that lies mostly on one side keeps its ends.
    """
    found, relative = change.difference, change.relative
    if not found.exists or change.outcome == "equal":
        return ""
    if relative.exists and max(abs(relative.low), abs(relative.high)) < _MOST:
        return percent(relative, ends=ends)
    return _signed(spread(found, digits=_DIGITS, ends=ends), found.value)


def _signed(text: str, value: float) -> str:
    rounded = text.partition(" ")[0].strip("0.,")
    return f"+{text}" if value > 0 and rounded else text


def level(change: Change) -> str:
    """How sure the difference is: ``95 %``, ``certified``; "" where there is none."""
    return "" if change.outcome == "equal" else confidence(change.difference)


def outcome_text(change: Change) -> str:
    """The outcome in words, marked where it speaks of the analysed samples alone."""
    mark = "*" if change.sampling == "unknown" and change.outcome != "equal" else ""
    return f"{OUTCOMES[change.outcome]}{mark}"


def notes(comparison: Comparison) -> Iterator[str]:
    """What a reader has to know of a comparison, a sentence each."""
    if comparison.same_checkpoint:
        drawn = [
            one.path
            for one in comparison.shown
            if one.differs and one.difference.confidence < 1 and not comparison.crossed
        ]
        chance = f", so chance alone moved {', '.join(drawn)}" if drawn else ""
        yield f"both reports are of the same weights{chance}"
    for fact in comparison.crossed:
        yield f"compared across {fact}"
    for fact in comparison.obstacles:
        paths = [change.path for change in comparison.changes if fact in change.obstacles]
        number = len(paths)
        listed = ", ".join(paths) if number <= _LISTED else f"{number} metrics"
        yield f"{fact}: not comparable: {listed}; to compare nevertheless: --across {fact.name}"
    unsure = [one.path for one in comparison.shown if one.why == NO_CONFIDENCE]
    if unsure:
        yield f"{', '.join(unsure)}: not comparable: {NO_CONFIDENCE}"
    if any("*" in outcome_text(change) for change in comparison.changes):
        yield f"* {SAMPLES_ALONE}"


def lacking(changes: Iterable[Change]) -> dict[str, str]:
    """Groups of metrics that one report lacks as a whole, as ``stability/``, and why."""
    reasons: dict[str, set[str]] = {}
    for change in changes:
        if not change.absent:
            why = change.why if change.outcome == "missing" else ""
            reasons.setdefault(group_of(change), set()).add(why)
    return {group: why for group, said in reasons.items() if len(said) == 1 for why in said if why}


def group_of(change: Change) -> str:
    """The group that a metric is in: ``hessian/`` of ``hessian/trace``."""
    group, sign, _ = change.path.partition("/")
    return group + sign


def draws(comparison: Comparison) -> str:
    """How the half-widths of estimates were joined, in words."""
    if comparison.shared_draws:
        return "same seed, so errors may be correlated: half-widths of estimates are added"
    return "different seeds, so errors are independent: half-widths are added in quadrature"
