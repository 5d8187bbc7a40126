"""Which metrics and verdicts a gate can be about, and which analyses give them."""

from __future__ import annotations

from collections.abc import Iterable

from lla.analyses.analysis import Analysis
from lla.analyses.fields import Entry, entries
from lla.analyses.registry import available
from lla.audit.policy import Gate, Kind
from lla.errors import ConfigurationError, nearest

__all__ = ["about", "analyses_of", "analysis_of", "known", "refuse_metric", "refuse_verdict"]


def known() -> dict[str, tuple[Analysis, Entry]]:
    """All metrics by path."""
    return {
        f"{analysis.group}/{entry.name}": (analysis, entry)
        for analysis in available().values()
        for entry in entries(analysis.result)
        if entry.kind == "metric"
    }


def about(gate: Gate) -> str:
    """What a gate's metric or verdict is, in a line."""
    if gate.metric:
        return known()[gate.metric][1].about
    return f"a verdict of: {analysis_of(gate).about}"


def analysis_of(gate: Gate) -> Analysis:
    """The analysis that gives a gate's metric or verdict."""
    if gate.metric:
        return known()[gate.metric][0]
    return available()[gate.verdict.partition(".")[0]]


def analyses_of(gates: Iterable[Gate]) -> tuple[str, ...]:
    """The analyses that gates need, in the order in which they run."""
    needed = {analysis_of(gate).name for gate in gates}
    return tuple(name for name in available() if name in needed)


def refuse_metric(gate: Gate) -> None:
    """Refuse a metric that there is not, or that can never be told from a limit.

    Raises:
        ConfigurationError: It is.
    """
    paths = known()
    if gate.metric not in paths:
        raise ConfigurationError(
            f"there is no metric '{gate.metric}'{nearest(gate.metric, paths)}",
            "lla show -v REPORT lists them, and docs/report-format.md",
        )
    analysis, entry = paths[gate.metric]
    numbers = [path for path, (one, item) in paths.items() if one is analysis and not item.text]
    if entry.text:
        raise ConfigurationError(
            f"the metric '{gate.metric}' is in words, and a limit is for numbers",
            f"choose among: {', '.join(numbers)}",
        )
    if entry.name in analysis.compared.indicative:
        raise ConfigurationError(
            f"the interval of '{gate.metric}' indicates an error at no stated confidence, so that "
            "no limit can be held against it",
            f"choose another, as {analysis.group}/{analysis.summary[0]}",
        )
    if gate.kind is Kind.BASELINE and entry.name in analysis.compared.checks:
        raise ConfigurationError(
            f"'{gate.metric}' checks the run and does not describe the checkpoint: it is not "
            "compared with a baseline",
            "give it a limit: max, min or between",
        )


def refuse_verdict(gate: Gate) -> None:
    """Refuse a verdict of an analysis that there is not, or that gives none.

    Raises:
        ConfigurationError: It is.
    """
    giving = [
        name
        for name, analysis in available().items()
        if any(entry.kind == "verdicts" for entry in entries(analysis.result))
    ]
    name = gate.verdict.partition(".")[0]
    if name not in giving or "." not in gate.verdict:
        raise ConfigurationError(
            f"there is no verdict '{gate.verdict}'{nearest(name, giving)}",
            f"verdicts are named ANALYSIS.CONDITION, of: {', '.join(giving)}",
        )
