"""The options that all analysis commands share."""

from __future__ import annotations

import typer

from lla.analyses.analysis import Analysis
from lla_cli.parameters import Setting, option, parameter

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
    "analysis_settings",
]


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
_RANKS = "Many ranks, by torchrun"

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
        _RANKS,
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

_OUTPUT, _TRUST = "Output", "Trust in the checkpoint"

DEBUG = option(_OUTPUT, "debug", bool, False, "show tracebacks")

DRY_RUN = option(
    _COMPUTE,
    "dry_run",
    bool,
    False,
    "say how it would be computed, in what time and memory, and stop",
)

RESUME = option(
    _COMPUTE,
    "resume",
    bool,
    True,
    "take what was computed before with equal settings; or compute all anew",
    flags=("--resume/--fresh",),
)

OUTPUT = (
    option(
        _OUTPUT, "output", str, None, "report file (default: <stem>.lla.h5)", "FILE", short="-o"
    ),
    option(_OUTPUT, "json", bool, False, "print one JSON document to stdout"),
    option(
        _OUTPUT,
        "html",
        bool,
        True,
        "write the page beside the report",
        flags=("--html/--no-html",),
    ),
    option(_OUTPUT, "figures", str, None, "write figures into FOLDER", "FOLDER"),
    option(_OUTPUT, "quiet", bool, False, "no progress", short="-q"),
    option(_OUTPUT, "verbose", bool, False, "say how each number was obtained", short="-v"),
    DEBUG,
)

STATED = (
    option(_PROBLEM, "recipe", str, None, "recipe file (default: beside the checkpoint)", "FILE"),
    option(
        _COMPUTE,
        "set_",
        list[str],
        [],
        "any setting, as spectrum.steps=500",
        "SECTION.KEY=V",
        flags=("--set",),
    ),
)

TRUST = (
    option(
        _TRUST,
        "allow_global",
        list[str],
        [],
        "a type that the checkpoint needs and you trust",
        "PACKAGE.NAME",
    ),
    option(
        _TRUST,
        "unsafe_load",
        bool,
        False,
        "run whatever code the checkpoint holds; only for files you made yourself",
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
