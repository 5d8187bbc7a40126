"""Figure of the stability conditions: the learning rates they allow, and the one in use."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from lla.analyses.stability import StabilityResult
from lla.numbers import number, outcome
from lla_plots.style import BLACK, GREY, OUTCOME_COLORS, new_figure, styled, symbols

__all__ = ["figures"]

_ROW = 0.62
_STABLE = "#DDF0EA"
_WITH_REASON = ("not_applicable", "inconclusive")


@styled
def figures(result: StabilityResult, caption: str) -> dict[str, Figure]:
    """Draw ``stability``; nothing where there are no conditions."""
    count = len(result.conditions.names)
    if not count:
        return {}
    figure = new_figure(6.6, 1.75 + _ROW * count, caption)
    axes = figure.subplots()
    limits = _limits(result)
    axes.set_xscale("log")
    axes.set_xlim(*limits)
    axes.set_ylim(count - 0.4, -0.75)
    for row in range(count):
        _draw_row(axes, result, row, limits)
    _draw_rate(axes, result)
    _finish(axes, result, limits)
    return {"stability": figure}


def _limits(result: StabilityResult) -> tuple[float, float]:
    found = result.conditions
    candidates = np.concatenate((found.max_lr, found.low, found.high, [result.lr.value]))
    usable = candidates[np.isfinite(candidates) & (candidates > 0)]
    if not usable.size:
        return 1e-3, 1.0
    low, high = float(usable.min()), float(usable.max())
    pad = max(1.6, (high / low) ** 0.12)
    return low / pad, high * pad


def _draw_row(axes: Axes, result: StabilityResult, row: int, limits: tuple[float, float]) -> None:
    found = result.conditions
    verdict = found.verdict[row]
    color = OUTCOME_COLORS.get(verdict, BLACK)
    applies = verdict != "not_applicable"
    limit, low, high = (float(ends[row]) for ends in (found.max_lr, found.low, found.high))
    axes.axhline(row, color="#EEEEEE", lw=0.8, zorder=0)
    if limit > 0 and np.isfinite(limit):
        edges = _clipped(low, limits), _clipped(high, limits)
        if applies:
            axes.fill_betweenx([row - 0.28, row + 0.28], limits[0], limit, color=_STABLE, lw=0)
        axes.plot(edges, [row, row], color=color, lw=2.4, solid_capstyle="butt", alpha=0.8)
        for end, edge, mark in ((low, limits[0], "<"), (high, limits[1], ">")):
            if not np.isfinite(end) or not limits[0] <= end <= limits[1]:
                axes.plot(edge, row, mark, color=color, clip_on=False)
        axes.plot(limit, row, "o", ms=7, mfc=color if applies else "white", mec=color, zorder=3)
        words = f"{'stable up to' if applies else 'would allow'} {number(limit)}"
    else:
        words = "any learning rate" if np.isposinf(limit) else "no limit known"
    _say_why(axes, result, row)
    axes.annotate(
        f"{outcome(verdict)}\n", (1.02, row), xycoords=("axes fraction", "data"), va="center",
        color=color, fontweight="bold" if applies else "normal", annotation_clip=False,
    )  # fmt: skip
    axes.annotate(
        f"\n{words}", (1.02, row), xycoords=("axes fraction", "data"), va="center",
        fontsize=8, color="#444444" if applies else GREY, annotation_clip=False,
    )  # fmt: skip


def _say_why(axes: Axes, result: StabilityResult, row: int) -> None:
    if row < len(result.verdicts) and result.verdicts[row].verdict in _WITH_REASON:
        why = textwrap.shorten(result.verdicts[row].why, 80, placeholder=" …")
        place = axes.get_yaxis_transform()
        axes.text(
            0.01,
            row + 0.3,
            symbols(why),
            transform=place,
            va="center",
            fontsize=7,
            color="#666666",
            zorder=5,
            bbox={"fc": "white", "ec": "none", "pad": 0.6},
        )


def _clipped(end: float, limits: tuple[float, float]) -> float:
    if np.isnan(end):
        return float("nan")
    return min(max(end, limits[0]), limits[1])


def _draw_rate(axes: Axes, result: StabilityResult) -> None:
    rate = result.lr.value
    if np.isfinite(rate) and rate > 0:
        axes.axvline(rate, color=BLACK, lw=1.6, ls=(0, (4, 2)), zorder=4)
        left = rate > np.sqrt(np.prod(axes.get_xlim()))
        axes.annotate(
            f"in use: {number(rate)}", (rate, -0.72), xytext=(-4 if left else 4, -3),
            textcoords="offset points", ha="right" if left else "left", va="top",
            fontweight="bold",
        )  # fmt: skip
        return
    words = result.lr.why or "the learning rate in use is unknown"
    axes.text(
        0.01,
        -0.5,
        symbols(words),
        transform=axes.get_yaxis_transform(),
        va="center",
        style="italic",
    )


def _finish(axes: Axes, result: StabilityResult, limits: tuple[float, float]) -> None:
    names = result.conditions.names
    axes.set_yticks(range(len(names)), [symbols(textwrap.fill(name, 22)) for name in names])
    for label, verdict in zip(axes.get_yticklabels(), result.conditions.verdict, strict=True):
        label.set_color(GREY if verdict == "not_applicable" else BLACK)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("learning rate; shaded: stable; points and bars: the limit and its interval")
    if limits[1] / limits[0] < 300:
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(lambda x, _: number(x, 2))
    axes.spines["left"].set_visible(False)
    axes.set_title("Largest stable learning rates")
