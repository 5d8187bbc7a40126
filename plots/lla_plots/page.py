"""One HTML page of a report: opens from a file, loads nothing from any network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from lla.errors import ReportError
from lla.numbers import outcome
from lla.report import Report
from lla.report.storage import refuse_page
from lla_plots import advice, commands, provenance, scripts
from lla_plots.draw import write
from lla_plots.parts import Section, Shown
from lla_plots.pictures import Picture, drawn, still
from lla_plots.sections import sections
from lla_plots.text import said

__all__ = ["Overview", "Page", "html", "name_of", "page", "write_html", "write_page"]


@dataclass(frozen=True)
class Overview:
    """A question with its shortest answer, for the list that opens the page."""

    id: str
    question: str
    answer: str
    outcome: str
    words: str


@dataclass(frozen=True)
class Page:
    """A page: its text, and the first of its figures for an index.

    Attributes:
        html: The text.
        pictures: All its pictures, those that can be turned or pointed at first.
    """

    html: str
    pictures: tuple[Picture, ...]


def html(report: Report) -> str:
    """The page as text: figures, tables and scripts inlined, nothing loaded from anywhere."""
    return page(report).html


def page(report: Report, plotly: scripts.Plotly | None = None, index: str = "") -> Page:
    """The page, with the library that its figures need.

    Args:
        report: What to show.
        plotly: Where plotly.js is; by default within the page.
        index: Address of the index that lists the page, or "".
    """
    placed = _placed(report)
    pictures = [picture for _, found in placed for picture in found]
    library = (plotly or scripts.inlined()) if any(p.plot for p in pictures) else None
    content = scripts.render(
        "page.html.jinja",
        library,
        name=name_of(report),
        caption=report.caption,
        index=index,
        overview=[_overview(section) for section, _ in placed],
        sections=placed,
        steps=advice.steps(report),
        lead=provenance.lead(report),
        again=commands.repeat(report),
        facts=provenance.facts(report),
        stages=provenance.stages(report),
        settings=provenance.settings(report),
    )
    return Page(content, tuple(sorted(pictures, key=lambda picture: picture.plot is None)))


def name_of(report: Report) -> str:
    """What the page calls the checkpoint."""
    return report.checkpoint.path.rpartition("/")[2] or "live module"


def write_html(report: Report, path: str | Path) -> Path:
    """Write the page; a former page is replaced, once the new one is complete, and nothing else.

    Raises:
        ReportError: The file cannot be written, or is there already and no page of a report.
    """
    refuse_page(Path(path))
    return write_page(Path(path), html(report))


def write_page(target: Path, content: str) -> Path:
    """Write a page's text all at once.

    Raises:
        ReportError: The file cannot be written; a former page is as it was.
    """
    try:
        return write(target, content.encode())
    except OSError as error:
        raise ReportError(
            f"the page cannot be written to '{target}': {error.strerror or error}",
            "choose another file with --output",
        ) from None


def _placed(report: Report) -> list[tuple[Section, tuple[Picture, ...]]]:
    """Each section with its pictures; figures that no section names go to the analysis' first."""
    results = {analysis.name: (analysis, result) for analysis, result in report.analyses()}
    figures = {
        name: drawn(analysis, result, report.caption)
        for name, (analysis, result) in results.items()
    }
    told = sections(report)
    claimed = {(name, shown.name) for name, section in told for shown in section.figures}
    found = []
    for name, section in told:
        own = figures.get(name, {})
        shown = [item for item in section.figures if item.name in own]
        if next(other for owner, other in told if owner == name) is section:
            shown += [Shown(key) for key in own if (name, key) not in claimed]
        found.append((section, tuple(_picture(item, own) for item in shown)))
    return found


def _picture(shown: Shown, figures: Mapping[str, Figure]) -> Picture:
    figure = figures[shown.name]
    title = shown.title or said(figure, "title") or shown.name.replace("_", " ")
    light, dark = still(figure)
    return Picture(shown.name, title, shown.alt or title, light, dark, shown.plot)


def _overview(section: Section) -> Overview:
    words = outcome(section.outcome) if section.outcome else ""
    return Overview(section.id, section.question, section.answer, section.outcome, words)
