"""What a comparison finds: changes of metrics, of verdicts and labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lla.comparing.facts import Differing
from lla.estimate import Estimate
from lla.report import Report

__all__ = [
    "NO_CONFIDENCE",
    "Change",
    "Comparison",
    "Outcome",
    "Sampling",
    "WordOutcome",
    "Words",
]

Outcome = Literal["larger", "smaller", "not_shown", "equal", "not_comparable", "missing"]
Sampling = Literal["included", "unknown", ""]
WordOutcome = Literal["changed", "equal", "not_comparable", "missing"]


NO_CONFIDENCE = "its interval indicates an error, at no stated confidence"


@dataclass(frozen=True)
class Change:
    """A metric in two reports.

    Attributes:
        path: Its metric path; of a layer's trace, ``hessian/layers/NAME/trace``.
        reference: Its value in the reference; missing where there is none.
        other: Its value in the other report.
        outcome: "larger" or "smaller": the difference's interval excludes zero. "not_shown": it
            does not. "equal": both are exact and the same. "not_comparable" or "missing": ``why``.
        difference: Other minus reference.
        relative: The same over the reference's absolute value.
        why: Why there is no difference, or "".
        obstacles: What the reports do not have in common and this metric needs.
        sampling: Whether the difference holds the error from having analysed samples of larger
            sets: "included"; "unknown", so that it speaks of the analysed samples alone; "" where
            both reports are of the same data.
        worse: Whether an increase is for the worse.
        summary: Whether a summary shows it.
    """

    path: str
    reference: Estimate
    other: Estimate
    outcome: Outcome
    difference: Estimate
    relative: Estimate
    why: str = ""
    obstacles: tuple[Differing, ...] = ()
    sampling: Sampling = ""
    worse: bool = False
    summary: bool = False

    @property
    def differs(self) -> bool:
        """Whether the change is larger than its uncertainty."""
        return self.outcome in ("larger", "smaller")

    @property
    def holds(self) -> bool:
        """Whether the difference's interval can be relied on at a stated confidence.

        A stochastic interval can, however wide. A residual that has not converged may have missed
        an eigenvalue, and an interval without the error of the sample speaks of other data.
        """
        return self.difference.exists and self.converged and self.sampling != "unknown"

    @property
    def converged(self) -> bool:
        """Whether neither value is one that a residual certifies and that has not converged."""
        return all(one.converged or one.confidence < 1.0 for one in (self.reference, self.other))

    @property
    def absent(self) -> bool:
        """Whether neither report has a value."""
        return not (self.reference.exists or self.other.exists)


@dataclass(frozen=True)
class Words:
    """A verdict or a label in two reports.

    Attributes:
        id: The verdict's id, or the label's metric path.
        reference: What the reference says; "" where it says nothing.
        other: What the other says.
        outcome: Whether they say the same.
        why: The reason that the other report gives; or why they are not compared.
    """

    id: str
    reference: str
    other: str
    outcome: WordOutcome
    why: str = ""


@dataclass(frozen=True)
class Comparison:
    """A report against a reference.

    Attributes:
        reference: The reference.
        other: The report compared with it.
        across: Names of what was allowed to differ.
        crossed: What does differ of that.
        obstacles: What differs that was not allowed to: why metrics are not comparable.
        shared_draws: Whether the random draws may be the same.
        changes: All metrics, in the reference's order.
        layers: The trace of each layer.
        labels: All labels.
        verdicts: All verdicts.
    """

    reference: Report
    other: Report
    across: tuple[str, ...]
    crossed: tuple[Differing, ...]
    obstacles: tuple[Differing, ...]
    shared_draws: bool
    changes: tuple[Change, ...]
    layers: tuple[Change, ...]
    labels: tuple[Words, ...]
    verdicts: tuple[Words, ...]

    def __getitem__(self, path: str) -> Change:
        """The change of a metric.

        Raises:
            KeyError: Neither report has it.
        """
        for change in (*self.changes, *self.layers):
            if change.path == path:
                return change
        raise KeyError(path)

    @property
    def shown(self) -> tuple[Change, ...]:
        """The metrics that a summary shows: those of each analysis' summary that have a value."""
        return tuple(one for one in self.changes if one.summary and not one.absent)

    @property
    def same_checkpoint(self) -> bool:
        """Whether both reports are of the same weights."""
        return self.reference.checkpoint.sha256 == self.other.checkpoint.sha256

    def __repr__(self) -> str:
        from lla.comparing.wording import counted

        return f"<lla.Comparison: {counted(self.shown)}>"

    def _repr_markdown_(self) -> str:
        from lla.comparing.markdown import markdown

        return markdown([self])
