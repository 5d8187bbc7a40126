"""Where submitit's jobs run: Slurm, or this machine; what each knows of its jobs."""

from __future__ import annotations

import os
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lla.batch.executors.slurm_queue import WORDS, signalled, states

__all__ = ["Here", "OnSlurm", "Place"]


class Place(ABC):
    """What submitit's two clusters do differently.

    Attributes:
        pause: Seconds between two looks at the files of jobs.
    """

    pause: float

    @abstractmethod
    def dead(self, jobs: Sequence[Any]) -> dict[str, str]:
        """The jobs that are over without a result, by their numbers, and why."""

    @abstractmethod
    def asked_to_end(self, jobs: Sequence[Any]) -> None:
        """Tell jobs to end after the product in hand, and those that wait not to begin."""

    @abstractmethod
    def killed(self, jobs: Sequence[Any]) -> None:
        """End jobs by force."""


class OnSlurm(Place):
    """A Slurm cluster; it is asked for all jobs at once, and not often."""

    pause = 1.0
    _interval = 15.0  # seconds between two questions
    _delay = 30.0  # seconds that a result may take through the file system
    _silence = 180.0  # seconds without a word on a job until it is given up

    def __init__(self) -> None:
        self._asked = time.monotonic()
        self._since: dict[tuple[str, str], float] = {}  # number, state: since when

    def dead(self, jobs: Sequence[Any]) -> dict[str, str]:
        """The jobs of which Slurm says that they are over, or nothing any more."""
        now = time.monotonic()
        if now - self._asked < self._interval:
            return {}
        self._asked = now
        said = states(job.job_id for job in jobs)
        current = {(job.job_id, said.get(job.job_id, "")) for job in jobs}
        self._since = {key: self._since.get(key, now) for key in current}
        over = {}
        for (number, state), since in self._since.items():
            if state in WORDS and now - since >= self._delay:
                over[number] = f"{WORDS[state]} (Slurm job {number}: {state})"
            elif not state and now - since >= self._silence:
                over[number] = f"Slurm knows nothing of job {number} any more"
        return over

    def asked_to_end(self, jobs: Sequence[Any]) -> None:
        """Cancel what waits; SIGTERM to the steps of what runs, and not to their scripts."""
        numbers = [job.job_id for job in jobs]
        signalled(numbers, "--state=PENDING")
        signalled(numbers, "--state=RUNNING", "--signal=TERM")
        self._hurry()

    def killed(self, jobs: Sequence[Any]) -> None:
        """Cancel jobs."""
        signalled([job.job_id for job in jobs])

    def _hurry(self) -> None:
        self._interval, self._delay = 2.0, 2.0


class Here(Place):
    """This machine: each job is a controller of submitit's, and its child."""

    pause = 0.1

    def dead(self, jobs: Sequence[Any]) -> dict[str, str]:
        """The jobs whose controllers have ended."""
        return {job.job_id: WORDS["FAILED"] for job in jobs if job.state != "RUNNING"}

    def asked_to_end(self, jobs: Sequence[Any]) -> None:
        """SIGTERM to the controllers, which hand it on."""
        for job in jobs:
            with suppress(ProcessLookupError):
                os.kill(int(job.job_id), signal.SIGTERM)

    def killed(self, jobs: Sequence[Any]) -> None:
        """SIGKILL to the children, or to a controller that has none."""
        for job in jobs:
            number = int(job.job_id)
            for process in _children(number) or [number]:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)


def _children(process: int) -> list[int]:
    with suppress(OSError):
        return [
            int(n) for n in Path(f"/proc/{process}/task/{process}/children").read_text().split()
        ]
    return []
