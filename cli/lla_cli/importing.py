"""``lla import``: a landscape that loss-landscape computed, as a report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lla_cli.guard import guarded

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import", help="Make a report of a surface file of loss-landscape.")(_import)


def _import(
    files: Annotated[
        list[str],
        typer.Argument(
            help="its surface file, and its file of projected checkpoints if there is one",
            metavar="SURFACE [PROJECTION]",
            show_default=False,
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", help="report file (default: <stem>.lla.h5)", metavar="FILE"),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
) -> None:
    with guarded(debug=debug):
        from lla.report import write
        from lla.report.landscape_import import read_surface
        from lla.report.storage import refuse_target

        found = read_surface(files, sys.argv)
        stem = Path(found.checkpoint.path).name.removesuffix(".h5").removesuffix(".surface")
        target = Path(output or f"{stem}.lla.h5")
        refuse_target(target)
        _refuse_computed(target)
        write(found, target)
        print(f"wrote {target}")
        print(f"then: lla plot {target}, lla report {target}, lla export {target}")


def _refuse_computed(target: Path) -> None:
    """An import takes a moment; a report that a run computed is not replaced by one."""
    if not target.exists():
        return
    from lla.errors import ReportError
    from lla.report import read

    if "imported" not in read(target).provenance:
        raise ReportError(
            f"{target} is a report that a run computed: it is not replaced by an import",
            f"choose another name: -o imported_{target.name}",
        )
