"""``lla show``: a report's summary on the terminal, or its JSON document."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from lla_cli.guard import guarded

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from lla.report import Report

__all__ = ["add_to", "print_json", "print_summary"]

_SPECTRUM = {"baseline", "spectrum"}
_STYLES = {
    "violated": "bold red",
    "at_edge": "yellow",
    "consistent": "green",
    "inconclusive": "yellow",
    "not_applicable": "dim",
}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("show", help="Show a report on the terminal.")(_show)


def _show(
    report: Annotated[str, typer.Argument(help="report file", metavar="REPORT")],
    json: Annotated[bool, typer.Option("--json", help="print the JSON document")] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="say how each number was obtained")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="check the whole file against the digest it states")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
) -> None:
    with guarded(debug=debug):
        from lla.report import read

        found = read(report, verify=verify)
        if json:
            print_json(found)
        else:
            print_summary(found, verbose=verbose)
        if verify:
            # stdout holds the document alone, which names the digest as well.
            print(f"verified: sha256 {found.sha256}", file=sys.stderr if json else sys.stdout)


def print_json(report: Report) -> None:
    """Print the report's document to stdout."""
    import json

    from lla.report import document

    print(json.dumps(document(report), indent=2, ensure_ascii=False, allow_nan=False))


def print_summary(report: Report, *, verbose: bool = False, written: Sequence[str] = ()) -> None:
    """Print metrics with their intervals, verdicts, and where the files are."""
    from rich.console import Console

    # Without a terminal: 80 columns, no colour; rich would take 80 too, but not in every pipe.
    console = Console(width=None if sys.stdout.isatty() else 80, highlight=False)
    console.print(f"[bold]{report.checkpoint.path or 'live module'}[/bold]")
    console.print(f"[dim]{report.caption}[/dim]", soft_wrap=True)
    if report.path and not report.sha256:
        console.print(
            "[yellow]another program has written this file: it states no SHA-256[/yellow]"
        )
    for analysis, _ in report.analyses():
        console.print(f"\n[bold]{analysis.about}[/bold]")
        console.print(_metrics(analysis, report, verbose=verbose))
        # Part of the answer where the spectrum was the question.
        if analysis.name == "spectrum" and (verbose or set(report.results) <= _SPECTRUM):
            from lla_cli.layers import layers_table

            console.print(layers_table(report.results["spectrum"].layers))
    if report.verdicts:
        _print_verdicts(console, report)
    for name, stage in report.stages.items():
        if stage.status != "done":
            console.print(f"[bold red]{name}: {stage.status}[/bold red] {stage.why}")
    if written:
        console.print()
        for path in written:
            console.print(f"wrote {path}", soft_wrap=True)


def _metrics(analysis: object, report: Report, *, verbose: bool) -> Table:
    from rich.table import Table

    from lla.analyses.analysis import Analysis
    from lla.estimate import Label
    from lla.numbers import confidence, interval

    assert isinstance(analysis, Analysis)
    table = Table(box=None, show_header=False)
    for path, value in report.metrics.items():
        name = path.removeprefix(f"{analysis.group}/")
        if not path.startswith(f"{analysis.group}/"):
            continue
        if not verbose and name not in analysis.summary:
            continue
        if isinstance(value, Label):
            table.add_row(path, value.value, value.why)
            continue
        how = confidence(value)
        table.add_row(path, interval(value), f"{how} · {value.method}" if verbose else how)
    return table


def _print_verdicts(console: Console, report: Report) -> None:
    from rich.table import Table

    table = Table(box=None, show_header=False)
    for verdict in report.verdicts:
        words = verdict.verdict.replace("_", " ")
        table.add_row(verdict.id, f"[{_STYLES[verdict.verdict]}]{words}[/]", verdict.why)
    console.print("\n[bold]Verdicts[/bold]")
    console.print(table)
