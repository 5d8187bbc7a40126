"""Several processes ("ranks") that carry out one analysis together, as the rooms see them.

All ranks run the same program on the same values, and so take the same decisions; each adds its
share of a sum over samples. What is measured (time, memory) or comes from outside (signals,
files) differs between ranks: one rank's is taken, by :meth:`Team.broadcast`, or all ranks' are
put together. A run on its own is a team of one, :data:`ALONE`, which does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from lla.errors import LlaError

if TYPE_CHECKING:
    import torch

__all__ = ["ALONE", "Alone", "Team", "Turns", "by_first", "share_of"]

T = TypeVar("T")


class Team(Protocol):
    """Ranks that work together. Whatever one of them calls, all of them call in the same order.

    ``seconds`` is the exception: it is of this rank alone.
    """

    @property
    def rank(self) -> int:
        """This process' number, from 0; rank 0 alone reads what is kept, writes and prints."""

    @property
    def size(self) -> int:
        """The number of processes."""

    @property
    def neighbours(self) -> int:
        """Ranks that share this one's memory: those on its GPU, or else on its machine."""

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds that this rank has spent, by what on."""

    def share(self, count: int) -> slice:
        """This rank's of ``count`` things: :func:`share_of`."""

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum of all ranks' tensors, which have one shape: the same bits on every rank."""

    def summed_share(self, values: torch.Tensor) -> torch.Tensor:
        """This rank's of ``size`` equal pieces of the sum of all ranks' tensors, shape (n,)."""

    def smallest(self, value: int) -> int:
        """The smallest of all ranks' numbers."""

    def any(self, condition: bool) -> bool:
        """Whether it holds on some rank."""

    def joined(self, part: torch.Tensor, count: int, dim: int = -1) -> torch.Tensor:
        """The whole of which each rank has its share of ``count`` places along a dimension."""

    def broadcast(self, value: T) -> T:
        """Rank 0's object, on every rank; the others' is not looked at."""

    def gather(self, value: T) -> list[T]:
        """All ranks' objects, in their order, on every rank."""

    def barrier(self) -> None:
        """Wait for all ranks."""

    def timed(self, what: str) -> AbstractContextManager[None]:
        """Add the seconds within to ``seconds``."""


def by_first(team: Team, action: Callable[[], T]) -> T:
    """What rank 0 finds, on every rank: of what is measured, or lies in files.

    Raises:
        LlaError: What rank 0 raised of that kind, on every rank.
    """
    if team.size == 1:
        return action()
    found: tuple[T | None, LlaError | None] = (None, None)
    if team.rank == 0:
        try:
            found = action(), None
        except LlaError as error:
            found = None, error
    value, raised = team.broadcast(found)
    if raised is not None:
        raise raised
    return cast(T, value)


class Turns:
    """Ranks do the first part of a block one after another, so that memory is taken by one.

    Each has to call :meth:`next` where its part ends.
    """

    def __init__(self, team: Team) -> None:
        self._team = team
        self._waiting = True

    def __enter__(self) -> Turns:
        for _ in range(self._team.rank):
            self._team.barrier()
        return self

    def next(self) -> None:
        """Let the next rank go on, and wait until all have come here."""
        if self._waiting:
            self._waiting = False
            for _ in range(self._team.size - self._team.rank):
                self._team.barrier()

    def __exit__(self, *about: object) -> None:
        # A rank that fails ends the run: nobody waits for the others then.
        if about[0] is None:
            self.next()


def share_of(count: int, rank: int, size: int) -> slice:
    """Contiguous shares of ``count`` things that differ by one at most, the first ones larger."""
    least, more = divmod(count, size)
    start = rank * least + min(rank, more)
    return slice(start, start + least + (rank < more))


class Alone:
    """A team of one."""

    rank = 0
    size = 1
    neighbours = 1

    @property
    def seconds(self) -> dict[str, float]:
        """Nothing is counted."""
        return {}

    def share(self, count: int) -> slice:
        """Everything."""
        return slice(0, count)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The values."""
        return values

    def summed_share(self, values: torch.Tensor) -> torch.Tensor:
        """The values."""
        return values

    def smallest(self, value: int) -> int:
        """The value."""
        return value

    def any(self, condition: bool) -> bool:
        """The condition."""
        return condition

    def joined(self, part: torch.Tensor, count: int, dim: int = -1) -> torch.Tensor:
        """The part."""
        return part

    def broadcast(self, value: T) -> T:
        """The value."""
        return value

    def gather(self, value: T) -> list[T]:
        """The value."""
        return [value]

    def barrier(self) -> None:
        """Wait for nobody."""

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Count nothing."""
        yield


ALONE = Alone()
