"""What an audit finds: an outcome per gate and checkpoint, and one exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from lla.audit.policy import Gate, Policy, Waiver
from lla.errors import LlaError
from lla.estimate import Estimate, Verdict
from lla.report import Report

__all__ = ["Audit", "Audited", "Finding", "Outcome", "Trouble", "counted"]


class Outcome(StrEnum):
    """What a gate says of a checkpoint."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    WAIVED = "waived"
    NOT_EVALUATED = "not_evaluated"

    @property
    def words(self) -> str:
        """For people."""
        return self.value.replace("_", " ")


class Trouble(StrEnum):
    """What a finding means for whoever runs the audit."""

    NONE = "none"
    WARNING = "warning"
    DOUBT = "doubt"
    FAILURE = "failure"


@dataclass(frozen=True)
class Finding:
    """What one gate says of one checkpoint.

    Attributes:
        gate: The gate, as it is for this checkpoint.
        outcome: Pass, fail, inconclusive, waived or not evaluated.
        message: Why, in a sentence.
        measured: What was held against the limit: the metric's value, or its change.
        reference: The metric in the baseline; None where the gate asks for none.
        current: The metric here, of a gate on a change.
        stated: The verdict in the report, of a gate on a verdict.
        confidence: What the interval had to hold at.
        loose: Whether a narrower interval would decide it.
        narrower: How many times narrower the interval has to be for that, about.
        excused: Whether it could not be evaluated, and that is no doubt.
        was: What it would be without its waiver.
        waiver: The waiver that holds, or has expired.
    """

    gate: Gate
    outcome: Outcome
    message: str
    measured: Estimate | None = None
    reference: Estimate | None = None
    current: Estimate | None = None
    stated: Verdict | None = None
    confidence: float = 0.95
    loose: bool = False
    narrower: float = 1.0
    excused: bool = False
    was: Outcome | None = None
    waiver: Waiver | None = None

    @property
    def trouble(self) -> Trouble:
        """What it means: a failure, a doubt, a warning, or nothing."""
        gate, outcome = self.gate, self.outcome
        if outcome in (Outcome.PASS, Outcome.WAIVED) or self.excused:
            return Trouble.NONE
        if outcome is Outcome.NOT_EVALUATED and not gate.required:
            return Trouble.NONE
        if gate.severity == "warning":
            return Trouble.WARNING
        if outcome is Outcome.FAIL:
            return Trouble.FAILURE
        return Trouble.WARNING if gate.on_inconclusive == "warn" else Trouble.DOUBT


@dataclass(frozen=True)
class Audited:
    """One checkpoint or report.

    Attributes:
        name: As it was named.
        findings: One for each gate.
        report: What was judged; None where there is none.
        error: Why it could not be judged.
        further: How many further runs tightened its estimates.
        runnable: Whether it is a checkpoint, and not the report of one.
    """

    name: str
    findings: tuple[Finding, ...] = ()
    report: Report | None = None
    error: LlaError | None = None
    further: int = 0
    runnable: bool = False

    @property
    def loose(self) -> bool:
        """Whether a gate is inconclusive for the width of an interval, and no run was made."""
        open_ = (one for one in self.findings if one.outcome is Outcome.INCONCLUSIVE)
        return not self.runnable and any(one.loose for one in open_)


@dataclass(frozen=True)
class Audit:
    """An audit of some checkpoints.

    Attributes:
        policy: What they were held against.
        audited: Each checkpoint, in order.
        notes: What else a reader has to know, a sentence each.
    """

    policy: Policy
    audited: tuple[Audited, ...]
    notes: tuple[str, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings of all checkpoints."""
        return tuple(finding for one in self.audited for finding in one.findings)

    @property
    def exit_code(self) -> int:
        """0 fine, 1 a gate failed, 3 nothing was evaluated, 4 inconclusive; or an error's own.

        Several at once: error before failure before inconclusive.
        """
        for one in self.audited:
            if one.error is not None:
                return one.error.exit_code
        if all(one.outcome is Outcome.NOT_EVALUATED and not one.excused for one in self.findings):
            return 3
        troubles = {one.trouble for one in self.findings}
        if Trouble.FAILURE in troubles:
            return 1
        return 4 if Trouble.DOUBT in troubles else 0


def counted(findings: Iterable[Finding]) -> str:
    """How gates came out: ``2 pass, 1 fail``."""
    outcomes = Counter(finding.outcome for finding in findings)
    return (
        ", ".join(f"{outcomes[one]} {one.words}" for one in Outcome if outcomes[one]) or "no gate"
    )
