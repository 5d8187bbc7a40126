"""``lla inspect``: what a checkpoint file holds, without analysing it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from lla_cli.guard import guarded

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("inspect", help="Say what a checkpoint file holds.")(_inspect)


def _inspect(
    checkpoint: Annotated[str, typer.Argument(help="checkpoint file", metavar="MODEL")],
    json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
) -> None:
    with guarded(debug=debug):
        from lla.checkpoint import load

        found = load(checkpoint)
        facts = {
            "path": str(found.path),
            "sha256": found.sha256,
            "format": found.format,
            "training": dict(found.facts),
            "tensors": {
                name: {
                    "shape": list(tensor.shape),
                    "dtype": str(tensor.dtype).removeprefix("torch."),
                }
                for name, tensor in found.tensors.items()
            },
        }
        if json:
            import json as encoder

            print(encoder.dumps(facts, indent=2))
        else:
            _print(facts)


def _print(facts: Mapping[str, object]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    for key in ("path", "format", "sha256"):
        console.print(f"{key:8} {facts[key]}", soft_wrap=True)
    training, tensors = facts["training"], facts["tensors"]
    assert isinstance(training, dict)
    assert isinstance(tensors, dict)
    words = ", ".join(f"{key} = {value}" for key, value in training.items())
    console.print(f"training {words or 'not told by the file'}", soft_wrap=True)
    table = Table("tensor", "shape", "dtype", box=None)
    for name, about in tensors.items():
        table.add_row(name, " × ".join(map(str, about["shape"])) or "scalar", about["dtype"])
    console.print(table)
