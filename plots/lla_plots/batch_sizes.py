"""Figure of the learning rates that the conditions allow over batch sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter

from lla.analyses.stability import BatchSizes, StabilityResult
from lla.numbers import number
from lla_plots.style import BLACK, OUTCOME_COLORS, narrow, new_figure, page_width, size
from lla_plots.text import symbols

__all__ = ["over_batch_sizes"]

_Styles = dict[int, tuple[str, Any, str]]
_STABLE = "#DDF0EA"
_HEIGHT = {False: 3.2, True: 2.6}
_ROOM = 1.6  # of the learning rates, beyond those that are drawn
_WIDEST = 1e4
# Told apart in grey: by dashes, and by marks at both ends of a line.
_LINES = (
    ("#0072B2", "-", "o"),
    ("#D55E00", (0, (5, 1.5)), "s"),
    ("#009E73", (0, (2, 1.2)), "^"),
    ("#CC79A7", (0, (6, 1.5, 1.5, 1.5)), "D"),
    ("#7A5C00", (0, (1, 1)), "v"),
    ("#56B4E9", (0, (8, 2)), "P"),
    ("#555555", (0, (3, 1, 1, 1, 1, 1)), "X"),
    ("#882255", "-", "p"),
    ("#332288", (0, (5, 1.5)), "<"),
    ("#117733", (0, (2, 1.2)), "h"),
    ("#000000", (0, (6, 1.5, 1.5, 1.5)), ">"),
)


def over_batch_sizes(result: StabilityResult, caption: str) -> dict[str, Figure]:
    """Draw ``stability_batches``; nothing where no condition applies at any batch size."""
    found = result.batch_sizes
    if found is None or not (np.isfinite(found.max_lr) & (found.max_lr > 0)).any():
        return {}
    shown = [
        index
        for index in range(len(found.names))
        if (np.isfinite(found.max_lr[:, index]) & (found.max_lr[:, index] > 0)).any()
    ]
    styles = {index: _LINES[place % len(_LINES)] for place, index in enumerate(shown)}
    figure = new_figure(
        page_width(),
        _HEIGHT[narrow()],
        caption,
        title="Learning rates that stay at these weights, over batch sizes",
        legend=_legend(result, found, styles),
    )
    _draw(figure.subplots(), result, found, styles)
    return {"stability_batches": figure}


def _draw(axes: Axes, result: StabilityResult, found: BatchSizes, styles: _Styles) -> None:
    low, high = _limits(result, found)
    axes.set_xscale("log")
    axes.set_yscale("log")
    sizes = found.batch_size
    known = np.isfinite(found.smallest)
    axes.fill_between(sizes, low, found.smallest, where=known, color=_STABLE, lw=0)
    for index, (color, dashes, mark) in styles.items():
        values = found.max_lr[:, index]
        axes.fill_between(
            sizes, found.low[:, index], np.minimum(found.high[:, index], high), color=color,
            alpha=0.15, lw=0,
        )  # fmt: skip
        drawn = np.flatnonzero(np.isfinite(values))
        ends = [int(drawn[0]), int(drawn[-1])]
        axes.plot(
            sizes, values, color=color, ls=dashes, lw=1.5, marker=mark, ms=4, markevery=ends
        )  # fmt: skip
        if len(drawn) == 1:
            axes.plot(sizes[drawn], values[drawn], mark, color=color, ms=5)
    axes.set_xlim(sizes[0] / 1.15, max(sizes[-1], 2) * 1.15)
    axes.set_ylim(low, high)
    _draw_rate(axes, result, low, high)
    axes.set_xlabel("batch size")
    axes.set_ylabel("learning rate")
    for axis, span in ((axes.xaxis, sizes[-1] / sizes[0]), (axes.yaxis, high / low)):
        if span < 300:
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_minor_formatter(NullFormatter())
        axis.set_major_formatter(lambda x, _: number(x, 2))


def _draw_rate(axes: Axes, result: StabilityResult, low: float, high: float) -> None:
    """The learning rate in use, and how far it is from the edge at its batch size."""
    rate, batch, limit = (e.value for e in (result.lr, result.batch_size, result.sgd_max_lr))
    if not (np.isfinite(rate) and rate > 0):
        return
    axes.axhline(rate, color=BLACK, lw=1.2, ls=(0, (4, 2)), zorder=3)
    if not np.isfinite(batch):
        return
    batch = min(batch, axes.get_xlim()[1] / 1.15)
    inside = not limit < rate
    color = OUTCOME_COLORS["consistent" if inside else "violated"]
    axes.plot(batch, rate, "*", color=BLACK, ms=11, zorder=6)
    if not (np.isfinite(limit) and limit > 0):
        return
    ends = {"arrowstyle": "<->", "color": color, "lw": 1.4, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (batch, rate), (batch, min(max(limit, low), high)), arrowprops=ends, zorder=5)
    times = limit / rate if inside else rate / limit
    words = f"{number(times, 2)} times {'below' if inside else 'above'} the edge"
    right = np.log(batch / axes.get_xlim()[0]) > 0.6 * np.log(
        axes.get_xlim()[1] / axes.get_xlim()[0]
    )
    axes.annotate(
        words, (batch, np.sqrt(rate * limit)), (-6 if right else 6, 0), color=color,
        textcoords="offset points", ha="right" if right else "left", va="center",
        fontsize=size("small"), fontweight="bold", zorder=7,
        bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 0.8},
    )  # fmt: skip


def _limits(result: StabilityResult, found: BatchSizes) -> tuple[float, float]:
    values = np.concatenate((found.max_lr.ravel(), [result.lr.value, result.sgd_max_lr.value]))
    usable = values[np.isfinite(values) & (values > 0)]
    low = float(usable.min())
    return low / _ROOM, min(float(usable.max()), low * _WIDEST) * _ROOM


def _legend(result: StabilityResult, found: BatchSizes, styles: _Styles) -> list[Line2D | Patch]:
    made: list[Line2D | Patch] = [
        Line2D([], [], color=color, ls=dashes, marker=mark, ms=4, lw=1.5,
               label=symbols(found.names[index]))
        for index, (color, dashes, mark) in styles.items()
    ]  # fmt: skip
    if np.isfinite(found.smallest).any():
        made.append(Patch(color=_STABLE, label="all that apply allow it"))
    if result.lr.exists:
        mark = "*" if result.batch_size.exists else "none"
        made.append(
            Line2D(
                [], [], color=BLACK, ls=(0, (4, 2)), lw=1.2, marker=mark, ms=9, label="in use"
            )
        )  # fmt: skip
    return made
