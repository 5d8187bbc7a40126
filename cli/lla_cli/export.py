"""``lla export``: a report's landscape in the formats of other tools, or as an animation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lla_cli.guard import guarded

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "export",
        help="Write a report's landscape for ParaView and other tools, or animate its trajectory.",
    )(_export)


def _export(
    report: Annotated[
        str, typer.Argument(help="report file, or - for standard input", metavar="REPORT")
    ],
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            "--to",
            help="vtk, loss-landscape, csv, gif, mp4, or several with commas",
        ),
    ] = "vtk",
    output: Annotated[
        str, typer.Option("-o", "--output", help="folder for the files", metavar="FOLDER")
    ] = ".",
    width: Annotated[
        str,
        typer.Option(
            "--width", help="of an animation: full (180 mm), column (85 mm), or mm", metavar="WIDTH"
        ),
    ] = "full",
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
) -> None:
    with guarded(debug=debug):
        from lla_cli.opening import STDIN, report_at

        kinds = [kind.strip() for kind in formats.split(",")]
        _refuse_unknown(kinds)
        found = report_at(report)
        stem = "landscape" if report == STDIN else Path(report).name.partition(".lla.h5")[0]
        for kind in kinds:
            if kind in _ANIMATED:
                from lla_plots.animation import animate
                from lla_plots.style import millimetres

                print(animate(found, kind, Path(output), stem, millimetres(width)))
                continue
            from lla.report.landscape_files import export

            for path in export(found, kind, Path(output), stem):
                print(path)


_ANIMATED = ("gif", "mp4")


def _refuse_unknown(kinds: list[str]) -> None:
    """A wrong name among several is told before anything is written."""
    from lla.errors import ConfigurationError, nearest
    from lla.report.landscape_files import FORMATS

    known = (*FORMATS, *_ANIMATED)
    for kind in kinds:
        if kind not in known:
            raise ConfigurationError(
                f"there is no format '{kind}'{nearest(kind, known)}",
                f"the formats are: {', '.join(known)}",
            )
