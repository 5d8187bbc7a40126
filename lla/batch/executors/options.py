"""What a user says about the engine that carries out a batch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """How an engine is used; each takes what concerns it.

    Attributes:
        logs: The folder that takes what workers print, absolute; on a cluster, on the file system
            that its nodes share.
        slots: How many jobs run at once; 0: as many as the engine thinks right.
        cpus: Cores that a job gets, and threads that it computes with.
        gpus: GPUs that a job gets, with processes and Ray also a part of one; None: one where there
            are any and the settings do not say another device, otherwise none.
        address: A running Ray cluster; "": that of ``RAY_ADDRESS``, or a new one on this machine.
        cluster: Where submitit sends jobs: "slurm", or "local" to try it without Slurm.
        slurm: What ``sbatch`` is told beyond that, as keys and values: ("partition", "gpu").
    """

    logs: Path
    slots: int = 0
    cpus: int = 1
    gpus: float | None = None
    address: str = ""
    cluster: str = "slurm"
    slurm: tuple[tuple[str, str], ...] = ()
