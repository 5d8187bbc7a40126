"""``lla init``: a commented recipe for a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lla_cli.guard import guarded

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init", help="Write a recipe for a checkpoint, with what can be told filled in.")(
        _init
    )


def _init(
    checkpoint: Annotated[
        str, typer.Argument(help="checkpoint: a file or a folder", metavar="MODEL")
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", help="recipe (default: beside the checkpoint)", metavar="FILE"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="replace a recipe that is there")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
) -> None:
    with guarded(debug=debug):
        from lla.checkpoint import split_scheme, stem_of
        from lla.checkpoint.inspection import inspect
        from lla.drafting import draft

        found = inspect(checkpoint)
        place = Path(split_scheme(checkpoint)[1])
        target = Path(output) if output else place.parent / f"{stem_of(checkpoint)}.toml"
        _refuse_existing(target, force=force)
        made = draft(found, target.parent)
        _write(target, made.text)
        print(f"wrote {target}")
        if made.open:
            print(f"fill in {' and '.join(made.open)} there")
        beside = target == place.parent / f"{stem_of(checkpoint)}.toml"
        print(f"then: lla analyze {checkpoint}{'' if beside else f' --recipe {target}'}")


def _write(target: Path, text: str) -> None:
    from lla.errors import ReportError
    from lla.files import replacing

    try:
        with replacing(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ReportError(
            f"{target} cannot be written: {error.strerror}",
            "choose another place: -o FILE; paths in a recipe are relative to its folder",
        ) from None


def _refuse_existing(target: Path, *, force: bool) -> None:
    from lla.errors import ConfigurationError, ReportError
    from lla.settings import is_recipe

    if not target.exists():
        return
    if not force:
        raise ConfigurationError(
            f"{target} exists already", "edit it, choose another: -o FILE, or replace it: --force"
        )
    if not is_recipe(target):
        raise ReportError(
            f"{target} is no recipe, and --force replaces recipes only", "choose another: -o FILE"
        )
