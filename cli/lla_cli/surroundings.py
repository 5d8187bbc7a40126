"""``lla config`` and ``lla doctor``: what a run would use, and whether this machine can run it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from lla_cli.guard import guarded

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("config", help="Show every setting for a checkpoint and where it comes from.")(
        _config
    )
    app.command("doctor", help="Check this machine: versions, devices, memory, threads.")(_doctor)


def _config(
    checkpoint: Annotated[str, typer.Argument(help="checkpoint file", metavar="MODEL")],
    recipe: Annotated[str | None, typer.Option("--recipe", help="recipe file")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
) -> None:
    with guarded(debug=debug):
        from rich.console import Console
        from rich.table import Table

        from lla.checkpoint import load
        from lla.settings import gather

        named = Path(recipe) if recipe else None
        settings = gather(Path(checkpoint), recipe=named, environment=os.environ)
        settings = settings.with_facts(load(checkpoint).facts)
        table = Table("setting", "value", "from", box=None)
        for section, keys in settings.sections().items():
            for key, value in keys.items():
                origin = settings.origins.get(f"{section}.{key}", "default")
                table.add_row(f"{section}.{key}", str(value), origin)
        Console(highlight=False).print(table)


def _doctor(
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
) -> None:
    with guarded(debug=debug):
        import platform
        from importlib.metadata import PackageNotFoundError, version

        import torch

        print(f"python      {platform.python_version()} on {platform.machine()}")
        for name in (
            "loss-landscape-lla",
            "torch",
            "numpy",
            "scipy",
            "h5py",
            "matplotlib",
            "plotly",
        ):
            try:
                print(f"{name:11} {version(name)}")
            except PackageNotFoundError:
                print(f"{name:11} not installed")
        print(f"cores       {os.cpu_count()}, torch uses {torch.get_num_threads()} threads")
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        print(f"memory      {memory / (1 << 30):.1f} GiB")
        if torch.cuda.is_available():
            for index in range(torch.cuda.device_count()):
                print(f"cuda:{index}      {torch.cuda.get_device_name(index)}")
        else:
            print("cuda        none; --device auto uses the CPU")
