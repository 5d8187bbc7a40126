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
        str | None,
        typer.Option(
            "--format",
            "--to",
            help="vtk, loss-landscape, csv, gif, mp4, or several with commas "
            "(default: what -o's name ends in, or vtk)",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str,
        typer.Option(
            "-o", "--output", help="folder for the files, or a file", metavar="FOLDER|FILE"
        ),
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

        kinds = [kind.strip() for kind in formats.split(",")] if formats else []
        _refuse_unknown(kinds)
        folder, name, kinds = _place(output, kinds)
        found = report_at(report)
        own = Path(report).name.partition(".lla.h5")[0].removesuffix(".h5")
        stem = name or ("landscape" if report == STDIN else own)
        for kind in kinds:
            if kind in _ANIMATED:
                from lla_plots.animation import animate
                from lla_plots.style import millimetres

                print(animate(found, kind, folder, stem, millimetres(width)))
                continue
            from lla.report.landscape_files import export

            for path in export(found, kind, folder, stem):
                print(path)


_ANIMATED = ("gif", "mp4")


def _place(output: str, kinds: list[str]) -> tuple[Path, str, list[str]]:
    """Folder, beginning of the files' names ("" for the report's), and formats.

    Raises:
        ConfigurationError: A file is named, and no format's ends so, or another was asked for.
    """
    from lla.errors import ConfigurationError
    from lla.report.landscape_files import FORMATS

    path = Path(output)
    if output.endswith("/") or not path.suffix or path.is_dir():
        return path, "", kinds or ["vtk"]
    suffixes = {suffix: kind for kind, files in FORMATS.items() for suffix, _ in files}
    suffixes |= {f".{kind}": kind for kind in _ANIMATED}
    suffix = next((one for one in suffixes if path.name.endswith(one)), "")
    if not suffix:
        raise ConfigurationError(
            f"no format's files end in {path.suffix}, as {output} does",
            f"the ends are: {', '.join(suffixes)}; for a folder of that name: -o {output}/",
        )
    if kinds not in ([], [suffixes[suffix]]):
        raise ConfigurationError(
            f"-o {output} is a file of the format {suffixes[suffix]}, and --format says "
            f"{','.join(kinds)}",
            "leave one of them out, or name a folder: -o FOLDER",
        )
    return path.parent, path.name.removesuffix(suffix), [suffixes[suffix]]


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
