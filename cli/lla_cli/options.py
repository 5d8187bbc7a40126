"""The options that all analysis commands share, and how typer is told of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from lla.analyses.analysis import Analysis

__all__ = [
    "CHECKPOINT",
    "DEBUG",
    "DRY_RUN",
    "OUTPUT",
    "RESUME",
    "SELECTION",
    "SETTINGS",
    "STATED",
    "TRUST",
    "Setting",
    "analysis_settings",
    "option",
    "parameter",
    "with_parameters",
]


@dataclass(frozen=True)
class Setting:
    """An option that stands for a setting.

    Attributes:
        name: Python name of the parameter.
        section: Section of the setting.
        key: Key of the setting.
        help: Line in ``--help``.
        panel: Where ``--help`` lists it.
        flags: How it is written; by default from the name.
        many: Whether it can be given repeatedly.
        metavar: What its value is called.
        switch: Whether it is given as --name or --no-name.
    """

    name: str
    section: str
    key: str
    help: str
    panel: str
    flags: tuple[str, ...] = ()
    many: bool = False
    metavar: str = "TEXT"
    switch: bool = False

    def parameter(self) -> inspect.Parameter:
        """The command's parameter."""
        flags = self.flags or (f"--{self.name.replace('_', '-')}",)
        if self.switch:
            option = typer.Option(
                f"{flags[0]}/--no-{flags[0][2:]}", help=self.help, rich_help_panel=self.panel
            )
            return parameter(self.name, bool, None, option)
        return parameter(
            self.name,
            list[str] if self.many else str,
            [] if self.many else None,
            typer.Option(*flags, help=self.help, rich_help_panel=self.panel, metavar=self.metavar),
        )


def parameter(name: str, type: Any, default: Any, option: Any) -> inspect.Parameter:
    """A keyword parameter that typer reads as an option (or argument)."""
    kind = type if default is not None else type | None
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, option],
    )


def option(
    panel: str,
    name: str,
    type: Any,
    default: Any,
    help: str,
    metavar: str | None = None,
    short: str = "",
) -> inspect.Parameter:
    """An option that is no setting, listed in ``panel``; ``short`` as ``-o``."""
    flags = [*([short] if short else []), f"--{name.replace('_', '-')}"]
    made = typer.Option(*flags, help=help, rich_help_panel=panel, metavar=metavar)
    return parameter(name, type, default, made)


CHECKPOINT = parameter(
    "checkpoint",
    str,
    ...,
    typer.Argument(help="checkpoint: a file, a folder, hf:NAME or timm:NAME", metavar="MODEL"),
)

SELECTION = (
    Setting("only", "run", "only", "run these analyses only, as A,B", "Analyses", many=True),
    Setting("skip", "run", "skip", "leave these analyses out", "Analyses", many=True),
)

_PROBLEM, _TRAINING, _COMPUTE = "Model and data", "Training, for stability", "Computation"

SETTINGS = (
    Setting("model", "model", "factory", "file.py:FACTORY that makes the network", _PROBLEM),
    Setting("model_arg", "model", "args", "K=V argument of the factory", _PROBLEM, many=True),
    Setting(
        "weights",
        "model",
        "weights",
        "which of the file's weights, as ema or state_dict_ema",
        _PROBLEM,
    ),
    Setting(
        "data",
        "data",
        "source",
        'data, as "digits.npz?split=test&limit=512"',
        _PROBLEM,
    ),
    Setting(
        "batch_norm",
        "model",
        "batch_norm",
        "normalize by running statistics, or by those of the batch of all samples "
        "(default: running)",
        _PROBLEM,
        metavar="running|batch",
    ),
    Setting("loss", "loss", "name", "cross_entropy, mse, … or file.py:function", _PROBLEM),
    Setting(
        "params", "run", "params", "analyse only parameters matching GLOB", _PROBLEM, many=True
    ),
    Setting("lr", "training", "lr", "learning rate in use", _TRAINING, metavar="FLOAT"),
    Setting(
        "batch_size",
        "training",
        "batch_size",
        "samples per training step",
        _TRAINING,
        metavar="INT",
    ),
    Setting("samples", "training", "samples", "size of the training set", _TRAINING, metavar="INT"),
    Setting(
        "tolerance",
        "run",
        "tolerance",
        "relative half-width of estimates (default: 0.02)",
        _COMPUTE,
        metavar="FLOAT",
    ),
    Setting(
        "confidence",
        "run",
        "confidence",
        "confidence of intervals (default: 0.95)",
        _COMPUTE,
        metavar="FLOAT",
    ),
    Setting("device", "run", "device", "auto, cpu, cuda or cuda:N (default: auto)", _COMPUTE),
    Setting("dtype", "run", "dtype", "float32 or float64 (default: float32)", _COMPUTE),
    Setting(
        "seed", "run", "seed", "seed of every random draw (default: 0)", _COMPUTE, metavar="INT"
    ),
    Setting(
        "memory",
        "run",
        "memory",
        "memory budget, as 8GiB (default: half of the machine's)",
        _COMPUTE,
    ),
    Setting(
        "method",
        "run",
        "method",
        "how Hessian products are made: reverse, forward or difference (default: auto)",
        _COMPUTE,
    ),
    Setting(
        "products",
        "run",
        "products",
        "precision of products: same, tf32 or bfloat16 (default: same, the model's)",
        _COMPUTE,
    ),
    Setting(
        "shard_parameters",
        "run",
        "shard_parameters",
        "share the parameters among torchrun's ranks (default: where one device cannot hold them)",
        _COMPUTE,
        switch=True,
    ),
    Setting(
        "threads",
        "run",
        "threads",
        "CPU threads (default: as torch chooses)",
        _COMPUTE,
        metavar="INT",
    ),
)

_TRUST = "Trust in the checkpoint"

DEBUG = parameter(
    "debug",
    bool,
    False,
    typer.Option("--debug", help="show tracebacks", rich_help_panel="Output"),
)

DRY_RUN = parameter(
    "dry_run",
    bool,
    False,
    typer.Option(
        "--dry-run",
        help="say how it would be computed, in what time and memory, and stop",
        rich_help_panel=_COMPUTE,
    ),
)

RESUME = parameter(
    "resume",
    bool,
    True,
    typer.Option(
        "--resume/--fresh",
        help="take what was computed before with equal settings; or compute all anew",
        rich_help_panel=_COMPUTE,
    ),
)

OUTPUT = (
    parameter(
        "output",
        str,
        None,
        typer.Option(
            "-o",
            "--output",
            help="report file (default: <stem>.lla.h5)",
            rich_help_panel="Output",
            metavar="FILE",
        ),
    ),
    parameter(
        "json",
        bool,
        False,
        typer.Option("--json", help="print one JSON document to stdout", rich_help_panel="Output"),
    ),
    parameter(
        "html",
        bool,
        True,
        typer.Option(
            "--html/--no-html", help="write the page beside the report", rich_help_panel="Output"
        ),
    ),
    parameter(
        "figures",
        str,
        None,
        typer.Option(
            "--figures",
            help="write figures into FOLDER",
            rich_help_panel="Output",
            metavar="FOLDER",
        ),
    ),
    parameter(
        "quiet",
        bool,
        False,
        typer.Option("-q", "--quiet", help="no progress", rich_help_panel="Output"),
    ),
    parameter(
        "verbose",
        bool,
        False,
        typer.Option(
            "-v", "--verbose", help="say how each number was obtained", rich_help_panel="Output"
        ),
    ),
    DEBUG,
)

STATED = (
    parameter(
        "recipe",
        str,
        None,
        typer.Option(
            "--recipe",
            help="recipe file (default: beside the checkpoint)",
            rich_help_panel=_PROBLEM,
            metavar="FILE",
        ),
    ),
    parameter(
        "set_",
        list[str],
        [],
        typer.Option(
            "--set",
            help="any setting, as spectrum.steps=500",
            rich_help_panel=_COMPUTE,
            metavar="SECTION.KEY=V",
        ),
    ),
)

TRUST = (
    parameter(
        "allow_global",
        list[str],
        [],
        typer.Option(
            "--allow-global",
            help="a type that the checkpoint needs and you trust",
            rich_help_panel=_TRUST,
            metavar="PACKAGE.NAME",
        ),
    ),
    parameter(
        "unsafe_load",
        bool,
        False,
        typer.Option(
            "--unsafe-load",
            help="run whatever code the checkpoint holds; only for files you made yourself",
            rich_help_panel=_TRUST,
        ),
    ),
)


_METAVARS = {str(int): "INT", str(float): "FLOAT"}


def analysis_settings(analysis: Analysis) -> tuple[Setting, ...]:
    """One option for each setting of an analysis."""
    # A name that means something to every command stays with that; --set reaches the setting.
    shared = (*SETTINGS, *STATED, *TRUST, *OUTPUT, RESUME, CHECKPOINT)
    taken = {item.name for item in shared}
    found = []
    for key, field in analysis.config.model_fields.items():
        if key in taken:
            continue
        if field.default_factory is dict:
            found.append(_table(analysis, key, field.description or ""))
            continue
        default = "" if field.default in ("", (), False) else f" (default: {field.default})"
        found.append(
            Setting(
                key,
                analysis.name,
                key,
                f"{field.description}{default}",
                analysis.name.capitalize(),
                many=isinstance(field.default, tuple),
                metavar=_METAVARS.get(str(field.annotation), "TEXT"),
                switch=field.annotation is bool,
            )
        )
    return tuple(found)


def _table(analysis: Analysis, key: str, help: str) -> Setting:
    """The option for one entry of a table: --domain for domains."""
    name = key.removesuffix("s")
    panel = analysis.name.capitalize()
    return Setting(name, analysis.name, key, help, panel, many=True, metavar="NAME=VALUE")


def with_parameters(
    function: Callable[[dict[str, Any]], None], parameters: tuple[inspect.Parameter, ...]
) -> Callable[..., None]:
    """A function of the options' values, with a signature that tells typer of each option."""

    def command(**values: Any) -> None:
        function(values)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {item.name: item.annotation for item in parameters}
    return command
