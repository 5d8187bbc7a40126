"""The command ``lla``: commands are thin, and heavy imports happen inside them."""

from __future__ import annotations

import os
import sys

import typer

from lla.allocator import keep_freed_memory
from lla_cli import (
    analyze,
    audit,
    batch,
    compare,
    export,
    importing,
    init,
    inspect,
    page,
    plot,
    ranks,
    show,
    surroundings,
)
from lla_cli.usage import Commands

__all__ = ["app", "main"]

app = typer.Typer(
    name="lla",
    cls=Commands,
    help="What does the loss look like around these weights, how sure are we, and does that pass?",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_COMMANDS = (
    analyze, batch, show, compare, audit, plot, page, export, importing, init, inspect, surroundings
)  # fmt: skip
for module in _COMMANDS:
    module.add_to(app)


def main() -> None:
    """Run the command line."""
    # GNU OpenMP's threads spin while they wait for each other: where another process needs a core,
    # products take tens of times as long. A short spin costs little on a quiet machine. Read when
    # torch loads, hence here.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    # Huge pages for large tensors: to be given memory anew then takes a third of the time.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    keep_freed_memory()
    sys.argv[0] = "lla"
    with ranks.speaking_once():
        if not ranks.idle(sys.argv[1:], analyze.SHARED):
            app(prog_name="lla")
