"""What a page is made of, as data: questions with their answers, figures, tables, actions.

An analysis says these of its own result: by its declarations alone, or by functions that
:class:`lla.analyses.analysis.Analysis` names in ``sections`` and ``steps``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["LAST", "Action", "Cell", "Section", "Shown", "Table"]

LAST = 70
"""Rank of a section that does not say its own: after those of the analyses that come with lla."""


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: What it says.
        kind: How it looks, a CSS class: "number", "missing", "warn", "code", "about", or
            "verdict" followed by an outcome.
        code: A name in the report that goes with it, set small.
    """

    text: str
    kind: str = ""
    code: str = ""


@dataclass(frozen=True)
class Table:
    """A table with a head; the first cell of each row heads the row.

    Attributes:
        head: Names of the columns.
        rows: Cells, as many in each row as the head has.
        caption: What the table lists.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""


@dataclass(frozen=True)
class Shown:
    """A figure of an analysis, as the page shows it.

    Attributes:
        name: Its name among those that the analysis' figure function draws.
        title: What it shows, below the figure; by default its name.
        alt: What a reader who does not see it should know.
        plot: ``{"data": …, "layout": …}`` for plotly.js, or None for a still image only.
    """

    name: str
    title: str = ""
    alt: str = ""
    plot: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Section:
    """One question of a reader.

    Attributes:
        id: Anchor, unique on the page.
        question: The heading.
        answer: The shortest answer, a phrase with its number and interval: for the overview.
        lead: The answer in a sentence or two.
        rank: Place on the page; smaller is earlier.
        outcome: A verdict that the answer amounts to, or "".
        notes: What to know before trusting it.
        figures: The figures that show it. One that the analysis has not drawn is left out, and one
            that no section names goes to the first.
        tables: The numbers.
    """

    id: str
    question: str
    answer: str = ""
    lead: str = ""
    rank: float = LAST
    outcome: str = ""
    notes: tuple[str, ...] = ()
    figures: tuple[Shown, ...] = ()
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True)
class Action:
    """One thing to do next.

    Attributes:
        text: What, and why.
        analysis: The analysis to run for it, or "" where there is nothing to run.
        flags: Options by name, as ``{"lr": "0.1"}``, beside those that state the problem.
        urgent: Whether it comes before what is not.
    """

    text: str
    analysis: str = ""
    flags: Mapping[str, str] = field(default_factory=dict)
    urgent: bool = False
