"""``lla plot``: a report's figures as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lla_cli.guard import guarded

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plot", help="Draw a report's figures.")(_plot)


def _plot(
    report: Annotated[
        str, typer.Argument(help="report file, or - for standard input", metavar="REPORT")
    ],
    output: Annotated[
        str, typer.Option("-o", "--output", help="folder for the figures", metavar="FOLDER")
    ] = "figures",
    only: Annotated[
        list[str] | None, typer.Option("--only", help="figures by name, as spectrum,landscape")
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", help="png, svg, pdf, or several with commas")
    ] = "png",
    width: Annotated[
        str,
        typer.Option(
            "--width", help="on paper: full (180 mm), column (85 mm), or mm", metavar="WIDTH"
        ),
    ] = "full",
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
) -> None:
    with guarded(debug=debug):
        from lla_plots.draw import save

        from lla_cli.opening import report_at

        names = [name for text in only or () for name in text.split(",")]
        kinds = formats.split(",")
        for path in save(report_at(report), Path(output), kinds, names, width):
            print(path)
