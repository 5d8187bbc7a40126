"""``lla export``: a report's landscape in the formats of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lla_cli.guard import guarded

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export", help="Write a report's landscape for ParaView and other tools.")(_export)


def _export(
    report: Annotated[str, typer.Argument(help="report file", metavar="REPORT")],
    formats: Annotated[
        str, typer.Option("--format", help="vtk, loss-landscape, csv, or several with commas")
    ] = "vtk",
    output: Annotated[
        str, typer.Option("-o", "--output", help="folder for the files", metavar="FOLDER")
    ] = ".",
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
) -> None:
    with guarded(debug=debug):
        from lla.report import read
        from lla.report.landscape_files import export

        found = read(report)
        stem = Path(report).name.partition(".lla.h5")[0]
        for format in formats.split(","):
            for path in export(found, format, Path(output), stem):
                print(path)
