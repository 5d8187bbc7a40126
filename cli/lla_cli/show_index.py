"""``lla show index.h5``: what of a batch failed, its trends, its outliers and its main numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from lla.batch.layout import Trends
    from lla.batch.reading import Index, Metric

__all__ = ["show_index"]

_STYLES = {"failed": "bold red", "unreadable": "bold red", "stopped": "yellow", "waiting": "dim"}
_TELLING = {"rises": "bold", "falls": "bold", "open": "yellow"}
_PLAIN = ("rises", "falls", "none", "constant")  # what these mean is told once
_READING = "rises, falls: whatever the values within their intervals, p corrected"
_SAID = {"none": "none shown", "few": "too few values", "unordered": "no order"}
_MOST_ROWS = 30
_MOST_COLUMNS = 4


def show_index(path: str, *, json: bool, verbose: bool, verify: bool) -> str:
    """Print an index, or its JSON document.

    Args:
        path: The file.
        json: Print the document.
        verbose: Print all trends, and all checkpoints.
        verify: Check the whole file against the digest that it states.

    Returns:
        That digest, or "".

    Raises:
        ReportError: It is damaged, or of another schema.
    """
    from lla.batch.documents import index_document
    from lla.batch.reading import read_index
    from lla_cli.terminal import console, print_document

    index = read_index(path, verify=verify)
    if json:
        print_document(index_document(index))
        return index.sha256
    out = console()
    _head(out, index)
    _unfinished(out, index)
    _trends(out, index, verbose=verbose)
    _outliers(out, index)
    _numbers(out, index, verbose=verbose)
    _further(out, index, verbose=verbose)
    return index.sha256


def _plain(text: str) -> str:
    """Text of a file as one line without control characters and without markup."""
    from rich.markup import escape

    from lla.errors import printable

    return escape(printable(text))


def _head(out: Console, index: Index) -> None:
    table = index.checkpoints
    counts = Counter(table.status)
    runs = len(set(table.run))
    told = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    out.print(f"[bold]{_plain(index.path)}[/bold]", overflow="fold")
    words = "1 checkpoint" if len(table.name) == 1 else f"{len(table.name)} checkpoints"
    of = "1 run" if runs == 1 else f"{runs} runs"
    out.print(f"[dim]{words} of {of}: {_plain(told)}[/dim]", overflow="fold")


def _grid() -> Table:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(overflow="fold")
    grid.add_column(overflow="fold")
    grid.add_column(overflow="fold")
    return grid


def _unfinished(out: Console, index: Index) -> None:
    table, grid = index.checkpoints, _grid()
    for name, status, reason, remedy in zip(
        table.name, table.status, table.reason, table.remedy, strict=True
    ):
        if status != "done":
            style = _STYLES.get(status, "yellow")
            why = _plain(reason) + (f"\n[dim]{_plain(remedy)}[/dim]" if remedy else "")
            grid.add_row(f"  {_plain(name)}", f"[{style}]{_plain(status)}[/]", why)
    if grid.row_count:
        out.print("\n[bold]not finished[/bold]")
        out.print(grid)


def _trends(out: Console, index: Index, *, verbose: bool) -> None:
    table, grid = index.trends, _grid()
    several = len(set(table.run)) > 1
    quiet: Counter[str] = Counter()
    for at, verdict in enumerate(table.verdict):
        if verdict not in _TELLING and not verbose:
            quiet[verdict] += 1
            continue
        run = f"\n  [dim]{_plain(table.run[at])}[/dim]" if several else ""
        said = f"[{_TELLING.get(verdict, 'dim')}]{_SAID.get(verdict, verdict)}[/]"
        grid.add_row(f"  {_plain(table.path[at])}{run}", said, _slope(table, at))
    if not table.path:
        return
    out.print("\n[bold]trends[/bold]")
    if grid.row_count:
        out.print(grid)
        out.print(f"[dim]  {_READING}[/dim]", overflow="fold")
    if quiet:
        words = ", ".join(f"{count} {_SAID.get(said, said)}" for said, count in quiet.items())
        out.print(f"[dim]  others: {words}[/dim]", overflow="fold")


def _slope(table: Trends, at: int) -> str:
    """A trend's slope and how strict its order is; the reason where the verdict needs one."""
    from lla.estimate import Estimate
    from lla.numbers import interval, number

    slope, low, high = (float(part[at]) for part in (table.slope, table.low, table.high))
    lines = []
    if not math.isnan(slope):
        p = number(float(table.p_holm[at]), 2)
        lines.append(f"{interval(Estimate(slope, low, high))} per {table.axis[at]}, p {p}")
    why = table.why[at]
    if table.verdict[at] not in _PLAIN or ";" in why:  # some are not comparable
        lines.append(f"[dim]{_plain(why)}[/dim]")
    return "\n".join(lines)


def _outliers(out: Console, index: Index) -> None:
    table, grid = index.outliers, _grid()
    if not table.path:
        return
    out.print("\n[bold]unlike the others[/bold]")
    for row, path, why in zip(table.row, table.path, table.why, strict=True):
        name = _plain(index.checkpoints.name[int(row) - 1])
        grid.add_row(f"  {name}", _plain(path), f"[yellow]{_plain(why)}[/yellow]")
    out.print(grid)


def _numbers(out: Console, index: Index, *, verbose: bool) -> None:
    """The headline metrics, a row for each checkpoint that is done."""
    from rich.table import Table

    shown = list(_headlines(index))[: None if verbose else _MOST_COLUMNS]
    done = [at for at, status in enumerate(index.checkpoints.status) if status == "done"]
    if not shown or not done:
        return
    grid = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    grid.add_column("  checkpoint", overflow="fold")
    for title, _ in shown:
        grid.add_column(_plain(title), justify="right")
    rows = done if verbose else done[:_MOST_ROWS]
    for at in rows:
        cells = (_value(metric, at) for _, metric in shown)
        grid.add_row(f"  {_plain(index.checkpoints.name[at])}", *cells)
    out.print()
    out.print(grid)
    if len(rows) < len(done):
        out.print(f"[dim]  and {len(done) - len(rows)} more (all: -v)[/dim]")


def _headlines(index: Index) -> Iterator[tuple[str, Metric]]:
    from lla.analyses.registry import available
    from lla.batch.layout import Numbers

    titles = {
        f"{analysis.group}/{name}": title
        for analysis in available().values()
        for name, title in analysis.headline
    }
    for metric in index.metrics:
        if metric.path in titles and isinstance(metric.values, Numbers):
            yield titles[metric.path], metric


def _value(metric: Metric, at: int) -> str:
    from lla.estimate import Estimate
    from lla.numbers import spread

    values: Any = metric.values
    value, low, high = (float(getattr(values, name)[at]) for name in ("value", "low", "high"))
    if math.isnan(value):
        return "[dim]-[/dim]"
    text = _plain(spread(Estimate(value, low, high), ends=False))
    return text if values.converged[at] else f"[yellow]{text}[/yellow]"


def _further(out: Console, index: Index, *, verbose: bool) -> None:
    name = _plain(index.path)
    if not verbose:
        out.print(f"\nall trends:  lla show -v {name}", style="dim", soft_wrap=True)
        out.print(f"all numbers: lla show --json {name}", style="dim", soft_wrap=True)
