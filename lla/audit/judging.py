"""Hold a report against gates: the confidence bound against the limit, three answers.

A value passes where its whole interval lies within the limits, fails where the whole interval lies
beyond one, and is inconclusive where a limit lies inside. An interval that covers the value with
probability c and errs as often on each side then lets a gate pass or fail wrongly with probability
(1 − c)/2 at most. Where an audit runs an analysis again because a gate was inconclusive, it looks
more than once: the k further runs are judged at confidence 1 − (1 − c)/k, so that a wrong answer,
from whichever look it comes, has probability (1 − c)/2 + k·(1 − c)/(2k) = 1 − c at most.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import date

from lla.audit.evidence import Evidence
from lla.audit.findings import Finding, Outcome, Trouble
from lla.audit.policy import Gate, Policy, Waiver
from lla.audit.rules import RULES

__all__ = ["judge", "required_confidence"]


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
        found = replace(RULES[gate.kind](gate, evidence, needed), confidence=needed)
        findings.append(_waived(found, policy.waivers, evidence.names, today))
    return tuple(findings)


def _waived(
    found: Finding, waivers: Sequence[Waiver], names: Collection[str], today: date
) -> Finding:
    if found.trouble is Trouble.NONE:
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
