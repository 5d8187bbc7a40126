"""What to do next: from verdicts, from what did not converge, from what was not asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lla.analyses.analysis import Analysis, Remedy, imported
from lla.analyses.registry import available
from lla.estimate import Estimate
from lla.report import Report
from lla_plots.commands import PROBLEM, command_for
from lla_plots.parts import Action
from lla_plots.phrases import listed, percent, width

__all__ = ["Step", "steps"]


@dataclass(frozen=True)
class Step:
    """One thing to do.

    Attributes:
        text: What, and why.
        command: The command that does it, or "".
    """

    text: str
    command: str = ""


_COMPUTE = Step(
    "These values were imported. A landscape of the network itself has checks, and the curvature "
    "beside it.",
    "lla landscape MODEL",
)
_DONE = "every number converged, and no condition is hurt."
_NOTHING = Step(f"Nothing is left open: {_DONE}")
_NOTHING_ASKED = Step(f"Of what this report was asked, nothing is left open: {_DONE}")


def steps(report: Report) -> tuple[Step, ...]:
    """The steps for a report, the most pressing first; never empty."""
    if "imported" in report.provenance:
        return (_COMPUTE,)
    open_ones = sorted((*_failures(report), *_advised(report)), key=lambda one: not one.urgent)
    pressing = tuple(
        Step(action.text, command_for(report, action.analysis, action.flags))
        for action in open_ones
    )
    unasked = tuple(
        Step(action.text, command_for(report, action.analysis, action.flags))
        for action in _unasked(report)
    )
    done = _NOTHING_ASKED if unasked else _NOTHING
    return (pressing or (done,)) + unasked


def _failures(report: Report) -> Iterator[Action]:
    for name, stage in report.stages.items():
        if stage.status == "failed":
            yield Action(f"The analysis {name} failed: {stage.why}", name, urgent=True)


def _advised(report: Report) -> Iterator[Action]:
    """What the analyses themselves advise, and remedies for what has not converged."""
    for analysis, result in report.analyses():
        if analysis.steps:
            yield from imported(analysis.steps)(result)
        for remedy in analysis.remedies:
            action = _raised(report, analysis, remedy)
            if action is not None:
                yield action


def _raised(report: Report, analysis: Analysis, remedy: Remedy) -> Action | None:
    """The remedy for those of its metrics that have not converged."""
    paths = [f"{analysis.group}/{name}" for name in remedy.metrics]
    open_ones = {
        path: found
        for path in paths
        if isinstance(found := report.metrics.get(path), Estimate)
        and found.exists
        and not found.converged
    }
    if not open_ones:
        return None
    named = listed([f"{path} ({_known_to(found)})" for path, found in open_ones.items()])
    verb = "has" if len(open_ones) == 1 else "have"
    configuration = report.provenance.get("configuration", {})
    now = configuration.get(analysis.name, {}).get(remedy.setting)
    more = str(now * remedy.factor) if isinstance(now, int) else "MORE"
    text = f"{named} {verb} not converged: spend more work on it, or accept the interval as it is."
    if remedy.setting in PROBLEM:
        return Action(text, analysis.name, {"set": f"{analysis.name}.{remedy.setting}={more}"})
    return Action(text, analysis.name, {remedy.setting: more})


def _known_to(found: Estimate) -> str:
    half = width(found)
    return f"known to ± {percent(half)}" if half < float("inf") else "with an open interval"


def _unasked(report: Report) -> Iterator[Action]:
    for name, analysis in available().items():
        # What needs to be told more, nobody can be advised to run as it is.
        if name not in report.stages and name not in report.results and not analysis.needs:
            asked = analysis.question or analysis.about
            yield Action(f"This report was not asked: {asked}", name)
