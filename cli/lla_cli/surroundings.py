"""``lla config`` and ``lla doctor``: what a run would use, and whether this machine can run it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from lla_cli.flags import gathered
from lla_cli.guard import guarded
from lla_cli.options import CHECKPOINT, DEBUG, SETTINGS, STATED
from lla_cli.parameters import parameter, with_parameters

__all__ = ["add_to"]

_PACKAGES = ("loss-landscape-lla", "torch", "numpy", "scipy", "h5py", "matplotlib", "plotly")
_EXTRAS = ("transformers", "datasets", "timm", "torchvision", "safetensors", "ray", "submitit")
_JSON = parameter("json", bool, False, typer.Option("--json", help="print one JSON document"))


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    options = (setting.parameter() for setting in SETTINGS)
    config = with_parameters(_config, (CHECKPOINT, *options, *STATED, _JSON, DEBUG))
    app.command("config", help="Show every setting for a checkpoint and where it comes from.")(
        config
    )
    app.command("doctor", help="Check this machine: versions, devices, memory, speed, folders.")(
        _doctor
    )


def _config(values: dict[str, Any]) -> None:
    with guarded(debug=values["debug"]):
        settings = gathered(SETTINGS, values).with_facts(_facts(values["checkpoint"]))
        rows = [
            (f"{section}.{key}", value, settings.origins.get(f"{section}.{key}", "default"))
            for section, keys in settings.sections().items()
            for key, value in keys.items()
        ]
        if values["json"]:
            import json

            found = {name: {"value": value, "from": origin} for name, value, origin in rows}
            print(json.dumps(found, indent=2))
        else:
            _print_table(rows)


def _facts(checkpoint: str) -> dict[str, Any]:
    """What the checkpoint tells of its training; a name on a hub is not fetched for that."""
    from lla.checkpoint import split_scheme
    from lla.checkpoint.inspection import inspect

    scheme, rest = split_scheme(checkpoint)
    if scheme and not Path(rest).exists():
        return {}
    return dict(inspect(checkpoint).facts)


def _print_table(rows: list[tuple[str, Any, str]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("setting", "value", "from", box=None, pad_edge=False)
    for name, value, origin in rows:
        style = "dim" if origin == "default" else ""
        table.add_row(name, escape(_written(value)), escape(origin), style=style)
    Console(highlight=False).print(table)


def _written(value: Any) -> str:
    if value is None or value in ("", [], {}):
        return "–"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _doctor(
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
) -> None:
    with guarded(debug=debug):
        for name, text in _findings():
            print(f"{name:<12} {text}", flush=True)


def _findings() -> Iterator[tuple[str, str]]:
    import platform

    import torch

    yield "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    for name in _PACKAGES:
        # torch itself says which build it is, its distribution may not.
        found = torch.__version__ if name == "torch" else _version(name)
        yield name.removeprefix("loss-landscape-"), found
    for name in _EXTRAS:
        found = _version(name)
        yield name, found if found != "not installed" else "not installed (an optional extra)"
    yield "cores", f"{os.cpu_count()}, torch uses {torch.get_num_threads()} threads"
    yield "memory", _memory()
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(index)
            yield f"cuda:{index}", f"{about.name}, {about.total_memory / (1 << 30):.1f} GiB"
    else:
        yield "cuda", "none; --device auto uses the CPU"
    yield "product", _speed()
    yield from _folders()


def _version(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _memory() -> str:
    from lla.watching import physical_memory

    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{physical_memory() / (1 << 30):.1f} GiB, {free / (1 << 30):.1f} GiB unused now"


def _speed() -> str:
    """A second of Hessian-vector products on a small convolutional network."""
    from lla.curvature.timing import time_products
    from lla.pipeline import choose_device

    device = choose_device("auto")
    milliseconds, rounds = time_products(device)
    return (
        f"{milliseconds:.1f} ms on {device}: median of {rounds} Hessian-vector products, LeNet "
        "(61,706 parameters), 256 images, float32"
    )


def _folders() -> Iterator[tuple[str, str]]:
    import shutil
    import tempfile

    for name, folder in (("here", Path.cwd()), ("temporary", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(folder).free / (1 << 30)
        writable = os.access(folder, os.W_OK)
        word = f"writable, {free:.1f} GiB free" if writable else "NOT writable: reports need -o"
        yield name, f"{folder}: {word}"
