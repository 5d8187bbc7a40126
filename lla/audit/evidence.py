"""What the gates of one checkpoint are judged by."""

from __future__ import annotations

from dataclasses import dataclass, field

from lla.comparing import Comparison, compare
from lla.report import Report

__all__ = ["Evidence"]


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
        runnable: Whether a checkpoint is at hand, so that an analysis can be run again.
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
