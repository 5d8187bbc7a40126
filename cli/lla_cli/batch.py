"""``lla batch``: many checkpoints, a report each and an index of all."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lla_cli.console import warn
from lla_cli.flags import trust_of, values_of
from lla_cli.guard import guarded
from lla_cli.interruption import Interruption
from lla_cli.options import DRY_RUN, OUTPUT, RESUME, SELECTION, SETTINGS, STATED, TRUST
from lla_cli.parameters import option, parameter, with_parameters

if TYPE_CHECKING:
    from lla.batch.batch import Batch, Terms
    from lla.batch.executors.executor import Executor
    from lla.batch.index import Written
    from lla.batch.wanted import Wanted

__all__ = ["add_to"]

_TARGETS = parameter(
    "targets",
    list[str],
    [],
    typer.Argument(
        help="checkpoints, globs of them (also with **), or folders",
        metavar="MODEL…",
        show_default=False,
    ),
)


_option = partial(option, "Batch")
_BATCH = (
    _option("output", str, "batch", "folder of the reports and the index", "FOLDER", short="-o"),
    _option(
        "manifest",
        str,
        None,
        "TOML, CSV or JSON lines that name checkpoints, with settings of their own",
        "FILE",
    ),
    _option("jobs", int, 0, "jobs at once; 0: one for each core, or as the engine thinks", "N"),
    _option(
        "timeout", str, None, "end a job that takes longer, as 90s, 10m or 2h; it counts as died"
    ),
    _option("retries", int, 1, "begin a job again so often, where its worker died or hung"),
    _option("executor", str, "process", "what carries out jobs", "process|ray|slurm"),
    _option("cpus", int, 0, "cores of each job; 0: this machine's, shared out", "N"),
    _option(
        "gpus", float, None, "GPUs of each job; 0: none; processes and ray: also a part of one"
    ),
    _option("address", str, "", "ray: the cluster to use (default: RAY_ADDRESS, or a new one)"),
    _option("slurm_cluster", str, "slurm", "slurm: local tries it on this machine, without Slurm"),
    _option("slurm", list[str], [], "slurm: what sbatch is told, as partition=gpu", "KEY=VALUE"),
)
_HTML = parameter(
    "html",
    bool,
    False,
    typer.Option(
        "--html/--no-html",
        help="write a page for each report as well (the index always has one)",
        rich_help_panel="Output",
    ),
)
_TOLD = tuple(item for item in OUTPUT if item.name in ("json", "quiet", "debug"))
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    settings = (setting.parameter() for setting in (*SELECTION, *SETTINGS))
    parameters = (_TARGETS, *_BATCH, *settings, *STATED, RESUME, *TRUST, _HTML, *_TOLD, DRY_RUN)
    run = with_parameters(_run, parameters)
    app.command("batch", help="Analyse many checkpoints: a report each, and an index of all.")(run)


def _run(values: dict[str, Any]) -> None:
    interruption = Interruption()
    with (
        guarded(debug=values["debug"], again=lambda: shlex.join(sys.argv)),
        interruption.watched(),
    ):
        _refuse_misspelt(values)
        wanted = _wanted(values)
        from lla.batch.batch import Batch

        if values["dry_run"]:
            batch = Batch.foreseen(wanted, Path(values["output"]), _terms(values))
            _tell(batch, None, values)
            # As the run would end, as far as that is known.
            raise typer.Exit(batch.exit_code)
        with Batch.opened(wanted, Path(values["output"]), _terms(values), tell=warn) as batch:
            _carry_out(batch, values, interruption)
            index = _indexed(batch, pages=values["html"])
            _tell(batch, index, values)
            interruption.check()
        if batch.exit_code:
            raise typer.Exit(batch.exit_code)


def _wanted(values: dict[str, Any]) -> list[Wanted]:
    """The checkpoints that are named.

    Raises:
        LlaError: There are none, or one is named wrongly.
    """
    from lla.batch.manifest import read_manifest
    from lla.batch.wanted import meant_by, without_repetitions
    from lla.errors import NothingToDoError

    listed = read_manifest(Path(values["manifest"])) if values["manifest"] else []
    found, more = without_repetitions([*listed, *meant_by(values["targets"])])
    if not found:
        raise NothingToDoError(
            "no checkpoint is named", "name some: lla batch 'runs/**/*.pt', or --manifest FILE"
        )
    if more and not values["quiet"]:
        times = "one checkpoint was" if more == 1 else f"{more} checkpoints were"
        warn(f"{times} named more than once, and counts once")
    return found


def _terms(values: dict[str, Any]) -> Terms:
    from lla.batch.batch import Terms

    return Terms(
        flags=values_of((*SELECTION, *SETTINGS), values),
        environment=os.environ,
        recipe=os.path.abspath(values["recipe"]) if values["recipe"] else None,
        trust=trust_of(values),
        threads=_cpus(values),
        timeout=_seconds(values["timeout"]),
        fresh=not values["resume"],
    )


def _cpus(values: dict[str, Any]) -> int:
    """Cores of a job: as stated, or this machine's shared out among those that run at once."""
    cores = len(os.sched_getaffinity(0))
    if values["executor"] != "process":
        return values["cpus"] or 1
    return values["cpus"] or max(1, cores // (values["jobs"] or cores))


def _seconds(text: str | None) -> float:
    """Seconds of a text as 90, 90s, 10m or 2h.

    Raises:
        ConfigurationError: It is none.
    """
    from lla.errors import ConfigurationError

    if text is None:
        return 0.0
    number = text.strip().rstrip("smhd")
    try:
        found = float(number) * _UNITS[text.strip()[len(number) :]]
    except (ValueError, KeyError):
        found = 0.0
    if not 0 < found < float("inf"):
        raise ConfigurationError(f"--timeout {text} is no time", "write it as 90s, 10m or 2h")
    return found


def _refuse_misspelt(values: dict[str, Any]) -> None:
    """See, before anything is made, that the options on how jobs are carried out can be meant.

    Raises:
        ConfigurationError: One cannot.
    """
    from lla.batch.executors.choice import refuse_unknown
    from lla.errors import ConfigurationError

    refuse_unknown(values["executor"])
    for key, sign, value in _pairs(values["slurm"]):
        if not (key and sign):
            given = key + sign + value
            raise ConfigurationError(f"--slurm {given} has no value", "write --slurm partition=gpu")
    for name in ("jobs", "retries", "cpus", "gpus"):
        if (values[name] or 0) < 0:
            raise ConfigurationError(
                f"--{name} {values[name]} is negative", f"give 0 or more, or leave --{name} out"
            )


def _pairs(texts: Iterable[str]) -> list[tuple[str, str, str]]:
    """Keys, signs and values of options like key=value; no sign where there is none."""
    return [text.partition("=") for text in texts]


def _executor(batch: Batch, values: dict[str, Any]) -> Executor:
    from lla.batch.executors.choice import made
    from lla.batch.executors.options import Options

    options = Options(
        logs=batch.logs,
        slots=values["jobs"],
        cpus=_cpus(values),
        gpus=values["gpus"],
        address=values["address"],
        cluster=values["slurm_cluster"],
        slurm=tuple((key, value) for key, _, value in _pairs(values["slurm"])),
    )
    return made(values["executor"], options)


def _carry_out(batch: Batch, values: dict[str, Any], interruption: Interruption) -> None:
    """Carry out what is left to be done, and show how far it is."""
    from lla_cli.batch_told import watching

    with (
        watching(batch.rows, quiet=values["quiet"]) as tick,
        closing(_executor(batch, values)) as executor,
        interruption.deferred(),
    ):
        batch.run(executor, retries=values["retries"], tick=tick, stop=lambda: interruption.came)


def _indexed(batch: Batch, *, pages: bool) -> Written:
    from lla.batch.index import Entry, write_index

    entries = []
    for row in batch.rows:
        said = row.record.outcome if row.record else None
        status = said.status if said else "waiting"
        entries.append(
            Entry(
                row.job.name,
                _short(row.job.checkpoint, batch.folder),
                _short(row.job.report, batch.folder),
                status,
                said.reason if said else "",
                said.remedy if said else "",
            )
        )
    return write_index(entries, batch.folder, pages=pages)


def _short(path: str, folder: Path) -> str:
    place = Path(path)
    return str(place.relative_to(folder)) if place.is_relative_to(folder) else path


def _tell(batch: Batch, index: Written | None, values: dict[str, Any]) -> None:
    """The result on stdout; without an index, what would be done."""
    from lla.batch.documents import batch_document
    from lla_cli.batch_told import foretold, summary
    from lla_cli.terminal import print_document

    if values["json"]:
        print_document(batch_document(batch, index))
    else:
        print(summary(batch, index) if index else foretold(batch))
    sys.stdout.flush()
