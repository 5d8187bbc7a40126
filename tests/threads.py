"""Ranks as threads of one process: a team for tests that need no processes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch

from lla.team import share_of

__all__ = ["ThreadTeam", "on_threads"]

T = TypeVar("T")
_SECONDS = 60


class _Table:
    """Where ranks lay things down for each other."""

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size)
        self.held: list[Any] = [None] * size


class ThreadTeam:
    """One rank of several, each a thread; sums are made in the ranks' order."""

    neighbours = 1

    def __init__(self, rank: int, size: int, table: _Table) -> None:
        self.rank, self.size, self._table = rank, size, table
        self.seconds: dict[str, float] = {}
        self.collectives = 0

    def share(self, count: int) -> slice:
        return share_of(count, self.rank, self.size)

    def gather(self, value: T) -> list[T]:
        self.collectives += 1
        self._table.held[self.rank] = value
        self._table.barrier.wait(_SECONDS)
        found = list(self._table.held)
        self._table.barrier.wait(_SECONDS)
        return found

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        return torch.stack(self.gather(values.detach().clone())).sum(dim=0)

    def summed_share(self, values: torch.Tensor) -> torch.Tensor:
        return self.sum(values).chunk(self.size)[self.rank].clone()

    def smallest(self, value: int) -> int:
        return min(self.gather(value))

    def any(self, condition: bool) -> bool:
        return any(self.gather(condition))

    def joined(self, part: torch.Tensor, count: int, dim: int = -1) -> torch.Tensor:
        found = torch.cat(self.gather(part.detach().clone()), dim)
        assert found.shape[dim] == count
        return found

    def broadcast(self, value: T) -> T:
        return self.gather(value)[0]

    def barrier(self) -> None:
        self.gather(None)

    def timed(self, what: str) -> AbstractContextManager[None]:
        return nullcontext()


def on_threads(size: int, run: Callable[[Any], T], kind: type[ThreadTeam] = ThreadTeam) -> list[T]:
    """What each of ``size`` ranks returns; the first error of one is raised."""
    table = _Table(size)

    def one(rank: int) -> T:
        try:
            return run(kind(rank, size, table))
        except BaseException:
            table.barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        futures = [pool.submit(one, rank) for rank in range(size)]
    errors = [error for future in futures if (error := future.exception())]
    broken = threading.BrokenBarrierError
    for error in sorted(errors, key=lambda error: isinstance(error, broken)):
        raise error
    return [future.result() for future in futures]
