"""Commands that ask a report's problem again, or something else."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lla.report import Report
from lla.settings import COMMAND_LINE

__all__ = ["PROBLEM", "command_for", "repeat"]

# Options with a value that mean the same to every command: other analyses' own are left out.
PROBLEM = {
    *("model", "model_arg", "weights", "batch_norm", "data", "loss", "params", "recipe"),
    *("lr", "batch_size", "samples"),
    *("tolerance", "confidence", "device", "dtype", "seed", "memory", "threads", "set"),
    *("method", "products", "shard_parameters"),
}
_SWITCHES = ("shard_parameters", "no_shard_parameters")  # they take no value


def repeat(report: Report) -> str:
    """The command that made the report, or "" where none did."""
    return shlex.join(map(str, report.provenance.get("command", ())))


def command_for(report: Report, analysis: str, flags: Mapping[str, Any]) -> str:
    """The command that asks the report's problem something: an analysis with some options.

    It states what the report's own command stated of the problem, and what that stated of the same
    analysis, which without it would answer another question.

    Args:
        report: Of the problem.
        analysis: Its name; "" gives "".
        flags: Options with their values, in the place of what was stated.
    """
    if not analysis:
        return ""
    path = report.checkpoint.path
    place = shlex.quote(path) if path else "CHECKPOINT"
    options = [f"--{name.replace('_', '-')} {value}" for name, value in flags.items()]
    stated = list(_stated(report, set(flags) - {"set"}))
    own = _own(report, analysis, {*flags, *_set([*stated, str(flags.get("set", ""))], analysis)})
    words = [shlex.quote(word) for word in (*stated, *own)]
    return " ".join(("lla", analysis, place, *words, *options))


def _set(stated: Sequence[str], analysis: str) -> Iterator[str]:
    """The analysis' settings that ``--set`` states already."""
    for word in stated:
        path = word.removeprefix("--set=").partition("=")[0]
        section, dot, key = path.partition(".")
        if dot and section == analysis:
            yield key


def _own(report: Report, analysis: str, stated: set[str]) -> Iterator[str]:
    """The analysis' own options that the command line gave: without them it is another question."""
    known = report.provenance.get("configuration", {}).get(analysis, {})
    for path, origin in report.provenance.get("origins", {}).items():
        section, _, key = path.partition(".")
        if section != analysis or origin != COMMAND_LINE or key in stated or key not in known:
            continue
        name, value = f"--{key.replace('_', '-')}", known[key]
        if key in PROBLEM:
            yield from ("--set", f"{path}={value}")
        elif isinstance(value, bool):
            yield name if value else f"--no-{name.removeprefix('--')}"
        elif isinstance(value, Mapping):
            for item, one in value.items():
                yield from (name.removesuffix("s"), f"{item}={one}")
        else:
            for one in value if isinstance(value, (list, tuple)) else (value,):
                yield from (name, str(one))


def _stated(report: Report, changed: set[str]) -> Iterator[str]:
    """The options of the report's own command that state the problem, for another command."""
    words = iter(report.provenance.get("command", ())[2:])
    for word in words:
        name, inline, _ = word.removeprefix("--").partition("=")
        if word.startswith("--") and name.replace("-", "_") in _SWITCHES:
            yield word
            continue
        if not word.startswith("--") or name.replace("-", "_") not in PROBLEM - changed:
            continue
        yield word
        if not inline:
            yield next(words, "")
