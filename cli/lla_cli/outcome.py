"""What a run says of what it computed, what it took over, and what it kept where it was stopped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lla.errors import AnalysisFailedError, InterruptedRunError, RankFailedError, ReportError
from lla_cli.ranks import command_of

if TYPE_CHECKING:
    from lla.ledger import Ledger, Target
    from lla.report import Report

__all__ = ["Outcome", "told_of_parts", "told_of_report"]


@dataclass(frozen=True)
class Outcome:
    """What a run gave.

    Attributes:
        report: As it lies in its file, with what else that holds.
        made: The analyses that were asked for.
        done: Where each of those that are done was taken from; None: computed.
        target: Where the report was to go.
    """

    report: Report
    made: tuple[str, ...]
    done: Mapping[str, Path | None]
    target: Target

    @property
    def asked(self) -> Report:
        """The report of what was asked for alone."""
        report = self.report
        return replace(
            report,
            results={name: item for name, item in report.results.items() if name in self.made},
            stages={name: item for name, item in report.stages.items() if name in self.made},
        )

    @property
    def unchanged(self) -> bool:
        """Whether the report is the one that was there before."""
        return all(self.done.get(name) == Path(self.report.path) for name in self.made)

    def remarks(self) -> Iterator[str]:
        """Lines on what comes from earlier runs."""
        path = self.report.path
        if self.unchanged:
            yield f"{path} is up to date: nothing was computed (--fresh computes all anew)"
        else:
            for source in dict.fromkeys(filter(None, self.done.values())):
                names = [name for name in self.made if self.done.get(name) == source]
                yield (
                    f"taken from {source}, unchanged: {', '.join(names)} "
                    "(--fresh computes all anew)"
                )
        others = [name for name in self.report.stages if name not in self.made]
        if others:
            yield f"still in {path}: {', '.join(others)}"
        if Path(path) != self.target.whole:
            yield f"{self.target.whole} is left as it is: it is of other data or other settings"


@contextmanager
def told_of_parts(ledger: Ledger, wanted: int, *, again: Callable[[], str]) -> Iterator[None]:
    """Where a run is stopped, say what is kept and how to go on.

    Args:
        ledger: Of the run.
        wanted: How many analyses it was to make.
        again: Gives the command.
    """
    try:
        yield
    except (KeyboardInterrupt, InterruptedRunError) as stopped:
        code = getattr(stopped, "exit_code", 130)
        word = "terminated" if code == 143 else "interrupted"
        raise InterruptedRunError(
            f"{word}; {_kept(ledger, wanted)}", _go_on(ledger, again()), code
        ) from None
    except (AnalysisFailedError, RankFailedError) as failed:
        failed.reason = f"{failed.reason}; {_kept(ledger, wanted)}"
        failed.remedy = "; ".join(filter(None, (failed.remedy, _go_on(ledger, again()))))
        raise
    except ReportError as error:
        if not ledger.parts.worth_keeping:
            raise
        raise ReportError(
            f"{error.reason} ({_kept(ledger, wanted)})",
            f"make room there, then {_go_on(ledger, again())}",
        ) from None


def _kept(ledger: Ledger, wanted: int) -> str:
    parts, done = ledger.parts, len(ledger.done) - len(ledger.lost)
    report = f"{parts.target} is as it was" if parts.target.exists() else "no report was written"
    lost = f"; {parts.trouble}: {', '.join(ledger.lost)} not kept" if ledger.lost else ""
    if not parts.worth_keeping:
        return f"{report}, and nothing was done yet that could be kept{lost}"
    if not done:
        return f"{report}; what is done is kept in {parts.folder}{lost}"
    are = "analyses are" if done > 1 else "analysis is" if wanted == 1 else "analyses is"
    return f"{report}; {done} of {wanted} {are} done and kept in {parts.folder}{lost}"


def _go_on(ledger: Ledger, command: str) -> str:
    if not ledger.parts.worth_keeping:
        return f"run it again: {command}"
    # To go on with a run that computes all anew is not to begin it anew.
    words = [word for word in sys.argv if word != "--fresh"]
    return f"go on with: {command_of(words)}"


@contextmanager
def told_of_report(report: Report) -> Iterator[None]:
    """Where a run is stopped after its report was written, say so."""
    try:
        yield
    except (KeyboardInterrupt, InterruptedRunError) as stopped:
        code = getattr(stopped, "exit_code", 130)
        raise InterruptedRunError(
            f"{'terminated' if code == 143 else 'interrupted'}; the report {report.path} is "
            "complete, its page or figures may not be",
            f"make them: lla report {report.path}, lla plot {report.path}",
            code,
        ) from None
