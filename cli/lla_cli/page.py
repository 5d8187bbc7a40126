"""``lla report``: a report as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lla_cli.guard import guarded

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report", help="Write a report as one self-contained HTML page.")(_page)


def _page(
    report: Annotated[
        str, typer.Argument(help="report file, or - for standard input", metavar="REPORT")
    ],
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", help="page (default: beside the report)", metavar="FILE"),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
) -> None:
    with guarded(debug=debug):
        from lla_plots.page import write_html

        from lla.errors import ConfigurationError
        from lla_cli.opening import STDIN, report_at

        if output is None and report == STDIN:
            raise ConfigurationError(
                "a report from standard input has no name for its page to go by",
                "name the page: lla report - -o FILE.html",
            )
        target = Path(output) if output else Path(report).with_suffix(".html")
        print(write_html(report_at(report), target))
