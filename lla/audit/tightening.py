"""Analyse a checkpoint for its gates, and again with more work where that may decide one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any, Protocol

from lla.analyses.analysis import Analysis
from lla.analyses.registry import available
from lla.audit.evidence import Evidence
from lla.audit.findings import Finding, Outcome
from lla.audit.judging import judge, required_confidence
from lla.audit.metrics import analyses_of, analysis_of
from lla.audit.policy import Gate, Policy
from lla.report import Report

__all__ = ["Analyse", "Sections", "first_sections", "settled", "tighter"]

Sections = Mapping[str, Mapping[str, Any]]

_LEAST, _MOST = 1.5, 4.0  # how many times tighter a further run's tolerance is


class Analyse(Protocol):
    """Analyse a checkpoint with some settings changed; what is done already is not done again."""

    def __call__(self, sections: Sections) -> Report:
        """The report, with these sections of settings over those that the checkpoint has."""
        ...


def first_sections(gates: Iterable[Gate]) -> dict[str, dict[str, Any]]:
    """What a first run is told: the analyses that gates need, and their highest confidence."""
    listed = list(gates)
    return {
        "run": {
            "only": analyses_of(listed),
            "skip": (),
            "confidence": max(gate.confidence for gate in listed),
        }
    }


def settled(
    policy: Policy,
    analyse: Analyse,
    gates: Iterable[Gate],
    evidence_of: Callable[[Report, int], Evidence],
    today: date,
    tell: Callable[[str], None] = lambda text: None,
) -> Evidence:
    """Analyse a checkpoint, tighten what leaves a gate open, and give what there is to judge by.

    Args:
        policy: Its ``further_runs`` is the budget.
        analyse: Runs the analyses.
        gates: The gates of this checkpoint.
        evidence_of: Makes evidence of a report and the number of further runs.
        today: The day in UTC, for waivers.
        tell: Told before each further run.
    """
    listed = tuple(gates)
    sections: dict[str, dict[str, Any]] = first_sections(listed)
    evidence = evidence_of(analyse(sections), 0)
    for index in range(1, policy.defaults.further_runs + 1):
        loose = [found for found in judge(policy, evidence, today) if _worth_it(found)]
        if not loose:
            break
        names = ", ".join(found.gate.id for found in loose)
        tell(f"inconclusive: {names}; run {index} of {policy.defaults.further_runs} with more work")
        sections = _over(sections, tighter(evidence.report, loose, policy))
        evidence = evidence_of(analyse(sections), index)
    return evidence


def _worth_it(found: Finding) -> bool:
    return found.outcome is Outcome.INCONCLUSIVE and found.loose and found.gate.severity == "error"


def _over(below: Sections, above: Sections) -> dict[str, dict[str, Any]]:
    return {name: {**below.get(name, {}), **above.get(name, {})} for name in {**below, **above}}


def tighter(report: Report, loose: Iterable[Finding], policy: Policy) -> dict[str, dict[str, Any]]:
    """Settings for a further run that may decide these findings.

    The tolerance falls by what is needed, at most to a quarter; caps on probes, batches and steps
    rise with it, as the analyses' remedies say; the confidence is that of a further look, and
    higher where an interval holds at less than its parts do.

    Args:
        report: The last run's.
        loose: What it left open for the width of its intervals.
        policy: The policy.
    """
    found = list(loose)
    known = report.provenance.get("configuration", {})
    factor = min(_MOST, max([_LEAST, *(one.narrower for one in found)]))
    run = known.get("run", {})
    sections: dict[str, dict[str, Any]] = {
        "run": {
            "tolerance": run.get("tolerance", 0.02) / factor,
            "confidence": max(_confidence(one, run, policy) for one in found),
        }
    }
    for one in found:
        for analysis, setting, times in _remedies(one.gate):
            value = known.get(analysis.name, {}).get(setting)
            if not value:
                continue
            # A cap costs nothing unless it is needed, and samples go with the square.
            capped = setting.startswith("max_")
            most = max(times, math.ceil(factor**2)) if capped else times
            sections.setdefault(analysis.name, {})[setting] = value * most
        for analysis in _behind(one.gate):
            for setting in analysis.config.model_fields:
                value = known.get(analysis.name, {}).get(setting)
                if setting.endswith("_tolerance") and value:
                    sections.setdefault(analysis.name, {})[setting] = value / factor
    return sections


def _confidence(found: Finding, run: Mapping[str, Any], policy: Policy) -> float:
    """What to run at so that the interval holds at what a further look needs."""
    made = float(run.get("confidence", 0.95))
    needed = required_confidence(found.gate, policy, 1)
    held = found.measured.confidence if found.measured else made
    if not held < 1 or held <= 0:
        return needed
    # Where several intervals joined, the interval lacks more than each of them.
    joined = max(1.0, (1 - held) / (1 - made))
    return 1 - (1 - needed) / joined * (0.999 if joined > 1 else 1.0)


def _behind(gate: Gate) -> tuple[Analysis, ...]:
    """The analysis that gives what a gate is about, and those whose settings it depends on."""
    own, entries = analysis_of(gate), available()
    names = {path.partition(".")[0] for path in own.depends or ()} & entries.keys() - {own.name}
    return (own, *(entries[name] for name in entries if name in names))


def _remedies(gate: Gate) -> list[tuple[Analysis, str, int]]:
    """What narrows a gate's interval: the metric's own remedies, or all behind it."""
    behind = _behind(gate)
    name = gate.metric.partition("/")[2]
    own = [remedy for remedy in behind[0].remedies if name and name in remedy.metrics]
    if own:
        return [(behind[0], remedy.setting, remedy.factor) for remedy in own]
    return [(one, remedy.setting, remedy.factor) for one in behind for remedy in one.remedies]
