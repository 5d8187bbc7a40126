"""One printable page, A4 or less, that answers a reader's questions about a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lla.analyses.landscape import LandscapeResult
from lla.analyses.spectrum import SpectrumResult
from lla.estimate import Estimate, Label, alike
from lla.numbers import confidence, metric, outcome
from lla.report import Report
from lla_plots.advice import Step, steps
from lla_plots.layers import draw_traces, largest
from lla_plots.maps import draw_map
from lla_plots.parts import Section
from lla_plots.phrases import capital
from lla_plots.plane import masked_loss
from lla_plots.sections import sections
from lla_plots.sheet import Look, Sheet
from lla_plots.spectrum import draw_density
from lla_plots.stability import MARKERS
from lla_plots.style import GREY, OUTCOME_COLORS, WARNING, drawn_at, root, size, styled
from lla_plots.text import fitted, symbols, text_width

__all__ = ["figure", "headline"]

_A4 = 210.0
_LAYERS = 8
_STEPS = 4
_ROWS = 28
_VERDICTS = 8
_APART = 0.25
_NAMES, _VALUES = 1.42, 2.0
_DENSITY = 1.6
_LEAST, _MOST = 1.0, 2.5
_PLACES = 2.3

_HEADING = 0.39
# Sections that the page shows in their own way, the baseline's among the numbers.
_PLACED = {"baseline", "sharpness", "confidence", "stability", "layers", "landscape"}
_FAINT = Look("small", GREY)


def headline(report: Report) -> list[tuple[str, Estimate | Label]]:
    """The metrics that a summary shows, by path, in the order that the analyses wish."""
    metrics = report.metrics
    return [
        (path, metrics[path])
        for analysis, _ in report.analyses()
        for path in (f"{analysis.group}/{name}" for name in analysis.summary)
        if path in metrics
    ]


def figure(report: Report) -> Figure:
    """Draw the page: how sharp, how sure, stable or not, which layers, what to do next.

    As wide as A4; as tall where there is as much to say, and no taller than what it says.
    """
    with drawn_at(_A4):
        return _page(report)


@styled
def _page(report: Report) -> Figure:
    name = report.checkpoint.path.rpartition("/")[2] or "live module"
    sheet = Sheet(name, ": what the loss looks like around it", report.caption)
    told = {section.id: section for _, section in sections(report)}
    results = {type(result): result for _, result in report.analyses()}
    spectrum, plane = results.get(SpectrumResult), results.get(LandscapeResult)
    if spectrum is not None and "sharpness" in told:
        _sharpness(sheet, told["sharpness"], spectrum)
    _sureness(sheet, told["confidence"], headline(report))
    if "stability" in told:
        _stability(sheet, told["stability"], report)
    found = steps(report)
    count = _steps_that_fit(sheet, found, sheet.left_over - _PLACES)
    height = sheet.left_over - _next_height(sheet, found, count)
    _places(sheet, told, spectrum, plane, height)
    _others(sheet, told.values(), sheet.left_over - _next_height(sheet, found, count))
    _next(sheet, found, count)
    sheet.cut()
    return sheet.figure


def _sharpness(sheet: Sheet, section: Section, result: SpectrumResult) -> None:
    top, half = sheet.y, 0.42 * sheet.width
    with sheet.column(half + _APART, sheet.width - half - _APART):
        # Room for the legend.
        sheet.y += 0.42
        axes = sheet.axes(_DENSITY, 0.5)
        draw_density(axes, result)
        axes.legend(
            loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, fontsize=size("tiny"),
            borderaxespad=0.1, borderpad=0.1, labelspacing=0.2,
        )  # fmt: skip
        _shrink(axes)
    with sheet.column(0.0, half):
        sheet.heading(section.question)
        sheet.paragraph(section.lead)
        text_end = sheet.y
    sheet.y = max(top + 0.42 + _DENSITY, text_end)


def _sureness(sheet: Sheet, section: Section, rows: list[tuple[str, Estimate | Label]]) -> None:
    sheet.heading(section.question)
    sheet.paragraph(section.lead)
    for note in section.notes:
        sheet.paragraph(note, Look("small", WARNING, most=2))
    shown = rows[:_ROWS]
    per_column = -(-len(shown) // 2)
    width = (sheet.width - _APART) / 2
    end = sheet.y
    for column, part in enumerate((shown[:per_column], shown[per_column:])):
        with sheet.column(column * (width + _APART), width):
            for path, value in part:
                sheet.row(_cells(path, value))
            end = max(end, sheet.y)
    sheet.y = end
    if any(
        isinstance(value, Estimate) and value.exists and not value.converged for _, value in shown
    ):
        sheet.paragraph("* not converged: the interval is wider than was asked for.", _FAINT)
    if len(rows) > len(shown):
        sheet.paragraph(f"… and {len(rows) - len(shown)} more in the report.", _FAINT)


def _cells(path: str, value: Estimate | Label) -> list[tuple[float, str, Look]]:
    tiny = Look("tiny")
    name = (0.0, path, tiny)
    if isinstance(value, Label):
        return [name, (_NAMES, metric(value), tiny)]
    if not value.exists:
        return [name, (_NAMES, metric(value), Look("tiny", GREY))]
    look = tiny if value.converged else Look("tiny", WARNING)
    sure = confidence(value).replace(", not converged", "*").replace("not converged", "*")
    number = metric(value)
    # Where both have no room, the number matters; its interval says most of the rest.
    both = f"{number}  {sure}"
    fits = text_width(both, size("tiny")) < _VALUES
    return [name, (_NAMES, both if fits else number, look)]


def _stability(sheet: Sheet, section: Section, report: Report) -> None:
    sheet.heading(section.question)
    sheet.paragraph(section.lead)
    groups = alike(report.verdicts)
    for said, why, verdicts in groups[:_VERDICTS]:
        color = OUTCOME_COLORS[said]
        names = ", ".join(one.id.rpartition(".")[2].replace("_", " ") for one in verdicts)
        top = sheet.y
        sheet.mark(MARKERS[said], color, hollow=said == "not_applicable")
        bold = Look("small", color, bold=True, indent=0.17, most=4)
        with sheet.column(0.0, 2.5):
            sheet.paragraph(f"{outcome(said)}: {names}", bold, gap=0.02)
            name_end = sheet.y
        with sheet.column(2.5, sheet.width - 2.5):
            sheet.paragraph(why, Look("small", most=2), gap=0.02)
            sheet_end = sheet.y
        sheet.y = max(top, name_end, sheet_end)
    hidden = sum(len(verdicts) for *_, verdicts in groups[_VERDICTS:])
    if hidden > 0:
        sheet.paragraph(f"… and {hidden} more in the report.", _FAINT)


def _places(
    sheet: Sheet, told: dict[str, Section], spectrum: Any, plane: Any, height: float
) -> None:
    """Which layers, and the plane, side by side, in the height that is left."""
    start = sheet.y
    width = (sheet.width - _APART) / 2
    end = start
    if spectrum is not None and "layers" in told:
        with sheet.column(0.0, width):
            tall = _room(sheet, told["layers"], height)
            if tall:
                chosen = largest(spectrum.layers, max(1, min(_LAYERS, int((tall - 0.42) / 0.17))))
                axes = sheet.axes(min(tall, 0.45 + 0.24 * len(chosen)), 1.15)
                draw_traces(axes, spectrum.layers, chosen, 1.1)
                axes.set_xlabel("trace (loss units), interval; share")
                _shrink(axes)
            end = max(end, sheet.y)
    if plane is not None and "landscape" in told:
        with sheet.column(width + _APART if end > start else 0.0, width):
            tall = _room(sheet, told["landscape"], height)
            if tall and plane.surface is not None and masked_loss(plane).count():
                axes = sheet.axes(tall, 0.55, 0.4, 0.55)
                draw_map(axes, plane)
                names = f"α: {_direction(plane, 0)}, β: {_direction(plane, 1)}"
                axes.set_xlabel(f"α (parameter norm)\n{names}")
                axes.set_ylabel("β")
                axes.xaxis.set_major_locator(MaxNLocator(5))
                axes.yaxis.set_major_locator(MaxNLocator(5))
                _shrink(axes)
            end = max(end, sheet.y)
    sheet.y = end


def _others(sheet: Sheet, told: Iterable[Section], room: float) -> None:
    """What the page has no place of its own for, as far as there is room."""
    for section in told:
        if section.id in _PLACED or not section.lead:
            continue
        look = Look(most=4)
        height = _HEADING + sheet.height_of(section.lead, look)
        if height > room:
            return
        sheet.heading(section.question)
        sheet.paragraph(section.lead, look)
        room -= height


def _direction(plane: LandscapeResult, index: int) -> str:
    return symbols(fitted(plane.axes.names[index], 1.5, size("tiny")))


def _room(sheet: Sheet, section: Section, height: float) -> float:
    """Write the section's text; the height left for its plot, 0 where that is too little."""
    top = sheet.y
    sheet.heading(section.question)
    # The shortest answer: the plots below take the room.
    answer = f"{capital(section.answer)}." if section.answer else section.lead
    sheet.paragraph(answer, Look(most=4))
    for note in section.notes:
        sheet.paragraph(note, Look("small", WARNING, most=3))
    rest = height - (sheet.y - top)
    return min(rest, _MOST) if rest >= _LEAST else 0.0


def _shrink(axes: Axes) -> None:
    """Labels as small as the page's small print."""
    for panel in root(axes).axes:
        panel.tick_params(labelsize=size("tiny"))
        for label in (panel.xaxis.label, panel.yaxis.label):
            label.set_fontsize(size("tiny"))


def _next_lines(found: tuple[Step, ...], most: int) -> list[tuple[str, Look]]:
    lines: list[tuple[str, Look]] = []
    for number, step in enumerate(found[:most], start=1):
        lines.append((f"{number}. {step.text}", Look(most=3)))
        if step.command:
            lines.append((step.command, Look("small", "#444444", indent=0.17, most=4, whole=True)))
    if len(found) > most:
        lines.append((f"… and {len(found) - most} more: see lla report.", _FAINT))
    return lines


def _steps_that_fit(sheet: Sheet, found: tuple[Step, ...], room: float) -> int:
    """How many steps there is room for, the first always."""
    counts = range(min(len(found), _STEPS), 1, -1)
    return next((count for count in counts if _next_height(sheet, found, count) <= room), 1)


def _next_height(sheet: Sheet, found: tuple[Step, ...], most: int) -> float:
    lines = _next_lines(found, most)
    return _HEADING + sum(sheet.height_of(text, look) for text, look in lines)


def _next(sheet: Sheet, found: tuple[Step, ...], most: int) -> None:
    sheet.heading("What to do next")
    for text, look in _next_lines(found, most):
        sheet.paragraph(text, look)
