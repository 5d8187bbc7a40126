"""Figures of reports against a reference: what changed, and the reports over each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from lla.comparing import Change, Comparison
from lla.comparing.wording import names_of
from lla.errors import ConfigurationError, ReportError
from lla.numbers import number
from lla_plots.draw import render, write
from lla_plots.overlays import (
    NAME,
    WIDTH,
    common_caption,
    draw_cuts,
    draw_layers,
    draw_spectra,
    report_style,
)
from lla_plots.style import new_figure, styled
from lla_plots.text import short, symbols

__all__ = ["FORMATS", "figures", "save"]

FORMATS = ("png", "svg", "pdf")


@styled
def figures(comparisons: Sequence[Comparison]) -> dict[str, Figure]:
    """Draw reports over their reference.

    Args:
        comparisons: Each with the same reference.

    Returns:
        ``changes``, ``spectra``, ``layers`` and ``cuts``: those that there is something to draw of
        in the reference and at least one other report.
    """
    reports = [comparisons[0].reference, *(one.other for one in comparisons)]
    names = names_of(reports)
    found = {
        "changes": _changes(comparisons, names),
        "spectra": draw_spectra(reports, names),
        "layers": draw_layers(reports, names),
        "cuts": draw_cuts(reports, names),
    }
    return {name: figure for name, figure in found.items() if figure is not None}


def save(
    comparisons: Sequence[Comparison], folder: str | Path, formats: Sequence[str] = ("png",)
) -> list[Path]:
    """Write the figures to files; each replaces its former version only when it is complete.

    Raises:
        ConfigurationError: A format is unknown.
        ReportError: The folder cannot be written.
    """
    for kind in formats:
        if kind not in FORMATS:
            raise ConfigurationError(
                f"'{kind}' is not a format of figures", f"choose among: {', '.join(FORMATS)}"
            )
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        return [
            write(place / f"{name}.{kind}", render(figure, kind))
            for name, figure in figures(comparisons).items()
            for kind in formats
        ]
    except OSError as error:
        raise ReportError(
            f"figures cannot be written to '{place}': {error.strerror or error}",
            "choose another folder: -o FOLDER",
        ) from None


def _changes(comparisons: Sequence[Comparison], names: Sequence[str]) -> Figure | None:
    """Each metric as a multiple of the reference's, with its interval."""
    rows = [
        change.path
        for change in comparisons[0].shown
        if any(_as_factor(comparison, change.path) for comparison in comparisons)
    ]
    if not rows:
        return None
    count = len(comparisons)
    figure = new_figure(
        WIDTH,
        1.75 + (0.16 + 0.09 * count) * len(rows),
        common_caption([comparisons[0].reference, *(one.other for one in comparisons)], names),
    )
    axes = figure.subplots()
    for index, comparison in enumerate(comparisons):
        color, _ = report_style(index + 1, count + 1)
        offset = 0.7 * ((index + 0.5) / count - 0.5)
        for row, path in enumerate(rows):
            change = _as_factor(comparison, path)
            if change is None:
                continue
            relative = change.relative
            low, high = max(1 + relative.low, 1e-9), 1 + relative.high
            axes.hlines(row + offset, low, high, color=color, lw=1.6)
            face = color if change.differs else "white"
            axes.plot(1 + relative.value, row + offset, "o", ms=5, color=color, mfc=face, mew=1.2)
        label = symbols(short(names[index + 1], NAME))
        axes.plot([], [], "o-", ms=5, color=color, label=label)
    axes.plot([], [], "o", ms=5, mec="black", mfc="white", mew=1.2, label="no difference shown")
    axes.set_xscale("log")
    _mark_factors(axes)
    axes.axvline(1, color="black", lw=0.8, zorder=0)
    axes.set_yticks(range(len(rows)), [symbols(path) for path in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(symbols(f"multiple of {short(names[0], NAME)}, with its interval"))
    axes.set_title("What changed")
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside upper right", ncols=min(3, count + 1)
    )
    return figure


def _as_factor(comparison: Comparison, path: str) -> Change | None:
    """A metric's change, if it is a positive multiple with an interval that can be drawn."""
    try:
        change = comparison[path]
    except KeyError:
        return None
    relative = change.relative
    drawable = relative.exists and relative.value > -1 and math.isfinite(relative.high)
    same_sign = change.reference.value > 0
    return change if drawable and same_sign and change.outcome != "equal" else None


def _mark_factors(axes: Axes) -> None:
    """Ticks that say ×½ and ×10 rather than powers."""
    low, high = axes.get_xlim()
    low, high = min(low, 0.9), max(high, 1.1)
    axes.set_xlim(low, high)
    steps = (1, 2, 5) if high / low < 1e3 else (1,)
    ticks = [
        step * 10.0**power
        for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for step in steps
    ]
    if high / low < 4:
        ticks = [0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0]
    axes.set_xticks([tick for tick in ticks if low <= tick <= high])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"×{number(value, 3)}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
