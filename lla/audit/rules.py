"""How each kind of gate is held against what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lla.audit.bounds import (
    doubt_of,
    doubted,
    finding_of,
    held,
    short_of,
    told_change,
    told_of,
    with_sampling,
)
from lla.audit.evidence import Evidence
from lla.audit.findings import Finding, Outcome
from lla.audit.metrics import analysis_of
from lla.audit.policy import Gate, Kind
from lla.comparing import Change
from lla.errors import ConfigurationError, nearest
from lla.estimate import Estimate, Verdict

__all__ = ["RULES"]

_UNCONVERGED = "one of the two values has not converged"


def _of_value(gate: Gate, evidence: Evidence, needed: float) -> Finding:
    """A gate on a metric's value."""
    value = evidence.report.metrics.get(gate.metric)
    if not isinstance(value, Estimate):
        return _absent(gate, _why_absent(gate, evidence))
    if not value.exists:
        return Finding(gate, Outcome.NOT_EVALUATED, f"{gate.metric}: {value.why}", value)
    bounds = value
    if gate.include_sampling:
        if value.sampling_stderr is None:
            why = f"how much {gate.metric} varies with the samples is not known"
            return Finding(gate, Outcome.INCONCLUSIVE, why, value)
        bounds = with_sampling(value, needed)
        if not bounds.exists:
            return Finding(gate, Outcome.INCONCLUSIVE, f"{gate.metric}: {bounds.why}", value)
    told = f"{gate.metric} = {told_of(bounds, gate)}"
    doubt = doubt_of(bounds, needed, evidence)
    if doubt:
        return doubted(gate, f"{told}: {doubt}", bounds, loose=not math.isnan(bounds.confidence))
    outcome = held(bounds, *gate.limits)
    return finding_of(gate, outcome, told, bounds, gate.limits)


def _of_change(gate: Gate, evidence: Evidence, needed: float) -> Finding:
    """A gate on how much a metric changed against the baseline."""
    assert gate.baseline is not None
    if evidence.baseline is None:
        return replace(_absent(gate, evidence.no_baseline), excused=evidence.excused)
    try:
        change = evidence.comparison(gate.baseline.across)[gate.metric]
    except KeyError:
        return _absent(gate, _why_absent(gate, evidence))
    values: dict[str, Any] = {"reference": change.reference, "current": change.other}
    if change.outcome == "missing":
        return Finding(gate, Outcome.NOT_EVALUATED, f"{gate.metric}: {change.why}", **values)
    if change.outcome == "not_comparable":
        why = f"the baseline is not comparable: {change.why}"
        return Finding(gate, Outcome.INCONCLUSIVE, why, **values)
    if change.sampling == "unknown":
        why = f"how much {gate.metric} varies with the samples is not known"
        return Finding(gate, Outcome.INCONCLUSIVE, why, **values)
    parts = []
    for key, limit in gate.baseline.limits.items():
        relative = key.endswith("_rel")
        found = change.relative if relative else change.difference
        if not found.exists:
            parts.append(
                Finding(gate, Outcome.INCONCLUSIVE, f"{gate.metric}: {found.why}", **values)
            )
            continue
        ends = (-math.inf, limit) if "increase" in key else (-limit, math.inf)
        told = f"{gate.metric} changed by {told_change(found, gate, relative=relative)}"
        doubt = doubt_of(found, needed, evidence) if change.converged else _UNCONVERGED
        if doubt:
            loose = _mended_here(change, needed)
            parts.append(doubted(gate, f"{told}: {doubt}", found, loose=loose, **values))
            continue
        part = finding_of(gate, held(found, *ends), told, found, ends, relative=relative)
        parts.append(replace(part, **values))
    order = (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS)
    return min(parts, key=lambda part: order.index(part.outcome))


def _of_verdict(gate: Gate, evidence: Evidence, needed: float) -> Finding:
    """A gate on a verdict: every word that the interval leaves open has to be accepted."""
    verdicts = {one.id: one for one in evidence.report.verdicts}
    analysis = analysis_of(gate)
    if gate.verdict not in verdicts:
        ours = [id for id in verdicts if id.startswith(f"{analysis.name}.")]
        if ours:
            raise ConfigurationError(
                f"gate '{gate.id}': {evidence.name} has no verdict "
                f"'{gate.verdict}'{nearest(gate.verdict, ours)}",
                f"choose among: {', '.join(ours)}",
            )
        return _absent(gate, _why_absent(gate, evidence))
    verdict = verdicts[gate.verdict]
    told = f"{gate.verdict} is {verdict.verdict.replace('_', ' ')}: {verdict.why}"
    if verdict.verdict == "not_applicable":
        return Finding(gate, Outcome.NOT_EVALUATED, told, stated=verdict)
    if verdict.verdict == "inconclusive":
        return doubted(gate, told, stated=verdict)
    words, doubt = _possible(verdict, evidence, needed)
    if doubt:
        return doubted(gate, f"{told}: {doubt}", stated=verdict)
    accepted = words & set(gate.accept)
    if words == accepted:
        return Finding(gate, Outcome.PASS, told, stated=verdict)
    if not accepted:
        return Finding(gate, Outcome.FAIL, told, stated=verdict)
    open_ = " or ".join(sorted(word.replace("_", " ") for word in words))
    return doubted(gate, f"{told}; its interval leaves open {open_}", stated=verdict)


Rule = Callable[[Gate, Evidence, float], Finding]

RULES: dict[Kind, Rule] = {
    Kind.MAX: _of_value,
    Kind.MIN: _of_value,
    Kind.BETWEEN: _of_value,
    Kind.BASELINE: _of_change,
    Kind.VERDICT: _of_verdict,
}
"""By kind: from a gate, the evidence and the confidence that is needed, what it says."""


def _mended_here(change: Change, needed: float) -> bool:
    """Whether a further run may mend a change that cannot be relied on; the baseline stays."""
    reference = change.reference
    if not reference.converged and reference.confidence >= 1:
        return False
    # Where intervals hold together at less than each does, both need a higher confidence.
    joined = change.difference.confidence < min(reference.confidence, change.other.confidence)
    return reference.confidence > needed if joined else reference.confidence >= needed


def _possible(verdict: Verdict, evidence: Evidence, needed: float) -> tuple[set[str], str]:
    """The words that the largest stable rate's interval leaves open; or why that is not known."""
    from lla.analyses.stability.verdicts import left_open

    metrics = evidence.report.metrics
    limit = metrics.get(f"{verdict.id.replace('.', '/', 1)}_max_lr")
    rate = metrics.get("stability/lr")
    settings = evidence.report.provenance.get("configuration", {}).get("stability", {})
    edge = settings.get("edge")
    known = isinstance(limit, Estimate) and limit.exists
    if known and isinstance(rate, Estimate) and rate.exists and edge:
        assert isinstance(limit, Estimate)
        return set(left_open(limit, rate.value, edge)), doubt_of(limit, needed, evidence)
    held = evidence.report.provenance.get("settings", {}).get("confidence", 0.95)
    words = {str(verdict.verdict)}
    return words, short_of(held, needed, evidence) if held < needed - 1e-12 else ""


def _absent(gate: Gate, why: str) -> Finding:
    return Finding(gate, Outcome.NOT_EVALUATED, f"{gate.subject}: {why}")


def _why_absent(gate: Gate, evidence: Evidence) -> str:
    """Why a report lacks a metric or a verdict."""
    analysis, report = analysis_of(gate), evidence.report
    stage = report.stages.get(analysis.name)
    if stage is not None and stage.status != "done":
        return f"{analysis.name} is {stage.status.replace('_', ' ')}: {stage.why}"
    if analysis.name not in report.results:
        name = report.checkpoint.path or "MODEL"
        return f"{evidence.name} has no {analysis.name}: make it: lla {analysis.name} {name}"
    return f"{evidence.name} does not have it"
