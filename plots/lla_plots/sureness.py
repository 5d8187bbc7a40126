"""How sure are we? Over all numbers of a report."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lla.estimate import Estimate, Label
from lla.numbers import confidence, interval, metric, number
from lla.report import Report
from lla_plots.parts import Cell, Section, Table
from lla_plots.phrases import counted, listed, percent, told, width

__all__ = ["section", "stated"]

_MEANINGS = {
    "exact": "exact: computed over all the analysed data, with no error but rounding",
    "certified": "certified: the value lies in the interval for certain, not only probably",
    "probable": (
        "a percentage: estimated from random draws; over many repetitions, so many of the "
        "intervals hold the true value"
    ),
    "estimated": "estimated: the interval tells the error's size, without a stated probability",
    "loose": "not converged: the work ended before the interval was as narrow as asked",
}


def stated(value: Estimate | Label) -> str:
    """A metric for a sentence."""
    return told(value) if isinstance(value, Estimate) else metric(value)


def section(report: Report) -> Section:
    """The section on certainty."""
    found = {p: m for p, m in report.metrics.items() if isinstance(m, Estimate) and m.exists}
    loose = {path: value for path, value in found.items() if not value.converged}
    done = len(found) - len(loose)
    answer = _headlines(report) or f"{number(done)} of {counted(len(found), 'number')} converged"
    kinds: dict[str, int] = {}
    for value in found.values():
        kinds[_kind(value)] = kinds.get(_kind(value), 0) + 1
    parts = [f"{count} {_named(kind, report)}" for kind, count in kinds.items()]
    lead = f"Of {counted(len(found), 'number')}, {listed(parts)}; {number(done)} have converged."
    if not found:
        answer, lead = "no numbers", "There are no numbers to be sure of."
    notes = []
    if loose:
        kinds["loose"] = len(loose)
        widths = [f"{path} ({_percent(value)})" for path, value in loose.items()]
        notes.append(
            f"Not converged, so read with care: {listed(widths)}. What to do is said below."
        )
    return Section(
        "confidence",
        "How sure are we?",
        answer,
        " ".join(part for part in (lead, _of_sample(report)) if part),
        20,
        notes=tuple(notes),
        tables=(_widest(found), _meanings(kinds)),
    )


def _headlines(report: Report) -> str:
    """How sure the metrics are that tell checkpoints apart, those that are exact left out."""
    metrics, parts = report.metrics, []
    for analysis, _ in report.analyses():
        for name, title in analysis.headline:
            value = metrics.get(f"{analysis.group}/{name}")
            if isinstance(value, Estimate) and value.exists and width(value) > 0:
                mark = "" if value.converged else " (not converged)"
                parts.append(f"{title} {_percent(value)}{mark}")
    return listed(parts)


def _kind(value: Estimate) -> str:
    if math.isnan(value.confidence):
        return "estimated"
    if value.confidence < 1:
        return "probable"
    return "exact" if value.low == value.high else "certified"


def _named(kind: str, report: Report) -> str:
    level = report.provenance.get("settings", {}).get("confidence")
    if kind == "probable":
        return (
            f"hold with {100 * level:.4g} % confidence"
            if level
            else "hold with a stated confidence"
        )
    return {
        "exact": "are exact",
        "certified": "lie in a certified interval",
        "estimated": "have an estimated error",
    }[kind]


def _of_sample(report: Report) -> str:
    """Whether the data analysed is all there is."""
    data = report.provenance.get("data", {})
    used, available = data.get("samples"), data.get("available")
    if not isinstance(used, int) or not isinstance(available, int):
        return ""
    if used >= available:
        return f"All {counted(used, 'sample')} of the split were analysed: no error from a subset."
    return (
        f"They are of {number(used)} of {counted(available, 'sample')}: the intervals speak of "
        "those; the sampling error, where known, of all of them."
    )


def _widest(found: Mapping[str, Estimate]) -> Table:
    """Every number that is not exact, the least sure first."""
    order = sorted(found, key=lambda path: (found[path].converged, -width(found[path])))
    kept = {path: found[path] for path in order if width(found[path]) > 0}
    sampled = any(value.sampling_stderr for value in kept.values())
    rows = tuple(
        (
            Cell("", "named", code=path),
            Cell(interval(value), "number"),
            Cell(_percent(value), "number"),
            Cell(confidence(value), "" if value.converged else "warn"),
            *([_error(value.sampling_stderr)] if sampled else []),
            Cell(value.method, "about"),
        )
        for path, value in kept.items()
    )
    extra = ("sampling error",) if sampled else ()
    head = ("number", "value", "give or take", "how sure", *extra, "how obtained")
    return Table(head, rows, "Every number that is not exact, the least sure first")


def _percent(value: Estimate) -> str:
    half = width(value)
    return f"± {percent(half)}" if math.isfinite(half) else "open"


def _error(stderr: float | None) -> Cell:
    return Cell("" if stderr is None else f"± {number(stderr, 2)}", "number")


def _meanings(kinds: Mapping[str, int]) -> Table:
    rows = tuple(
        (Cell(name), Cell(meaning, "about"))
        for name, meaning in (_MEANINGS[kind].split(": ", 1) for kind in _MEANINGS if kind in kinds)
    )
    return Table(("word", "what it means"), rows, "What the words mean")
