"""Executors by name; an engine's package is imported by who chooses it."""

from __future__ import annotations

from lla.analyses.analysis import imported
from lla.batch.executors.executor import Executor
from lla.batch.executors.options import Options
from lla.errors import ConfigurationError, nearest

__all__ = ["EXECUTORS", "made", "refuse_unknown"]

EXECUTORS = {
    "process": "lla.batch.executors.processes:ProcessExecutor",
    "ray": "lla.batch.executors.ray:RayExecutor",
    "slurm": "lla.batch.executors.slurm:SlurmExecutor",
}


def refuse_unknown(name: str) -> None:
    """See that there is an executor of this name; nothing is imported.

    Raises:
        ConfigurationError: There is none.
    """
    if name not in EXECUTORS:
        raise ConfigurationError(
            f"there is no executor '{name}'{nearest(name, EXECUTORS)}",
            f"choose among: {', '.join(EXECUTORS)}",
        )


def made(name: str, options: Options) -> Executor:
    """The executor of this name, ready for jobs.

    Raises:
        ConfigurationError: There is none, its package is not installed, or its engine cannot be
            used like this.
    """
    refuse_unknown(name)
    executor: Executor = imported(EXECUTORS[name])(options)
    return executor
