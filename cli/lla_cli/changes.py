"""Comparisons on the terminal: what changed first, then what did not, and why not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from lla.comparing import Change, Comparison, Gate, Words
from lla.comparing.wording import (
    OUTCOMES,
    change_text,
    counted,
    draws,
    group_of,
    lacking,
    level,
    names_of,
    notes,
    outcome_text,
)
from lla.errors import printable
from lla.estimate import Estimate
from lla.numbers import outcome, spread
from lla_cli.terminal import console as make_console

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["print_comparisons"]

_PATHS = 28
_LONGEST = 35  # of the metrics' paths
_DIGITS = 4
_CELL = 17
_FEW = 6
_GATE = {
    "passed": ("green", "not worse"),
    "failed": ("bold red", "worse"),
    "inconclusive": ("yellow", "it cannot be said whether it is worse"),
}
_STYLES = {"larger": "bold", "smaller": "bold", "not_shown": "dim", "equal": "dim"}


def print_comparisons(
    comparisons: Sequence[Comparison], *, verbose: bool = False, judged: Gate | None = None
) -> None:
    """Print reports against a reference.

    Args:
        comparisons: Each with the same reference.
        verbose: All metrics, and every layer's trace.
        judged: The gate's answer, if it was asked for.
    """
    console = make_console()
    names = [
        _plain(name)
        for name in names_of([comparisons[0].reference, *(one.other for one in comparisons)])
    ]
    if len(comparisons) == 1:
        _print_pair(console, comparisons[0], names, verbose=verbose)
    else:
        _print_trend(console, comparisons, names, verbose=verbose)
    if judged is not None:
        style, words = _GATE[judged.status]
        console.print(f"\n[{style}]{words}[/]")
        for reason in judged.reasons:
            console.print(f"  {_plain(reason)}", overflow="fold")


def _print_pair(
    console: Console, comparison: Comparison, names: Sequence[str], *, verbose: bool
) -> None:
    console.print(f"[bold]{names[1]}[/bold] against [bold]{names[0]}[/bold]", overflow="fold")
    for name, report in zip(names, (comparison.reference, comparison.other), strict=True):
        console.print(f"[dim]{name}: {_plain(report.caption)}[/dim]", overflow="fold")
    changes = [one for one in comparison.changes if not one.absent] if verbose else comparison.shown
    console.print(f"\n{counted(changes)}")
    for key in ("larger", "smaller", "not_shown"):
        chosen = [change for change in changes if change.outcome == key]
        if chosen:
            console.print(f"\n[{_STYLES[key]}]{OUTCOMES[key]}[/]")
            console.print(_table(chosen, verbose=verbose))
    gone = lacking(comparison.changes)
    for key in ("equal", "not_comparable", "missing"):
        chosen = [change for change in changes if change.outcome == key]
        if chosen:
            console.print(f"\n[dim]{OUTCOMES[key]}[/dim]")
            console.print(_values(one for one in chosen if group_of(one) not in gone))
    _print_lacking(console, gone)
    _print_words(console, [*comparison.verdicts, *comparison.labels])
    _print_layers(console, comparison, verbose=verbose)
    _print_notes(console, [*notes(comparison), *_levels(comparison, changes), draws(comparison)])


def _table(changes: Sequence[Change], *, verbose: bool) -> Table:
    from rich.table import Table

    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 1, 0, 0))
    # Numbers keep their columns; a name that is too long goes on in the next line.
    table.add_column("  metric", overflow="fold")
    for name in ("reference", "other", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    if verbose:
        table.add_column("sure", overflow="fold")
    for change in changes:
        cells = [
            f"  {_name(change)}",
            _value(change.reference),
            _value(change.other),
            _moved(change) + ("*" if outcome_text(change).endswith("*") else ""),
        ]
        table.add_row(*cells, *([level(change)] if verbose else []))
    return table


def _values(changes: Iterable[Change]) -> Table:
    """Values side by side, of what has no difference."""
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(overflow="fold", max_width=_LONGEST + 2)
    table.add_column(justify="right", overflow="fold")
    table.add_column(overflow="fold")
    for change in changes:
        first, second = (_value(one) for one in (change.reference, change.other))
        values = (first, "") if change.outcome == "equal" else (first, f"and {second}")
        if change.outcome == "missing":
            values = (first, f"and {second}: {_plain(change.why)}")
        table.add_row(f"  {_name(change)}", *values)
    return table


def _print_lacking(console: Console, gone: Mapping[str, str]) -> None:
    """Groups of metrics that a report lacks as a whole."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    for column in (_PATHS, None):
        table.add_column(overflow="fold", max_width=column)
    for group, why in gone.items():
        table.add_row(f"  all of {_plain(group)}", _plain(why))
    if gone:
        console.print(table)


def _print_trend(
    console: Console, comparisons: Sequence[Comparison], names: Sequence[str], *, verbose: bool
) -> None:
    """A block for each metric, a line for each report."""
    from rich.table import Table

    console.print(
        f"[bold]{len(comparisons)} reports[/bold] against [bold]{names[0]}[/bold]", overflow="fold"
    )
    for comparison, name in zip(comparisons, names[1:], strict=True):
        changes = comparison.changes if verbose else comparison.shown
        console.print(f"  {name}: {counted(changes)}", overflow="fold")
    paths = dict.fromkeys(
        change.path
        for comparison in comparisons
        for change in (comparison.changes if verbose else comparison.shown)
    )
    for path in paths:
        rows = [comparison[path] for comparison in comparisons]
        if all(change.absent or change.outcome == "equal" for change in rows):
            continue
        console.print(f"\n[bold]{path}[/bold]")
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(overflow="fold", max_width=_PATHS)
        for justify in ("right", "right", "left"):
            table.add_column(justify=justify, overflow="fold")
        table.add_row(f"  {names[0]}", _value(rows[0].reference), "", "[dim]reference[/]")
        for change, name in zip(rows, names[1:], strict=True):
            words = f"[{_STYLES.get(change.outcome, 'dim')}]{outcome_text(change)}[/]"
            table.add_row(f"  {name}", _value(change.other), _moved(change), words)
        console.print(table)
    for comparison, name in zip(comparisons, names[1:], strict=True):
        _print_words(console, [*comparison.verdicts, *comparison.labels], name)
    told: dict[str, list[str]] = {}
    for comparison, name in zip(comparisons, names[1:], strict=True):
        for note in (*notes(comparison), draws(comparison)):
            told.setdefault(note, []).append(name)
    everywhere = len(comparisons)
    _print_notes(
        console,
        [
            note if len(about) == everywhere else f"{', '.join(about)}: {note}"
            for note, about in told.items()
        ],
    )


def _print_words(console: Console, words: Iterable[Words], name: str = "") -> None:
    from lla_cli.show import STYLES

    changed = [one for one in words if one.outcome == "changed"]
    if not changed:
        return
    console.print(f"\n[bold]verdicts that changed[/bold]{f' in {name}' if name else ''}")
    for one in changed:
        first, second = (
            f"[{STYLES.get(text, '')}]{_plain(outcome(text))}[/]" if text in STYLES
            else _plain(outcome(text))
            for text in (one.reference, one.other)
        )  # fmt: skip
        console.print(f"  {_plain(one.id)}: {first} → {second}", overflow="fold")
        if one.why:
            console.print(f"    [dim]{_plain(one.why)}[/dim]", overflow="fold")


def _print_layers(console: Console, comparison: Comparison, *, verbose: bool) -> None:
    """The layers whose traces changed the most, or all of them."""
    layers = [layer for layer in comparison.layers if layer.difference.exists]
    if not layers:
        return
    chosen = layers
    if not verbose and len(layers) > _FEW:
        moved = sorted(layers, key=lambda layer: -abs(layer.difference.value))[:_FEW]
        chosen = [layer for layer in layers if layer in moved]
    console.print("\n[bold]trace by layer[/bold]")
    console.print(_table(chosen, verbose=verbose))
    if len(chosen) < len(layers):
        console.print(f"[dim]  {len(layers) - len(chosen)} that changed less left out[/dim]")


def _levels(comparison: Comparison, changes: Iterable[Change]) -> list[str]:
    """At what confidence the intervals hold, exceptions by name."""
    found: dict[str, list[str]] = {}
    for change in changes:
        if change.difference.exists and level(change) not in ("", "certified", "exact"):
            found.setdefault(level(change), []).append(change.path)
    words = [f"{text}: {_plain(', '.join(paths))}" for text, paths in found.items()]
    return [f"± is certified, except at {'; at '.join(words)}"] if words else []


def _print_notes(console: Console, lines: Iterable[str]) -> None:
    console.print()
    for line in lines:
        console.print(f"[dim]{_plain(line)}[/dim]", overflow="fold")


def _value(estimate: Estimate) -> str:
    """A value that fits its column."""
    text = spread(estimate, _DIGITS)
    return text if len(text) <= _CELL else spread(estimate, _DIGITS, ends=False)


def _moved(change: Change) -> str:
    text = change_text(change)
    return text if len(text) <= _CELL else change_text(change, ends=False)


def _name(change: Change) -> str:
    path = change.path
    if path.startswith("hessian/layers/"):
        path = path.removeprefix("hessian/layers/").removesuffix("/trace")
    return _plain(path)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(printable(text))
