"""A team whose ranks are threads of this process: the arithmetic of many ranks in no time."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from lla.curvature.ways import kernels_of
from lla.team import share_of

T = TypeVar("T")
_WAIT = 30.0  # seconds, after which a rank that does not come has been lost


class ThreadTeam:
    """One rank of several threads; what they exchange lies in a list between two barriers."""

    def __init__(self, rank: int, size: int, barrier: threading.Barrier, held: list[Any]) -> None:
        self.rank, self.size, self.neighbours = rank, size, size
        self.seconds: dict[str, float] = {}
        self._barrier, self._held = barrier, held

    def share(self, count: int) -> slice:
        return share_of(count, self.rank, self.size)

    def gather(self, value: T) -> list[T]:
        self._held[self.rank] = value
        self._barrier.wait(_WAIT)
        found = list(self._held)
        self._barrier.wait(_WAIT)
        return found

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        parts = self.gather(values.clone())
        assert len({part.shape for part in parts}) == 1
        return torch.stack(parts).sum(dim=0)

    def summed_share(self, values: torch.Tensor) -> torch.Tensor:
        return self.sum(values).chunk(self.size)[self.rank].clone()

    def smallest(self, value: int) -> int:
        return min(self.gather(value))

    def any(self, condition: bool) -> bool:
        return any(self.gather(condition))

    def joined(self, part: torch.Tensor, count: int, dim: int = -1) -> torch.Tensor:
        whole = torch.cat(self.gather(part.clone()), dim=dim)
        assert whole.shape[dim] == count
        return whole

    def broadcast(self, value: T) -> T:
        return self.gather(value)[0]

    def barrier(self) -> None:
        self.gather(None)

    @contextmanager
    def timed(self, what: str) -> Any:
        yield


def on_ranks(size: int, action: Callable[[Any], T], kind: type[ThreadTeam] = ThreadTeam) -> list[T]:
    """What an action gives on each of some ranks; an error of one breaks the others' waiting.

    Ranks that are threads share torch's flags: they are set once around all of them, so that what
    each saves and gives back is the same, in whatever order they do it.
    """
    barrier, held = threading.Barrier(size), [None] * size

    def run(rank: int) -> T:
        try:
            return action(kind(rank, size, barrier, held))
        except BaseException:
            barrier.abort()
            raise

    with kernels_of("same"), sdpa_kernel(SDPBackend.MATH), ThreadPoolExecutor(size) as pool:
        waiting = [pool.submit(run, rank) for rank in range(size)]
        errors = [one.exception() for one in waiting]
        for error in errors:
            if error is not None and not isinstance(error, threading.BrokenBarrierError):
                raise error
        return [one.result() for one in waiting]
