"""What to do next: from verdicts, from what did not converge, from what was not asked."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lla.analyses.analysis import Analysis, Remedy, imported
from lla.analyses.registry import available
from lla.estimate import Estimate
from lla.report import Report
from lla_plots.parts import Action
from lla_plots.phrases import listed, percent, width

__all__ = ["Step", "repeat", "steps"]


@dataclass(frozen=True)
class Step:
    """One thing to do.

    Attributes:
        text: What, and why.
        command: The command that does it, or "".
    """

    text: str
    command: str = ""


# Options with a value that mean the same to every command: other analyses' own are left out.
_PROBLEM = {
    *("model", "model_arg", "weights", "batch_norm", "data", "loss", "params", "recipe"),
    *("lr", "batch_size", "samples"),
    *("tolerance", "confidence", "device", "dtype", "seed", "memory", "threads", "set"),
    *("method", "products", "shard_parameters"),
}
_SWITCHES = ("shard_parameters", "no_shard_parameters")  # they take no value
_COMPUTE = Step(
    "These values were imported. A landscape of the network itself has checks, and the curvature "
    "beside it.",
    "lla landscape MODEL",
)
_NOTHING = Step("Nothing is left open: every number converged, and no condition is hurt.")


def steps(report: Report) -> tuple[Step, ...]:
    """The steps for a report, the most pressing first; never empty."""
    if "imported" in report.provenance:
        return (_COMPUTE,)
    open_ones = sorted((*_failures(report), *_advised(report)), key=lambda one: not one.urgent)
    pressing = tuple(
        Step(action.text, _command(report, action.analysis, action.flags)) for action in open_ones
    )
    unasked = tuple(
        Step(action.text, _command(report, action.analysis, action.flags))
        for action in _unasked(report)
    )
    return (pressing or (_NOTHING,)) + unasked


def repeat(report: Report) -> str:
    """The command that made the report, or "" where none did."""
    return shlex.join(map(str, report.provenance.get("command", ())))


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
    if remedy.setting in _PROBLEM:
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


def _command(report: Report, analysis: str, flags: Mapping[str, Any]) -> str:
    if not analysis:
        return ""
    path = report.checkpoint.path
    place = shlex.quote(path) if path else "CHECKPOINT"
    options = [f"--{name.replace('_', '-')} {value}" for name, value in flags.items()]
    stated = [shlex.quote(word) for word in _stated(report, set(flags) - {"set"})]
    return " ".join(("lla", analysis, place, *stated, *options))


def _stated(report: Report, changed: set[str]) -> Iterator[str]:
    """The options of the report's own command that state the problem, for another command."""
    words = iter(report.provenance.get("command", ())[2:])
    for word in words:
        name, inline, _ = word.removeprefix("--").partition("=")
        if word.startswith("--") and name.replace("-", "_") in _SWITCHES:
            yield word
            continue
        if not word.startswith("--") or name.replace("-", "_") not in _PROBLEM - changed:
            continue
        yield word
        if not inline:
            yield next(words, "")
