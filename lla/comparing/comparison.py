"""Compare a report with a reference, metric by metric."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from lla.analyses.analysis import Analysis
from lla.analyses.registry import available
from lla.comparing.changes import (
    NO_CONFIDENCE,
    Change,
    Comparison,
    Outcome,
    Sampling,
    Words,
)
from lla.comparing.difference import Circumstances, difference, relative_change
from lla.comparing.facts import (
    ALWAYS,
    NAMES,
    Differing,
    differing,
    same_draws,
    unit_roundoff,
)
from lla.errors import ConfigurationError, nearest
from lla.estimate import Estimate, Label, Verdict
from lla.report import Report

__all__ = ["compare", "needed_of"]


def compare(reference: Report, other: Report, across: Collection[str] = ()) -> Comparison:
    """Compare a report with a reference, metric by metric.

    A metric whose value depends on something that the reports do not have in common, as the data,
    is not comparable and says why. Nothing is computed again.

    Args:
        reference: What to compare with.
        other: What to compare.
        across: What may differ nevertheless: "data", "loss", "dtype", "batch-norm", "network",
            "operator" or "settings". Across data, the error from having analysed a sample of a
            larger set counts.

    Raises:
        ConfigurationError: ``across`` names something else.
    """
    for name in across:
        if name not in NAMES:
            raise ConfigurationError(
                f"'{name}' is nothing to compare across{nearest(name, NAMES)}",
                f"choose among: {', '.join(NAMES)}",
            )
    return _Comparing(reference, other, tuple(across)).result()


def needed_of(analysis: Analysis, name: str) -> tuple[str, ...]:
    """What two reports must have in common for a metric of an analysis to be comparable."""
    rule = analysis.compared
    if name in rule.given:
        return ()
    alike = ("network", f"{analysis.name}.*") if rule.alike is None else rule.alike
    return (*ALWAYS, *alike, *rule.also.get(name, ()))


class _Comparing:
    """One comparison as it is put together."""

    def __init__(self, reference: Report, other: Report, across: tuple[str, ...]) -> None:
        self._reports = (reference, other)
        self._across = across
        self._found: dict[str, Differing] = {}
        data = differing(reference, other, ("data",))
        self._given = Circumstances(
            shared=same_draws(reference, other),
            sampled=bool(data) and "data" in across,
            eps=unit_roundoff(reference, other),
        )

    def result(self) -> Comparison:
        changes: list[Change] = []
        labels: list[Words] = []
        for analysis, path, values in self._metrics():
            if any(isinstance(value, Label) for value in values):
                facts = self._obstacles(analysis, path.removeprefix(f"{analysis.group}/"))
                labels.append(_words(path, [_said(value) for value in values], _joined(facts)))
            elif path.removeprefix(f"{analysis.group}/") not in analysis.compared.checks:
                changes.append(self._change(analysis, path, values))
        layers = tuple(self._layers())
        verdicts = tuple(self._verdicts())
        found = self._found.values()
        return Comparison(
            reference=self._reports[0],
            other=self._reports[1],
            across=self._across,
            crossed=tuple(fact for fact in found if fact.name in self._across),
            obstacles=tuple(fact for fact in found if fact.name not in self._across),
            shared_draws=self._given.shared,
            changes=tuple(changes),
            layers=layers,
            labels=tuple(labels),
            verdicts=verdicts,
        )

    def _metrics(self) -> Iterator[tuple[Analysis, str, list[Any]]]:
        """Each metric with its two values, None where a report has none."""
        metrics = [report.metrics for report in self._reports]
        paths = dict.fromkeys([*metrics[0], *metrics[1]])
        for analysis in available().values():
            for path in paths:
                if path.startswith(f"{analysis.group}/"):
                    yield analysis, path, [known.get(path) for known in metrics]

    def _obstacles(self, analysis: Analysis, name: str) -> tuple[Differing, ...]:
        """What a metric needs to have in common and has not."""
        needed = needed_of(analysis, name)
        facts = differing(*self._reports, needed, analysis.name)
        self._found.update({fact.what: fact for fact in facts})
        return tuple(fact for fact in facts if fact.name not in self._across)

    def _change(self, analysis: Analysis, path: str, values: list[Any]) -> Change:
        name = path.removeprefix(f"{analysis.group}/")
        known = [
            value if isinstance(value, Estimate) else Estimate.missing(self._absence(analysis, at))
            for at, value in enumerate(values)
        ]
        rule, given = analysis.compared, self._given
        if name in rule.given:
            given = replace(given, sampled=False)
        if name in rule.indicative:
            known = [replace(value, confidence=math.nan) for value in known]
        found = _changed(path, known[0], known[1], given, self._obstacles(analysis, name))
        return replace(found, worse=name in rule.worse, summary=name in analysis.summary)

    def _absence(self, analysis: Analysis, at: int) -> str:
        """Why a report lacks an analysis."""
        stage = self._reports[at].stages.get(analysis.name)
        which = ("the reference", "the other report")[at]
        if stage is None or stage.status == "done":
            return f"not in {which}"
        return f"{stage.status.replace('_', ' ')} in {which}: {stage.why}"

    def _layers(self) -> Iterator[Change]:
        results = [report.results.get("spectrum") for report in self._reports]
        if None in results:
            return
        facts = self._obstacles(available()["spectrum"], "trace")
        tables = [_traces(report) for report in self._reports]
        for name in dict.fromkeys([*tables[0], *tables[1]]):
            known = [
                table.get(name, Estimate.missing(f"no such layer in {which}"))
                for table, which in zip(tables, ("the reference", "the other report"), strict=True)
            ]
            path = f"hessian/layers/{name}/trace"
            yield _changed(path, known[0], known[1], self._given, facts)

    def _verdicts(self) -> Iterator[Words]:
        """The verdicts: what each report says of itself is comparable whatever differs."""
        tables = [{one.id: one for one in report.verdicts} for report in self._reports]
        for id in dict.fromkeys([*tables[0], *tables[1]]):
            yield _words(id, [_said(table.get(id)) for table in tables], "")


def _changed(
    path: str,
    reference: Estimate,
    other: Estimate,
    given: Circumstances,
    obstacles: tuple[Differing, ...],
) -> Change:
    """What two values say of a change."""
    found = difference(reference, other, given)
    share = relative_change(reference, other, given)
    if not found.exists:
        return Change(path, reference, other, "missing", found, share, found.why, obstacles)
    why = _joined(obstacles)
    if math.isnan(found.confidence):
        why = why or NO_CONFIDENCE
    if why:
        missing = Estimate.missing(why, units=other.units)
        return Change(path, reference, other, "not_comparable", missing, missing, why, obstacles)
    sampling: Sampling = ""
    if given.sampled:
        errors = (reference.sampling_stderr, other.sampling_stderr)
        sampling = "unknown" if None in errors else "included"
    outcome = _outcome(reference, other, found)
    return Change(path, reference, other, outcome, found, share, sampling=sampling)


def _outcome(reference: Estimate, other: Estimate, found: Estimate) -> Outcome:
    exact = reference.low == reference.high and other.low == other.high
    if exact and reference.value == other.value:
        return "equal"
    if found.low > 0:
        return "larger"
    return "smaller" if found.high < 0 else "not_shown"


def _joined(facts: Collection[Differing]) -> str:
    return "; ".join(map(str, facts))


def _said(value: Label | Verdict | Estimate | None) -> tuple[str, str]:
    """What a label or a verdict says, and why."""
    if isinstance(value, Label):
        return value.value, value.why
    return (value.verdict, value.why) if isinstance(value, Verdict) else ("", "")


def _words(id: str, said: list[tuple[str, str]], why: str) -> Words:
    (first, _), (second, reason) = said
    if not first or not second:
        which = "the other report" if first else "the reference"
        return Words(id, first, second, "missing", f"not in {which}")
    if why:
        return Words(id, first, second, "not_comparable", why)
    return Words(id, first, second, "equal" if first == second else "changed", reason)


def _traces(report: Report) -> Mapping[str, Estimate]:
    """The trace of each layer with its Student interval, whose standard error is not stored."""
    layers = report.results["spectrum"].layers
    level = report.provenance.get("settings", {}).get("confidence", math.nan)
    columns = zip(layers.names, layers.trace, layers.low, layers.high, strict=True)
    return {
        name: Estimate(float(value), float(low), float(high), level, stderr=math.nan, units="loss")
        for name, value, low, high in columns
    }
