"""Figures of metrics over the runs of a batch: bands of their intervals, outliers marked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter

from lla.batch.gathering import Course, Gathered
from lla.batch.outliers import Outlier
from lla.batch.trends import axis_of
from lla.numbers import number
from lla_plots.overlays import report_style
from lla_plots.style import BLACK, GREY, narrow, new_figure, page_width, size, styled
from lla_plots.text import fitted, symbols, wrapped

__all__ = ["Line", "figure", "lines", "plot"]

_HEIGHT = 1.75  # inches of a panel
_LEGEND = 5
# In no run's colour.
_ODD: dict[str, Any] = {
    "marker": "o", "mfc": "none", "mec": BLACK, "ms": 9, "mew": 1.5, "ls": "none",
    "clip_on": False,
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A run that has an order: what it is drawn by.

    Attributes:
        run: Its name.
        kind: What it is ordered by.
        rows: Its rows, in order.
        position: Of each.
    """

    run: str
    kind: str
    rows: tuple[int, ...]
    position: tuple[float, ...]


def lines(table: Gathered) -> list[Line]:
    """The runs of several checkpoints that have an order."""
    found = []
    for run, members in table.runs.items():
        axis = axis_of(table, members)
        placed = sorted(
            (position, index)
            for index, position in zip(members, axis.position, strict=True)
            if math.isfinite(position) and table.rows[index].status == "done"
        )
        if axis.kind and len(placed) > 1:
            found.append(
                Line(run, axis.kind, tuple(i for _, i in placed), tuple(x for x, _ in placed))
            )
    return found


@styled
def figure(
    courses: Sequence[Course], runs: Sequence[Line], outliers: Sequence[Outlier], caption: str
) -> Figure:
    """Draw metrics over runs, a panel for each metric.

    Args:
        courses: Metrics that have values.
        runs: The runs.
        outliers: Values to mark.
        caption: The footer's text.
    """
    columns = 1 if narrow() else 2
    rows = math.ceil(len(courses) / columns)
    made = new_figure(
        page_width(), _HEIGHT * rows, caption, title=f"Headline metrics by {_axis(runs)}",
        legend=_legend(courses, runs, outliers), notes=_notes(runs),
    )  # fmt: skip
    panels = made.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(courses) :]:
        axes.set_visible(False)
    for axes, course in zip(panels, courses, strict=False):
        _panel(axes, course, runs, [one for one in outliers if one.path == course.path])
    for axes in panels[max(0, len(courses) - columns) : len(courses)]:
        axes.set_xlabel(_axis(runs))
    return made


def _axis(runs: Sequence[Line]) -> str:
    kinds = {run.kind for run in runs}
    return kinds.pop() if len(kinds) == 1 else "position in the run"


def _notes(runs: Sequence[Line]) -> list[str]:
    if len(runs) <= _LEGEND:
        return []
    ends = f"{runs[0].run} to {runs[-1].run}"
    return [f"{len(runs)} runs, from dark to bright in the order of their names: {ends}"]


def _legend(
    courses: Sequence[Course], runs: Sequence[Line], outliers: Sequence[Outlier]
) -> list[Line2D]:
    found = []
    if 1 < len(runs) <= _LEGEND:
        for index, run in enumerate(runs):
            color, style = report_style(index, len(runs))
            label = symbols(fitted(run.run, 0.3 * page_width(), size("small")))
            found.append(Line2D([], [], color=color, ls=style, lw=1.3, label=label))
    shown = {course.path for course in courses}
    if any(one.path in shown for one in outliers):
        found.append(Line2D([], [], label="outlier", **_ODD))
    return found


def _panel(axes: Axes, course: Course, runs: Sequence[Line], odd: Sequence[Outlier]) -> None:
    value, low, high = (course.numbers(name) for name in ("value", "low", "high"))
    drawn = [index for run in runs for index in run.rows]
    log = _log(value[drawn])
    floor = np.nanmin(value[drawn]) / 3 if log else -np.inf
    for number_, run in enumerate(runs):
        color, style = report_style(number_, len(runs))
        chosen, x = list(run.rows), np.array(run.position)
        ends = np.maximum(low[chosen], floor), high[chosen]
        bounded = np.isfinite(ends[0]) & np.isfinite(ends[1])
        axes.fill_between(x, *ends, where=bounded, color=color, alpha=0.2, lw=0)
        # A band between single points has no width: each has its bar as well.
        axes.vlines(x[bounded], ends[0][bounded], ends[1][bounded], color=color, lw=0.9, alpha=0.7)
        dots = 3.0 if len(x) <= 40 else 0.0
        axes.plot(x, value[chosen], color=color, ls=style, lw=1.3, marker="o", ms=dots)
    places = {index: x for run in runs for index, x in zip(run.rows, run.position, strict=True)}
    marked = [one.row for one in odd if one.row in places]
    if marked:  # the extent of an empty line that is not clipped would upset the layout
        axes.plot([places[row] for row in marked], value[marked], **_ODD)
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda y, _: number(y, 2))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y")
    units = f" ({course.units})" if course.units and course.units != course.title else ""
    room = 0.8 * page_width() / (1 if narrow() else 2)
    axes.set_title(symbols("\n".join(wrapped(f"{course.title}{units}", room, size("text"), 2))))


def plot(
    course: Course, runs: Sequence[Line], names: Sequence[str], odd: Sequence[Outlier]
) -> Mapping[str, Any]:
    """A metric over the runs for plotly.js, with its intervals and what to read at each point."""
    value, low, high = (course.numbers(name) for name in ("value", "low", "high"))
    traces: list[dict[str, Any]] = []
    for index, run in enumerate(runs):
        chosen = list(run.rows)
        if not np.isfinite(value[chosen]).any():
            continue
        color, _ = report_style(index, len(runs))
        bars = [np.maximum(high - value, 0)[chosen], np.maximum(value - low, 0)[chosen]]
        traces.append(
            {
                "x": list(run.position),
                "y": _plain(value[chosen]),
                "error_y": {
                    "type": "data", "symmetric": False, "array": _plain(bars[0]),
                    "arrayminus": _plain(bars[1]), "thickness": 1, "width": 3, "color": color,
                },
                "mode": "lines+markers",
                "line": {"color": color, "width": 1.6},
                "marker": {"size": 5},
                "name": run.run,
                "text": [names[row] for row in chosen],
                "hovertemplate": "%{text}<br>%{y:.5g}<extra></extra>",
            }
        )  # fmt: skip
    places = {index: x for run in runs for index, x in zip(run.rows, run.position, strict=True)}
    marked = [one for one in odd if one.row in places]
    if marked:
        traces.append(
            {
                "x": [places[one.row] for one in marked],
                "y": _plain(value[[one.row for one in marked]]),
                "mode": "markers",
                "marker": {
                    "size": 14, "color": "rgba(0,0,0,0)", "line": {"color": GREY, "width": 2},
                },
                "name": "outlier",
                "hoverinfo": "skip",
            }
        )  # fmt: skip
    units = f" ({course.units})" if course.units else ""
    log = _log(value[[row for run in runs for row in run.rows]])
    layout = {
        "xaxis": {"title": {"text": _axis(runs)}},
        "yaxis": {"title": {"text": f"{course.path}{units}"}, "type": "log" if log else "linear"},
        "showlegend": len(traces) > 1,
        "hovermode": "closest",
        "margin": {"t": 30, "r": 10},
    }
    return {"data": traces, "layout": layout}


def _log(values: np.ndarray) -> bool:
    """Whether some would lie at the bottom of a linear axis: positive, and beyond tenfold."""
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() > 0 and finite.max() > 10 * finite.min())


def _plain(values: np.ndarray) -> list[float | None]:
    return [float(x) if math.isfinite(x) else None for x in values]
