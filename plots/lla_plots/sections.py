"""The page as data: questions, their answers in words, tables, figures."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lla.analyses.fields import entries
from lla.analyses.landscape import LandscapeResult
from lla.analyses.spectrum import Layers, SpectrumResult
from lla.estimate import Estimate, Label
from lla.numbers import confidence, interval, metric, number, outcome
from lla.report import Report
from lla_plots.plane import warnings

__all__ = ["Cell", "Section", "Table", "sections"]


@dataclass(frozen=True)
class Cell:
    """One cell of a table: its text, and how it looks (a CSS class)."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table with a head."""

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Section:
    """One question of a reader.

    Attributes:
        id: Anchor.
        title: The question.
        lead: The answer in a sentence or two.
        notes: What to know before trusting it.
        figures: Names of the figures that show it.
        tables: The numbers.
    """

    id: str
    title: str
    lead: str = ""
    notes: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()


def sections(report: Report, figures: Mapping[str, Collection[str]]) -> tuple[Section, ...]:
    """The questions that a report answers, in the order in which a reader asks them.

    Args:
        report: What to tell.
        figures: Names of the figures of each analysis.
    """
    known = {
        "spectrum": (_sharpness, _sureness),
        "stability": (_stability,),
        "landscape": (_landscape,),
        "saliency": (_saliency,),
    }
    found: list[Section] = []
    for analysis, result in report.analyses():
        names = tuple(figures.get(analysis.name, ()))
        if analysis.name in known:
            found.extend(make(report, result, names) for make in known[analysis.name])
        elif analysis.name != "baseline":
            table = _metrics_table(report, analysis.group)
            asked = analysis.question or analysis.about
            found.append(Section(analysis.name, asked, "", (), names, (table,)))
        if isinstance(result, SpectrumResult) and "layers" in names:
            found.append(_layers(result.layers))
    if not any(section.id == "confidence" for section in found):
        found.append(_sureness(report, None, ()))
    # The layers come after the verdict on stability, as a reader asks for them.
    order = ("sharpness", "confidence", "stability", "layers", "landscape", "saliency")
    return tuple(sorted(found, key=lambda s: order.index(s.id) if s.id in order else len(order)))


def _sharpness(report: Report, result: SpectrumResult, names: tuple[str, ...]) -> Section:
    lead = "The sharpest direction has curvature λ_max = " + interval(result.lambda_max) + "."
    if result.lambda_min.exists:
        shape = "bends down" if result.lambda_min.high < 0 else "need not bend down"
        lead += (
            f" Along the least curved one the loss {shape}: λ_min = {interval(result.lambda_min)}."
        )
    if result.effective_rank.exists:
        lead += f" The curvature fills about {number(result.effective_rank.value, 2)} directions."
    shown = tuple(name for name in names if name != "layers")
    return Section(
        "sharpness", "How sharp is it?", lead, (), shown, (_metrics_table(report, "hessian"),)
    )


def _sureness(report: Report, _: object, __: tuple[str, ...]) -> Section:
    estimates = {p: m for p, m in report.metrics.items() if isinstance(m, Estimate) and m.exists}
    exact = sum(m.confidence >= 1 and m.converged for m in estimates.values())
    loose = [path for path, m in estimates.items() if not m.converged]
    lead = (
        f"Of {len(estimates)} numbers, {exact} are exact or lie in a certified interval; "
        "the others carry the confidence given."
    )
    notes = (f"Not converged: {', '.join(loose)}.",) if loose else ()
    sampled = any(m.sampling_stderr is not None for m in estimates.values())
    rows = tuple(
        (
            Cell(path, "name"),
            Cell(interval(m), "number"),
            Cell(confidence(m), "" if m.converged else "warn"),
            Cell(number(m.stderr, 2) if m.stderr is not None else ""),
            *([Cell(number(m.sampling_stderr, 2))] if sampled else []),
            Cell(m.method),
        )
        for path, m in estimates.items()
    )
    extra = ("sampling error",) if sampled else ()
    head = ("metric", "value", "confidence", "std. error", *extra, "how")
    return Section("confidence", "How sure are we?", lead, notes, (), (Table(head, rows),))


def _stability(report: Report, result: Any, names: tuple[str, ...]) -> Section:
    asked = "Is it stable at its learning rate?"
    lead = f"The learning rate in use is {number(result.lr.value)}."
    if not result.lr.exists:
        lead = "That cannot be told: " + (result.lr.why or "the learning rate is unknown") + "."
    if result.sgd_max_lr.exists:
        lead += f" The conditions that apply allow up to {interval(result.sgd_max_lr)}."
    rows = tuple(
        (Cell(v.id, "name"), Cell(outcome(v.verdict), f"verdict {v.verdict}"), Cell(v.why))
        for v in result.verdicts
    )
    tables = (Table(("condition", "verdict", "why"), rows), _metrics_table(report, "stability"))
    return Section("stability", asked, lead, (), names, tables)


def _layers(layers: Layers) -> Section:
    asked = "Which layers carry the curvature?"
    order = np.argsort(-np.nan_to_num(layers.trace, nan=-np.inf))
    first = int(order[0])
    lead = ""
    if np.isfinite(layers.share[first]):
        lead = f"{layers.names[first]} carries {100 * layers.share[first]:.0f} % of the trace."
    rows = tuple(
        (
            Cell(layers.names[i], "code"),
            Cell(number(int(layers.parameters[i])), "number"),
            Cell(interval(_range(layers, i)), "number"),
            Cell(
                f"{100 * layers.share[i]:.1f} %" if np.isfinite(layers.share[i]) else "—", "number"
            ),
        )
        for i in map(int, order)
    )
    head = ("layer", "parameters", "trace", "share")
    return Section("layers", asked, lead, (), ("layers",), (Table(head, rows),))


def _range(layers: Layers, index: int) -> Estimate:
    value, low, high = (float(array[index]) for array in (layers.trace, layers.low, layers.high))
    return Estimate(value, low, high)


def _landscape(report: Report, result: LandscapeResult, names: tuple[str, ...]) -> Section:
    radius = result.quadratic_radius
    lead = f"The loss over the plane of {' and '.join(result.axes.names)}."
    if radius.exists:
        lead += f" The quadratic model holds up to a distance of {interval(radius)}."
    return Section(
        "landscape",
        "What does the loss look like around the weights?",
        lead,
        warnings(result),
        names,
        (_metrics_table(report, "landscape"),),
    )


def _saliency(report: Report, result: Any, names: tuple[str, ...]) -> Section:
    sensitivity = result.class_sensitivity
    lead = (
        f"Maps for the most and the least likely class correlate at {interval(sensitivity)}; "
        "the lower, the more the maps depend on the class."
        if sensitivity.exists
        else f"There is no number for it: {sensitivity.why or 'not known'}."
    )
    notes = () if names else ("There are no maps to show.",)
    return Section("saliency", "Where does the network look?", lead, notes, names)


def _metrics_table(report: Report, group: str) -> Table:
    for analysis, result in report.analyses():
        if analysis.group == group:
            rows = tuple(
                _metric_row(entry.name, entry.about, getattr(result, entry.attribute))
                for entry in entries(result)
                if entry.kind == "metric"
            )
            return Table(("", "value", "confidence", "what it is"), rows)
    return Table((), ())


def _metric_row(name: str, about: str, value: Estimate | Label) -> tuple[Cell, ...]:
    if isinstance(value, Label):
        return Cell(name, "name"), Cell(metric(value)), Cell(""), Cell(about)
    kind = "number" if value.exists else "missing"
    sure = Cell(confidence(value), "" if value.converged or not value.exists else "warn")
    return Cell(name, "name"), Cell(interval(value), kind), sure, Cell(about)
