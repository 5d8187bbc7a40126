"""``lla show``: a report's summary on the terminal, or its JSON document."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lla_cli.guard import guarded

if TYPE_CHECKING:
    from rich.console import Console

    from lla.analyses.analysis import Analysis
    from lla.report import Report

__all__ = ["STYLES", "add_to", "print_json", "print_summary"]

_SPECTRUM = {"baseline", "spectrum"}
STYLES = {
    "violated": "bold red",
    "at_edge": "yellow",
    "inconclusive": "yellow",
    "consistent": "green",
    "not_applicable": "dim",
}
_NAMES = 20
_VALUES = 33
_FEW_LAYERS = 6
_READING = "each number with the interval that holds it: always (certified), or at 95 %, say"
_MOST_LAYERS = 20


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("show", help="Show a report, or a batch's index, on the terminal.")(_show)


def _show(
    report: Annotated[
        str,
        typer.Argument(
            help="report file, or - for standard input; or a batch's index.h5", metavar="REPORT"
        ),
    ],
    json: Annotated[bool, typer.Option("--json", help="print the JSON document")] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="all numbers, and how each was obtained")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="check the whole file against the digest it states")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
) -> None:
    with guarded(debug=debug):
        from lla.batch.reading import is_index
        from lla_cli.opening import STDIN, report_at

        if report != STDIN and is_index(Path(report)):
            from lla_cli.show_index import show_index

            sha256 = show_index(report, json=json, verbose=verbose, verify=verify)
        else:
            found = report_at(report, verify=verify)
            sha256 = found.sha256
            if json:
                print_json(found)
            else:
                print_summary(found, verbose=verbose)
        if verify:
            # stdout holds the document alone, which names the digest as well.
            print(f"verified: sha256 {sha256}", file=sys.stderr if json else sys.stdout)


def print_json(report: Report) -> None:
    """Print the report's document to stdout."""
    from lla.report import document
    from lla_cli.terminal import print_document

    print_document(document(report))


def print_summary(report: Report, *, verbose: bool = False, written: Sequence[str] = ()) -> None:
    """Print metrics with their intervals, verdicts, and where the files are.

    Args:
        report: What to print.
        verbose: Print all metrics, what each is and how it was obtained.
        written: Files to name at the end.
    """
    from lla_cli.terminal import console as make_console

    console = make_console()
    _print_head(console, report)
    for analysis, result in report.analyses():
        _print_metrics(console, analysis, report, verbose=verbose)
        if analysis.name == "spectrum":
            # Part of the answer where the spectrum was the question.
            whole = verbose or set(report.results) <= _SPECTRUM
            _print_spectrum(console, result, _MOST_LAYERS if whole else _FEW_LAYERS)
    _print_verdicts(console, report)
    _print_stages(console, report)
    _print_warnings(console, report, verbose=verbose)
    if written:
        console.print()
        for path in written:
            console.print(f"wrote {path}", soft_wrap=True, markup=False)
    elif not verbose and report.path not in ("", "-"):
        name = _plain(report.path)
        console.print(f"\nall numbers: lla show -v {name}", style="dim")
        console.print(f"a page:      lla report {name}", style="dim")


def _plain(text: str) -> str:
    """Text of a file as one line without control characters and without markup."""
    from rich.markup import escape

    from lla.errors import printable

    return escape(printable(text))


def _print_head(console: Console, report: Report) -> None:
    path = report.checkpoint.path or report.checkpoint.format or "live module"
    console.print(f"[bold]{_plain(path)}[/bold]", overflow="fold")
    facts = report.caption.split(" · ")[1:]
    console.print(f"[dim]{_plain(' · '.join(facts))}[/dim]", overflow="fold")
    console.print(f"[dim]{_READING}[/dim]", overflow="fold")
    if report.path and not report.sha256:
        words = "another program has written this file: it states no SHA-256"
        console.print(f"[yellow]{words}[/yellow]", overflow="fold")


def _print_metrics(console: Console, analysis: Analysis, report: Report, *, verbose: bool) -> None:
    from rich.table import Table

    shown = {
        path.removeprefix(f"{analysis.group}/"): value
        for path, value in report.metrics.items()
        if path.startswith(f"{analysis.group}/")
    }
    if not verbose:
        shown = {name: value for name, value in shown.items() if name in analysis.summary}
    if not shown:
        return
    # A heading's words may be many: they go on under themselves.
    heading = Table.grid(padding=(0, 2, 0, 0))
    heading.add_row(f"[bold]{analysis.group}/[/bold]", f"[dim]{_plain(analysis.about)}[/dim]")
    console.print()
    console.print(heading)
    abouts = _abouts(report.results[analysis.name]) if verbose else {}
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(overflow="fold", width=_NAMES + 2)
    table.add_column(overflow="fold")
    for name, value in shown.items():
        table.add_row(f"  {_plain(name)}", _said(value, abouts.get(name)))
    console.print(table)


def _abouts(result: Any) -> dict[str, str]:
    from lla.analyses.fields import entries

    return {entry.name: entry.about for entry in entries(result)}


def _said(value: Any, about: str | None) -> str:
    """A metric's value and how sure it is; with ``about``, what it is and how it was obtained."""
    from lla.estimate import Label
    from lla.numbers import confidence, interval, metric

    method = ""
    if isinstance(value, Label):
        text = _plain(metric(value))
    elif not value.exists:
        text = f"[dim]{_plain(f'— {value.why}'.strip())}[/dim]"
    else:
        sure = confidence(value)
        # A text that takes all the room is not to run into the next.
        text = f"{_plain(interval(value)):<{_VALUES}} "
        text += sure if value.converged else f"[yellow]{sure}[/yellow]"
        method = value.method
    if about:
        told = about if method in ("", about) else f"{about} · {method}"
        text += f"\n[dim]{_plain(told)}[/dim]"
    return text


def _print_spectrum(console: Console, result: Any, most: int) -> None:
    from lla_cli.density import density_lines
    from lla_cli.layers import layers_table
    from lla_cli.terminal import can_show

    plain = not can_show("▁█▲└")
    lines = density_lines(result, min(console.width, 100), plain=plain)
    if lines:
        mark = "^" if plain else "▲"
        probes = len(result.density.nodes)
        title = f"  share of eigenvalues per unit (log scale), mean over {probes} probes"
        console.print(f"\n[dim]{title}[/dim]", overflow="fold")
        for line in lines:
            style = "red" if mark in line else ""
            console.print(line, style=style, markup=False, no_wrap=True)
        about = f"eigenvalue in units of the loss; {mark} found one by one"
        console.print(f"[dim]{about:>{len(lines[-1])}}[/dim]", overflow="fold")
    if len(result.layers.names):
        console.print()
        console.print(layers_table(result.layers, most))


def _print_verdicts(console: Console, report: Report) -> None:
    """Each verdict in words; those that say the same for the same reason together."""
    from rich.table import Table

    from lla.estimate import alike
    from lla.numbers import outcome

    if not report.verdicts:
        return
    console.print("\n[bold]verdicts[/bold]")
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=_NAMES + 2, overflow="fold")
    table.add_column(overflow="fold")
    for said, why, verdicts in alike(report.verdicts):
        words = f"  [{STYLES[said]}]{outcome(said)}[/]"
        ids = ", ".join(one.id for one in verdicts)
        table.add_row(words, f"{_plain(ids)}\n[dim]{_plain(why)}[/dim]")
    console.print(table)


def _print_stages(console: Console, report: Report) -> None:
    for name, stage in report.stages.items():
        if stage.status != "done":
            style = "bold red" if stage.status == "failed" else "yellow"
            words = stage.status.replace("_", " ")
            console.print(f"\n[{style}]{name} {words}:[/] {_plain(stage.why)}", overflow="fold")


def _print_warnings(console: Console, report: Report, *, verbose: bool) -> None:
    """Which numbers are less sure than was asked for."""
    wide = list(_not_converged(report, verbose=verbose))
    if wide:
        console.print(
            f"\n[yellow]not converged[/yellow], so less sure than was asked for "
            f"(the page says what helps): {_plain(', '.join(wide))}",
            overflow="fold",
        )


def _not_converged(report: Report, *, verbose: bool) -> Iterator[str]:
    from lla.estimate import Estimate

    summaries = {f"{one.group}/{name}" for one, _ in report.analyses() for name in one.summary}
    for path, value in report.metrics.items():
        wide = isinstance(value, Estimate) and value.exists and not value.converged
        if wide and (verbose or path in summaries):
            yield path
