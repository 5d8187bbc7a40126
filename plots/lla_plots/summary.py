"""One page that says what a report found."""

from __future__ import annotations

import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lla.analyses.landscape import LandscapeResult
from lla.analyses.spectrum import SpectrumResult
from lla.estimate import Estimate, Label
from lla.numbers import confidence, metric, outcome
from lla.report import Report
from lla_plots.landscape import draw_map
from lla_plots.plane import masked_loss
from lla_plots.spectrum import draw_density
from lla_plots.style import GREY, OUTCOME_COLORS, new_figure, styled, symbols

__all__ = ["figure", "headline"]

_LINE = 0.2
_PANELS = 2.9


def headline(report: Report) -> list[tuple[str, Estimate | Label]]:
    """The metrics that a summary shows, by path, in the order that the analyses wish."""
    metrics = report.metrics
    return [
        (path, metrics[path])
        for analysis, _ in report.analyses()
        for path in (f"{analysis.group}/{name}" for name in analysis.summary)
        if path in metrics
    ]


@styled
def figure(report: Report) -> Figure:
    """Draw the summary: metrics with intervals, verdicts, spectrum and landscape in small."""
    rows = headline(report)
    verdicts = report.verdicts
    panels = _panels(report)
    table = _LINE * (len(rows) + 1.5)
    words = _LINE * (1.9 * len(verdicts) + 1.5) if verdicts else 0.0
    heights = [height for height in (table, words, _PANELS if panels else 0.0) if height]
    drawn = new_figure(8.27, sum(heights) + 1.0, report.caption)
    name = report.checkpoint.path.rpartition("/")[2] or "live module"
    drawn.suptitle(
        symbols(f"{name}: what the loss looks like around it"), x=0.012, ha="left", fontsize=12
    )
    parts = drawn.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    _draw_metrics(parts[0].subplots(), rows)
    if verdicts:
        _draw_verdicts(parts[1].subplots(), report)
    if panels:
        grid = parts[-1].subplots(1, len(panels), squeeze=False)
        for axes, result in zip(grid[0], panels, strict=True):
            _draw_panel(axes, result)
    return drawn


def _panels(report: Report) -> list[SpectrumResult | LandscapeResult]:
    found = []
    for _, result in report.analyses():
        drawable = isinstance(result, LandscapeResult) and masked_loss(result).count() > 0
        if isinstance(result, SpectrumResult) or drawable:
            found.append(result)
    return found


def _draw_panel(axes: Axes, result: SpectrumResult | LandscapeResult) -> None:
    if isinstance(result, SpectrumResult):
        draw_density(axes, result, ends=False)
        axes.set_title("Spectrum")
    else:
        draw_map(axes, result)
        axes.set_title("Landscape")


def _lines(axes: Axes, count: float) -> None:
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(count, 0)


def _draw_metrics(axes: Axes, rows: list[tuple[str, Estimate | Label]]) -> None:
    _lines(axes, len(rows) + 1.5)
    for place, head in ((0.0, "metric"), (0.33, "value"), (0.78, "confidence")):
        axes.text(place, 0.6, head, color=GREY, fontsize=8, va="center")
    for row, (path, value) in enumerate(rows, start=1):
        y = row + 0.6
        if row % 2:
            axes.axhspan(y - 0.5, y + 0.5, color="#F4F4F4", lw=0)
        missing = isinstance(value, Estimate) and not value.exists
        color = GREY if missing else "black"
        axes.text(0.0, y, f" {path}", va="center")
        axes.text(0.33, y, _cut(metric(value), 84 if missing else 62), va="center", color=color)
        if isinstance(value, Estimate):
            sure = confidence(value)
            tone = OUTCOME_COLORS["violated"] if value.exists and not value.converged else "#444444"
            axes.text(0.78, y, sure, va="center", fontsize=8, color=tone)


def _draw_verdicts(axes: Axes, report: Report) -> None:
    _lines(axes, 1.9 * len(report.verdicts) + 1.5)
    axes.text(0.0, 0.6, "condition", color=GREY, fontsize=8, va="center")
    axes.text(0.33, 0.6, "verdict", color=GREY, fontsize=8, va="center")
    for row, verdict in enumerate(report.verdicts):
        y = 1.6 + 1.9 * row
        color = OUTCOME_COLORS[verdict.verdict]
        axes.text(0.0, y, f" {verdict.id}", va="center")
        axes.text(0.33, y, outcome(verdict.verdict), va="center", color=color, fontweight="bold")
        axes.text(0.33, y + 0.85, _cut(verdict.why, 95), va="center", fontsize=8, color="#444444")


def _cut(text: str, length: int) -> str:
    return symbols(textwrap.shorten(text, length, placeholder=" …"))
