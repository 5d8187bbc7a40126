"""What carries out jobs somewhere: the one interface to processes, Ray and Slurm."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from lla.batch.job import Ended, Job

__all__ = ["Executor"]


class Executor(ABC):
    """Carries out jobs; whatever happens to a worker costs the job that it had in hand.

    The runner starts at most ``slots`` jobs at once, asks :meth:`poll` which are over, and starts
    the next ones or the same ones anew: an executor neither queues nor retries. A job's timeout
    is the executor's to keep: one that hangs is killed and reported by :meth:`poll`.

    Attributes:
        name: What ``--executor`` calls it.
        slots: How many jobs it takes at once, once it is prepared.
    """

    name: ClassVar[str]
    slots: int

    def prepare(self, jobs: Sequence[Job]) -> None:  # noqa: B027
        """Make ready for these jobs; called once, before the first of them is started.

        Raises:
            LlaError: They could never be carried out: nothing is begun then.
        """

    @abstractmethod
    def start(self, job: Job) -> None:
        """Begin a job, and return at once.

        Raises:
            LlaError: The engine cannot take it.
        """

    @abstractmethod
    def poll(self, seconds: float) -> Sequence[Ended]:
        """The jobs that are over since the last call; waits for one, at most that long."""

    @abstractmethod
    def cancel(self, grace: float) -> Sequence[Ended]:
        """End all jobs in hand: first so that they can keep what is done, then by force.

        Args:
            grace: Seconds that workers have to finish the product in hand.

        Returns:
            The jobs that were in hand.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the engine; nothing of it stays behind."""
