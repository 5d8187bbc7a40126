"""Figure of the stability conditions: the learning rates they allow, and the one in use."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter

from lla.analyses.stability import StabilityResult
from lla.numbers import number, outcome
from lla_plots.batch_sizes import over_batch_sizes
from lla_plots.series import draw_series
from lla_plots.style import (
    BLACK,
    OUTCOME_COLORS,
    new_figure,
    page_width,
    size,
    styled,
)
from lla_plots.text import symbols, text_width, wrapped

__all__ = ["MARKERS", "draw_conditions", "figures"]

_STABLE = "#DDF0EA"
_WITH_REASON = ("not_applicable", "inconclusive")
# Told apart in grey as well, and by the word beside each.
MARKERS = {
    "consistent": "o",
    "violated": "X",
    "at_edge": "D",
    "inconclusive": "s",
    "not_applicable": "o",
}
_DASHES = (0, (4, 2))
# Heights of a row's parts, in lines of small text: words above the bar, the bar, a reason's line.
_WORDS, _BAR, _REASON, _GAP = 1.5, 1.0, 1.1, 0.8


@styled
def figures(result: StabilityResult, caption: str) -> dict[str, Figure]:
    """Draw ``stability`` where there are conditions, and ``stability_series`` where asked for."""
    over = draw_series(result.series, caption)
    if not result.conditions.names:
        return over
    known = result.lr.exists
    notes = () if known else (result.lr.why or "the learning rate in use is unknown",)
    title = "Largest stable learning rates"
    if known:
        title += f", and the one in use: {number(result.lr.value)}"
    lines = _tops(result)[1] + 1.0
    figure = new_figure(
        page_width(), lines * _line() + 0.55, caption, title=title, notes=notes,
        legend=_legend(result),
    )  # fmt: skip
    draw_conditions(figure.subplots(), result)
    return {"stability": figure, **over_batch_sizes(result, caption), **over}


def draw_conditions(axes: Axes, result: StabilityResult) -> None:
    """Draw a row for each condition on one logarithmic axis, with its verdict and reason.

    Args:
        axes: Where to.
        result: What to draw.
    """
    limits = _limits(result)
    tops, bottom = _tops(result)
    axes.set_xscale("log")
    axes.set_xlim(*limits)
    axes.set_ylim(bottom, -0.3)
    for row, top in enumerate(tops):
        _draw_row(axes, result, row, top, limits)
    rate = result.lr.value
    if np.isfinite(rate) and rate > 0:
        axes.axvline(rate, color=BLACK, lw=1.5, ls=_DASHES, zorder=4)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("learning rate")
    if limits[1] / limits[0] < 300:
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(lambda x, _: number(x, 2))


def _line() -> float:
    """A line of small text, in inches."""
    return 1.25 * size("small") / 72


def _tops(result: StabilityResult) -> tuple[list[float], float]:
    """Where each row begins, in lines from the top, and where the last ends."""
    tops, y = [], 0.0
    for row in range(len(result.conditions.names)):
        tops.append(y)
        y += _WORDS * _word_lines(result, row) + _BAR + _REASON * len(_reason(result, row)) + _GAP
    return tops, y


def _word_lines(result: StabilityResult, row: int) -> int:
    """Lines for name and verdict: two where both do not fit beside each other."""
    both = f"{result.conditions.names[row]}  {_said(result, row)}"
    return 1 + (text_width(both, size("text")) * 1.15 > 0.96 * page_width())


def _said(result: StabilityResult, row: int) -> str:
    return f"{outcome(result.conditions.verdict[row])}: {_words(result, row)}"


def _reason(result: StabilityResult, row: int) -> list[str]:
    if row >= len(result.verdicts) or result.verdicts[row].verdict not in _WITH_REASON:
        return []
    return wrapped(result.verdicts[row].why, 0.9 * page_width(), size("small"), 3)


def _limits(result: StabilityResult) -> tuple[float, float]:
    found = result.conditions
    candidates = np.concatenate((found.max_lr, found.low, found.high, [result.lr.value]))
    usable = candidates[np.isfinite(candidates) & (candidates > 0)]
    if not usable.size:
        return 1e-3, 1.0
    low, high = float(usable.min()), float(usable.max())
    pad = max(1.6, (high / low) ** 0.12)
    return low / pad, high * pad


def _draw_row(
    axes: Axes, result: StabilityResult, row: int, top: float, limits: tuple[float, float]
) -> None:
    found = result.conditions
    verdict = found.verdict[row]
    color = OUTCOME_COLORS.get(verdict, BLACK)
    applies = verdict != "not_applicable"
    place = axes.get_yaxis_transform()
    lines = _word_lines(result, row)
    name, y = top + _WORDS / 2, top + _WORDS * lines + _BAR / 2
    white = {"fc": "white", "ec": "none", "pad": 0.8}
    axes.text(
        0.0, name, symbols(found.names[row]), transform=place, va="center", fontweight="bold",
        bbox=white, zorder=6,
    )  # fmt: skip
    axes.text(
        2.0 - lines, name + _WORDS * (lines - 1), _said(result, row), transform=place, va="center",
        ha="right" if lines == 1 else "left", color=color, bbox=white, zorder=6,
        fontweight="bold" if applies else "normal",
    )  # fmt: skip
    limit = float(found.max_lr[row])
    if applies and limit > 0:
        right = min(limit, limits[1])
        axes.fill_betweenx([y - _BAR / 2, y + _BAR / 2], limits[0], right, color=_STABLE, lw=0)
    axes.plot(limits, [y, y], color="#CCCCCC", lw=0.7, zorder=0)
    if limit > 0 and np.isfinite(limit):
        _draw_limit(axes, result, row, y, limits)
    for line, reason in enumerate(_reason(result, row)):
        at = y + _BAR / 2 + _REASON * (line + 0.5)
        axes.text(
            0.0, at, symbols(reason), transform=place, va="center", fontsize=size("small"),
            color="#555555", zorder=6, bbox=white,
        )  # fmt: skip


def _words(result: StabilityResult, row: int) -> str:
    limit = float(result.conditions.max_lr[row])
    if np.isposinf(limit):
        return "any learning rate"
    if not limit > 0:
        return "no limit known"
    applies = result.conditions.verdict[row] != "not_applicable"
    return f"{'stable up to' if applies else 'would allow'} {number(limit)}"


def _draw_limit(
    axes: Axes, result: StabilityResult, row: int, y: float, limits: tuple[float, float]
) -> None:
    found = result.conditions
    verdict = found.verdict[row]
    color = OUTCOME_COLORS.get(verdict, BLACK)
    limit, low, high = (float(ends[row]) for ends in (found.max_lr, found.low, found.high))
    edges = [_clipped(low, limits), _clipped(high, limits)]
    axes.plot(edges, [y, y], color=color, lw=2.2, solid_capstyle="butt")
    for end, edge, mark in ((low, limits[0], "<"), (high, limits[1], ">")):
        if np.isnan(end):
            continue
        inside = limits[0] <= end <= limits[1]
        axes.plot(
            end if inside else edge,
            y,
            "|" if inside else mark,
            color=color,
            ms=7,
            mew=1.4,
            clip_on=False,
        )
    face = color if verdict != "not_applicable" else "white"
    axes.plot(
        limit,
        y,
        MARKERS.get(verdict, "o"),
        ms=8 if verdict == "violated" else 6.5,
        mfc=face,
        mec=color,
        zorder=5,
    )


def _clipped(end: float, limits: tuple[float, float]) -> float:
    if np.isnan(end):
        return float("nan")
    return min(max(end, limits[0]), limits[1])


def _legend(result: StabilityResult) -> list[Line2D | Patch]:
    color = "#444444"
    found: list[Line2D | Patch] = [
        Line2D([], [], color=color, marker="o", lw=2.2, label="limit with its interval"),
    ]
    if set(result.conditions.verdict) - {"not_applicable"}:
        found.append(Patch(color=_STABLE, label="stable"))
    if "not_applicable" in result.conditions.verdict:
        words = "limit, if it applied"
        found.insert(
            1, Line2D([], [], color=color, marker="o", mfc="white", ls="none", label=words)
        )
    if result.lr.exists:
        found.append(Line2D([], [], color=BLACK, ls=_DASHES, lw=1.5, label="learning rate in use"))
    return found
