"""Hold a report against gates: the confidence bound against the limit, three answers.

A value passes where its whole interval lies within the limits, fails where the whole interval lies
beyond one, and is inconclusive where a limit lies inside. An interval that covers the value with
probability c and errs as often on each side then lets a gate pass or fail wrongly with probability
(1 − c)/2 at most. Where an audit runs an analysis again because a gate was inconclusive, it looks
more than once: the k further runs are judged at confidence 1 − (1 − c)/k, so that a wrong answer,
from whichever look it comes, has probability (1 − c)/2 + k·(1 − c)/(2k) = 1 − c at most.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from lla.audit.findings import Finding, Outcome
from lla.audit.metrics import analysis_of
from lla.audit.policy import Gate, Kind, Policy, Waiver
from lla.comparing import Circumstances, Comparison, compare, difference
from lla.errors import ConfigurationError, nearest
from lla.estimate import Estimate, Label, Verdict
from lla.numbers import confidence as level
from lla.numbers import interval, metric, number
from lla.report import Report

__all__ = ["Evidence", "judge", "required_confidence"]

_MOST = 1e6
_ROOM = 0.7  # of the way to the limit, for an interval that is to stay clear of it


@dataclass(frozen=True)
class Evidence:
    """What gates of one checkpoint are judged by.

    Attributes:
        name: Of the checkpoint or report, as it was named.
        report: What was measured.
        baseline: What to compare with.
        no_baseline: Why there is none.
        excused: Whether the lack of a baseline is no doubt, because one is being made.
        further: How many further runs there were.
        stage: For messages: whether a checkpoint is at hand, so that an analysis can be run again.
    """

    name: str
    report: Report
    baseline: Report | None = None
    no_baseline: str = "no baseline is given: --baseline REPORT"
    excused: bool = False
    further: int = 0
    runnable: bool = False
    _compared: dict[tuple[str, ...], Comparison] = field(default_factory=dict, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """What globs match: the name given, the report's file and the checkpoint's."""
        return (self.name, self.report.path, self.report.checkpoint.path)

    def comparison(self, across: tuple[str, ...]) -> Comparison:
        """With the baseline; made once."""
        if across not in self._compared:
            assert self.baseline is not None
            self._compared[across] = compare(self.baseline, self.report, across)
        return self._compared[across]


def required_confidence(gate: Gate, policy: Policy, further: int) -> float:
    """What an interval has to hold at: more in further runs, so that all looks together hold."""
    runs = policy.defaults.further_runs
    return 1 - (1 - gate.confidence) / runs if further and runs else gate.confidence


def judge(policy: Policy, evidence: Evidence, today: date) -> tuple[Finding, ...]:
    """Hold a report against the gates of a policy.

    Args:
        policy: The policy.
        evidence: What was measured.
        today: The day in UTC, for waivers.

    Raises:
        ConfigurationError: A gate names a verdict that the report lacks beside others.
    """
    findings = []
    for gate in policy.gates_for(evidence.names):
        needed = required_confidence(gate, policy, evidence.further)
        found = _JUDGES[gate.kind](gate, evidence, needed)
        found = replace(found, confidence=needed)
        findings.append(_waived(found, policy.waivers, evidence.names, today))
    return tuple(findings)


def _waived(
    found: Finding, waivers: Sequence[Waiver], names: Collection[str], today: date
) -> Finding:
    if found.outcome in (Outcome.PASS, Outcome.NOT_EVALUATED):
        return found
    held = [waiver for waiver in waivers if waiver.covers(found.gate.id, names)]
    for waiver in held:
        if today <= waiver.expires:
            why = f"{found.message}; waived until {waiver.expires}: {waiver.reason}"
            return replace(
                found, outcome=Outcome.WAIVED, was=found.outcome, waiver=waiver, message=why
            )
    for waiver in held:
        why = f"{found.message}; the waiver expired on {waiver.expires}: {waiver.reason}"
        return replace(found, waiver=waiver, message=why)
    return found


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
        bounds = _with_sampling(value, needed)
        if not bounds.exists:
            return Finding(gate, Outcome.INCONCLUSIVE, f"{gate.metric}: {bounds.why}", value)
    told = f"{gate.metric} = {_told(bounds, gate)}"
    doubt = _doubt(bounds, needed, evidence)
    if doubt:
        return Finding(gate, Outcome.INCONCLUSIVE, f"{told}: {doubt}", bounds, loose=True,
                       narrower=_MOST)
    outcome = _held(bounds, *gate.limits)
    return _found(gate, outcome, told, bounds, gate.limits)


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
            parts.append(Finding(gate, Outcome.INCONCLUSIVE, f"{gate.metric}: {found.why}", **values))
            continue
        ends = (-math.inf, limit) if "increase" in key else (-limit, math.inf)
        told = f"{gate.metric} changed by {_told_change(found, gate, relative=relative)}"
        doubt = _doubt(found, needed, evidence)
        if doubt:
            # What the baseline lacks, no further run of this checkpoint can mend.
            mend = change.reference.converged or change.reference.confidence < 1
            parts.append(Finding(gate, Outcome.INCONCLUSIVE, f"{told}: {doubt}", found,
                                 loose=mend, narrower=_MOST, **values))
            continue
        part = _found(gate, _held(found, *ends), told, found, ends, relative=relative)
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
        return Finding(gate, Outcome.INCONCLUSIVE, told, stated=verdict, loose=True, narrower=_MOST)
    words, doubt = _possible(verdict, evidence, needed)
    if doubt:
        return Finding(gate, Outcome.INCONCLUSIVE, f"{told}: {doubt}", stated=verdict, loose=True,
                       narrower=_MOST)
    accepted = words & set(gate.accept)
    if words == accepted:
        return Finding(gate, Outcome.PASS, told, stated=verdict)
    if not accepted:
        return Finding(gate, Outcome.FAIL, told, stated=verdict)
    open_ = " or ".join(sorted(word.replace("_", " ") for word in words))
    return Finding(gate, Outcome.INCONCLUSIVE, f"{told}; its interval leaves open {open_}",
                   stated=verdict, loose=True, narrower=_MOST)


_JUDGES = {
    Kind.MAX: _of_value,
    Kind.MIN: _of_value,
    Kind.BETWEEN: _of_value,
    Kind.BASELINE: _of_change,
    Kind.VERDICT: _of_verdict,
}


def _possible(verdict: Verdict, evidence: Evidence, needed: float) -> tuple[set[str], str]:
    """The words that the largest stable rate's interval leaves open; or why that is not known."""
    from lla.analyses.stability.conditions import within

    metrics = evidence.report.metrics
    limit = metrics.get(f"{verdict.id.replace('.', '/', 1)}_max_lr")
    rate = metrics.get("stability/lr")
    settings = evidence.report.provenance.get("configuration", {}).get("stability", {})
    edge = settings.get("edge")
    if isinstance(limit, Estimate) and isinstance(rate, Estimate) and rate.exists and edge:
        if limit.exists:
            return set(within(limit, rate.value, edge)), _doubt(limit, needed, evidence)
    held = evidence.report.provenance.get("settings", {}).get("confidence", 0.95)
    words = {str(verdict.verdict)}
    return words, _short(held, needed, evidence) if held < needed - 1e-12 else ""


def _with_sampling(value: Estimate, needed: float) -> Estimate:
    """The estimate with the error from having analysed a sample in its interval."""
    nothing = Estimate.exact(0.0, method="")
    given = Circumstances(shared=False, sampled=True, level=needed)
    return replace(difference(nothing, value, given), units=value.units)


def _doubt(value: Estimate, needed: float, evidence: Evidence) -> str:
    """Why an interval cannot be relied on at a confidence; "" where it can."""
    if math.isnan(value.confidence):
        return "its interval has no stated confidence"
    if not value.converged and value.confidence >= 1:
        more = "" if evidence.runnable else ": analyse it with more steps"
        return f"it has not converged{more}"
    if value.confidence < needed - 1e-12:
        return _short(value.confidence, needed, evidence)
    return ""


def _short(held: float, needed: float, evidence: Evidence) -> str:
    told = f"its interval holds at {_percent(held)}, and {_percent(needed)} is asked for"
    if evidence.runnable:
        return told
    enough = 1 - (1 - needed) * min(1.0, (1 - needed) / (1 - held))
    return f"{told}: analyse it with --confidence {math.ceil(enough * 1e4) / 1e4:g}"


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def _held(value: Estimate, least: float, most: float) -> Outcome:
    if value.low > most or value.high < least:
        return Outcome.FAIL
    inside = value.low >= least and value.high <= most
    return Outcome.PASS if inside else Outcome.INCONCLUSIVE


def _found(
    gate: Gate,
    outcome: Outcome,
    told: str,
    value: Estimate,
    ends: tuple[float, float],
    *,
    relative: bool = False,
) -> Finding:
    """What an interval says of limits, in words."""
    least, most = ends
    if outcome is Outcome.FAIL:
        above = value.low > most
        limit, word = (most, "above") if above else (least, "below")
    else:
        # The limit that is nearest, or lies inside.
        gaps = {most: most - value.high, least: value.low - least}
        limit = min(gaps, key=lambda end: gaps[end])
        word = "at most" if limit == most else "at least"
        if outcome is Outcome.INCONCLUSIVE:
            word = "its interval holds the limit"
    size = f"{number(100 * limit)} %" if relative else number(limit)
    half = max(value.high - value.value, value.value - value.low)
    gap = _ROOM * abs(value.value - limit)
    return Finding(
        gate,
        outcome,
        f"{told}, {word} {size}",
        value,
        loose=outcome is Outcome.INCONCLUSIVE,
        narrower=min(_MOST, half / gap) if gap else _MOST,
    )


def _told(value: Estimate, gate: Gate) -> str:
    sampled = ", with the error of the sample" if gate.include_sampling else ""
    return f"{metric(value)} ({level(value)}{sampled})"


def _told_change(value: Estimate, gate: Gate, *, relative: bool) -> str:
    if not relative:
        return _told(value, gate)
    share = replace(value, value=100 * value.value, low=100 * value.low, high=100 * value.high)
    return f"{interval(share)} % ({level(value)})"


def _absent(gate: Gate, why: str) -> Finding:
    return Finding(gate, Outcome.NOT_EVALUATED, f"{gate.subject}: {why}")


def _why_absent(gate: Gate, evidence: Evidence) -> str:
    """Why a report lacks a metric or a verdict."""
    analysis, report = analysis_of(gate), evidence.report
    stage = report.stages.get(analysis.name)
    if stage is not None and stage.status != "done":
        return f"{analysis.name} is {stage.status.replace('_', ' ')}: {stage.why}"
    if isinstance(report.metrics.get(gate.metric), Label):
        return "it is in words"
    if analysis.name not in report.results:
        name = report.checkpoint.path or "MODEL"
        return f"{evidence.name} has no {analysis.name}: make it: lla {analysis.name} {name}"
    return f"{evidence.name} does not have it"
