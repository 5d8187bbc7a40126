"""The GPUs of one machine, shared out among its jobs: each job sees its own alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from lla.errors import ConfigurationError

__all__ = ["VISIBLE", "Gpus", "names_of"]

VISIBLE = "CUDA_VISIBLE_DEVICES"


class Gpus:
    """Which job has which GPUs.

    Attributes:
        room: How many jobs they hold at once.
    """

    def __init__(self, names: Sequence[str], each: float) -> None:
        """Share them out.

        Args:
            names: What ``CUDA_VISIBLE_DEVICES`` calls them.
            each: How many a job gets, more than 0: whole ones, or a part of one.

        Raises:
            ConfigurationError: It is neither, or more than there are.
        """
        if not each > 0 or (each > 1 and each != int(each)):
            raise ConfigurationError(
                f"{each:g} GPUs are no number for a job",
                "say --gpus 1, or 2, or a part of one: --gpus 0.5",
            )
        if each > len(names):
            raise ConfigurationError(
                f"a job asks for {each:g} GPUs, and this machine has {len(names)} of them that "
                "can be used",
                "ask for fewer (--gpus; 0 for none)",
            )
        self._whole = max(1, int(each))
        self._places = int(1 / each + 1e-9) if each < 1 else 1
        self._load = dict.fromkeys(names, 0)
        self._taken: dict[str, tuple[str, ...]] = {}
        self.room = len(names) * self._places // self._whole

    def take(self, job: str) -> tuple[str, ...]:
        """GPUs for a job: those with the fewest jobs, and of these the ones that rested longest.

        Raises:
            RuntimeError: There is no room.
        """
        free = [name for name, load in self._load.items() if load < self._places]
        if len(free) < self._whole:
            raise RuntimeError(f"{self.room} jobs have all GPUs")
        chosen = sorted(free, key=self._load.__getitem__)[: self._whole]
        for name in chosen:
            # Behind the others, so that the next job of as many takes another.
            self._load[name] = self._load.pop(name) + 1
        self._taken[job] = tuple(chosen)
        return self._taken[job]

    def free(self, job: str) -> None:
        """Take back what a job had, if anything."""
        for name in self._taken.pop(job, ()):
            self._load[name] -= 1


def names_of(count: int, environment: Mapping[str, str] = os.environ) -> list[str]:
    """What ``CUDA_VISIBLE_DEVICES`` calls the first ``count`` GPUs that this process sees."""
    stated = environment.get(VISIBLE)
    known = [str(number) for number in range(count)] if stated is None else stated.split(",")
    return [name.strip() for name in known[:count]]
