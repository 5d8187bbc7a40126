"""``lla report``: a report as one HTML page, or many as a folder of pages with an index."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lla_cli.guard import guarded

__all__ = ["add_to"]

_FOLDER = "lla-pages"
_UNREADABLE = 5


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "report",
        help="Write a report as one self-contained HTML page; several, as a folder with an index.",
    )(_page)


def _page(
    reports: Annotated[
        list[str], typer.Argument(help="report files, or - for standard input", metavar="REPORT…")
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            help=f"page (default: beside the report); of several, folder (default: {_FOLDER})",
            metavar="FILE|FOLDER",
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
) -> None:
    with guarded(debug=debug):
        if len(reports) > 1 or _is_folder(output):
            _write_folder(reports, output or _FOLDER)
        else:
            from lla_plots.page import write_html

            from lla.errors import ConfigurationError
            from lla_cli.opening import STDIN, report_at

            report = reports[0]
            if output is None and report == STDIN:
                raise ConfigurationError(
                    "a report from standard input has no name for its page to go by",
                    "name the page: lla report - -o FILE.html",
                )
            target = Path(output) if output else Path(report).with_suffix(".html")
            print(write_html(report_at(report), target))


def _is_folder(output: str | None) -> bool:
    return output is not None and (output.endswith("/") or Path(output).is_dir())


def _write_folder(reports: list[str], folder: str) -> None:
    from lla_plots.index import write_folder

    written = write_folder(reports, folder)
    print(written.index)
    for path, why in written.problems:
        print(f"lla: no page of {path}: {why}", file=sys.stderr)
    if written.problems:
        raise typer.Exit(_UNREADABLE)
