"""``lla inspect``: what a checkpoint holds, without running or analysing it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lla_cli.guard import guarded

if TYPE_CHECKING:
    from lla.checkpoint.inspection import Inspection

__all__ = ["add_to"]

_SHOWN = 60


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("inspect", help="Say what a checkpoint holds; nothing in it is run.")(_inspect)


def _inspect(
    checkpoint: Annotated[
        str, typer.Argument(help="checkpoint: a file or a folder", metavar="MODEL")
    ],
    json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help=f"list all tensors, not only {_SHOWN}")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
) -> None:
    with guarded(debug=debug):
        from lla.checkpoint.inspection import inspect

        found = inspect(checkpoint)
        if json:
            import json as encoder

            text = encoder.dumps(_document(found), indent=2, default=str, allow_nan=False)
            print(text)
        else:
            _print(found, verbose=verbose)


def _document(found: Inspection) -> dict[str, Any]:
    return {
        "schema": "lla-inspect/1",
        "path": found.path,
        "format": found.format,
        "bytes": found.size,
        "sha256": found.sha256,
        "parameters": found.elements,
        "weights": list(found.weights),
        "training": _finite(found.facts),
        "hyper_parameters": _finite(found.hyper_parameters),
        "optimizer_state": found.has_optimizer_state,
        "hints": list(found.hints),
        "findings": list(found.findings),
        "tensors": {
            item.name: {
                "shape": list(item.shape),
                "dtype": item.dtype,
                "norm": item.norm,
                "non_finite": item.non_finite,
            }
            for item in found.tensors
        },
    }


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: None if value != value else value for key, value in values.items()}


def _print(found: Inspection, *, verbose: bool) -> None:
    from rich.console import Console
    from rich.markup import escape as escape_markup
    from rich.table import Table

    from lla.errors import printable

    def escape(text: str) -> str:
        return escape_markup(printable(text))

    console = Console(highlight=False)
    for name, text in _lines(found):
        console.print(f"{name:<10} {escape(text)}", soft_wrap=True)
    style, words = ("bold red", found.findings) if found.findings else ("green", (_SAFE,))
    for text in words:
        console.print(f"{'security':<10} [{style}]{escape(text)}[/]", soft_wrap=True)
    bad = [item for item in found.tensors if item.non_finite]
    if bad:
        names = ", ".join(f"{item.name} ({item.non_finite})" for item in bad[:5])
        console.print(f"{'values':<10} [bold red]NaN or infinite in {escape(names)}[/]")
    table = Table("tensor", "shape", "dtype", "norm", box=None, pad_edge=False)
    shown = found.tensors if verbose else found.tensors[:_SHOWN]
    for item in shown:
        norm = "–" if item.norm is None else f"{item.norm:.4g}"
        sides = " × ".join(map(str, item.shape)) or "scalar"
        table.add_row(escape(item.name), sides, item.dtype, norm)
    console.print()
    console.print(table)
    if len(found.tensors) > len(shown):
        console.print(f"… and {len(found.tensors) - len(shown)} more: lla inspect -v")


_SAFE = "tensors and plain values only; nothing in it would be run"


def _lines(found: Inspection) -> Iterator[tuple[str, str]]:
    yield "path", found.path
    yield "format", found.format
    yield "size", f"{found.size:,} bytes, {len(found.tensors)} tensors, {found.elements:,} elements"
    yield "sha256", found.sha256
    if len(found.weights) > 1:
        yield "weights", f"{found.weights[0]}; --weights chooses: {', '.join(found.weights)}"
    state = ", with the optimizer's state" if found.has_optimizer_state else ""
    facts = ", ".join(f"{key} = {value}" for key, value in found.facts.items())
    yield "training", f"{facts}{state}" if facts else "not told by the file"
    if found.hyper_parameters:
        items = list(found.hyper_parameters.items())
        text = ", ".join(f"{key} = {value}" for key, value in items[:20])
        yield "settings", text + (f" and {len(items) - 20} more" if len(items) > 20 else "")
    for hint in found.hints:
        yield "likely", hint
