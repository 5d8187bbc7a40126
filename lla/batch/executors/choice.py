"""Executors by name; an engine's package is imported by who chooses it."""

from __future__ import annotations

from lla.analyses.analysis import imported
from lla.batch.executors.executor import Executor
from lla.batch.executors.options import Options
from lla.errors import ConfigurationError, nearest

__all__ = ["EXECUTORS", "made"]

EXECUTORS = {
    "process": "lla.batch.executors.processes:ProcessExecutor",
    "ray": "lla.batch.executors.ray:RayExecutor",
    "slurm": "lla.batch.executors.slurm:SlurmExecutor",
}


def made(name: str, options: Options) -> Executor:
    """The executor of this name, ready for jobs.

    Raises:
        ConfigurationError: There is none, its package is not installed, or its engine cannot be
            used like this.
    """
    if name not in EXECUTORS:
        raise ConfigurationError(
            f"there is no executor '{name}'{nearest(name, EXECUTORS)}",
            f"use --executor {', '.join(EXECUTORS)}",
        )
    executor: Executor = imported(EXECUTORS[name])(options)
    return executor
