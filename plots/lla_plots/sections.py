"""The page's questions in the order in which a reader asks them, from any report."""

from __future__ import annotations

from typing import Any

from lla.analyses.analysis import Analysis, imported
from lla.analyses.fields import entries
from lla.analyses.registry import available
from lla.estimate import GRAVEST
from lla.report import Report, Stage
from lla_plots import sureness
from lla_plots.parts import Section
from lla_plots.phrases import capital
from lla_plots.tables import arrays, metrics, verdicts

__all__ = ["of_analysis", "sections"]


def sections(report: Report) -> tuple[tuple[str, Section], ...]:
    """Each section with the name of its analysis, "" for those on the report as a whole."""
    found = [
        (analysis.name, section)
        for analysis, result in report.analyses()
        for section in of_analysis(analysis, result)
    ]
    found += [
        (name, _missing(name, stage))
        for name, stage in report.stages.items()
        if name not in report.results and stage.status != "done"
    ]
    found.append(("", sureness.section(report)))
    return tuple(sorted(found, key=lambda item: item[1].rank))


def of_analysis(analysis: Analysis, result: Any) -> tuple[Section, ...]:
    """The sections on one result: its analysis' own, or one that its declarations give."""
    if analysis.sections:
        return tuple(imported(analysis.sections)(result))
    return (_declared(analysis, result),)


def _declared(analysis: Analysis, result: Any) -> Section:
    """A section from declarations: the summary in words, verdicts, numbers, arrays."""
    named = {entry.name: entry for entry in entries(result) if entry.kind == "metric"}
    chosen = [named[name] for name in analysis.summary if name in named]
    told = [
        f"{capital(entry.about)}: {sureness.stated(getattr(result, entry.attribute))}."
        for entry in chosen
    ]
    judged = tuple(
        verdict
        for entry in entries(result)
        if entry.kind == "verdicts"
        for verdict in getattr(result, entry.attribute)
    )
    outcomes = {verdict.verdict for verdict in judged}
    tables = (verdicts(judged), metrics(result, analysis.group), *arrays(result))
    return Section(
        analysis.name,
        analysis.question or analysis.about,
        f"{chosen[0].about}: {sureness.stated(getattr(result, chosen[0].attribute))}"
        if chosen
        else "",
        " ".join(told),
        outcome=next((name for name in GRAVEST if name in outcomes), ""),
        tables=tuple(table for table in tables if table.rows),
    )


def _missing(name: str, stage: Stage) -> Section:
    """The place of an analysis without a result: its question, and why there is no answer."""
    analysis = available().get(name)
    asked = (analysis.question or analysis.about) if analysis else name
    if stage.status == "failed":
        lead = f"No answer: the analysis broke. {capital(stage.why)}"
        return Section(name, asked, "no answer: the analysis broke", lead)
    lead = f"The question does not apply here: {stage.why or 'no reason is given'}."
    return Section(name, asked, "does not apply", lead)
