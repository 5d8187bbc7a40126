"""A report as a notebook shows it: one plain HTML table, no scripts, no styles of its own."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from lla.estimate import Estimate
from lla.numbers import confidence, metric, outcome
from lla.report.report import Report

__all__ = ["as_html"]


def as_html(report: Report) -> str:
    """The summary that ``lla show`` prints, as an HTML fragment; all text is escaped."""
    name = report.checkpoint.path or report.checkpoint.format or "live module"
    rows = "".join(_row(cells) for cells in _rows(report))
    return (
        f"<table><caption><b>{escape(name)}</b><br>{escape(report.caption)}</caption>"
        f"<tbody>{rows}</tbody></table>"
    )


def _rows(report: Report) -> Iterator[tuple[str, ...]]:
    metrics = report.metrics
    for analysis, _ in report.analyses():
        yield (analysis.about,)
        for name in analysis.summary:
            value = metrics.get(f"{analysis.group}/{name}")
            if value is not None:
                sure = confidence(value) if isinstance(value, Estimate) else ""
                yield f"{analysis.group}/{name}", metric(value), sure
    if report.verdicts:
        yield ("Verdicts",)
    for verdict in report.verdicts:
        yield verdict.id, outcome(verdict.verdict), verdict.why
    for name, stage in report.stages.items():
        if stage.status != "done":
            yield name, stage.status.replace("_", " "), stage.why


def _row(cells: tuple[str, ...]) -> str:
    if len(cells) == 1:
        return f'<tr><th colspan="3" style="text-align:left">{escape(cells[0])}</th></tr>'
    inner = "".join(f'<td style="text-align:left">{escape(cell)}</td>' for cell in cells)
    return f"<tr>{inner}</tr>"
