"""A team over ``torch.distributed``: gloo on CPUs, NCCL where each rank has a GPU of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from lla.team import share_of

__all__ = ["TorchTeam"]

T = TypeVar("T")


class TorchTeam:
    """The ranks of a process group.

    Attributes:
        rank: This process' number.
        size: The number of processes.
        neighbours: Ranks that share this one's memory.
        seconds: Seconds that this rank has spent, by what on; "waiting" is in collectives.
        group: The process group; None: the default one.
    """

    def __init__(
        self,
        group: dist.ProcessGroup | None = None,
        *,
        neighbours: int = 1,
        on_failure: Callable[[RuntimeError], BaseException | None] = lambda error: None,
    ) -> None:
        """Make the team of a group that is initialised.

        Args:
            group: The process group; None: the default one.
            neighbours: Ranks that share this one's memory.
            on_failure: What to raise where a collective fails: None for the error itself.
        """
        self.group = group
        self.rank = dist.get_rank(group)
        self.size = dist.get_world_size(group)
        self.neighbours = neighbours
        self.seconds: dict[str, float] = {}
        self._on_failure = on_failure
        self._takes_cuda = "nccl" in str(dist.get_backend(group)) or (
            "nccl" in str(dist.get_backend_config(group))
        )
        self._takes_cpu = "gloo" in str(dist.get_backend_config(group))

    def share(self, count: int) -> slice:
        """This rank's of ``count`` things."""
        return share_of(count, self.rank, self.size)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum of all ranks' tensors.

        A ring adds each piece up in one place and hands it on, so that all ranks have the same
        bits (gloo's and NCCL's do).
        """
        return self._reduced(values, dist.ReduceOp.SUM)

    def summed_share(self, values: torch.Tensor) -> torch.Tensor:
        """This rank's of ``size`` equal pieces of the sum of all ranks' tensors, shape (n,)."""
        sent = self._placed(values)
        if not sent.is_cuda:
            # gloo has learnt to scatter sums only lately.
            return self.sum(values).chunk(self.size)[self.rank].clone()
        found = torch.empty_like(sent.chunk(self.size)[0])
        pieces = list(sent.chunk(self.size))
        self._waiting(lambda: dist.reduce_scatter(found, pieces, group=self.group))
        return found.to(values.device)

    def smallest(self, value: int) -> int:
        """The smallest of all ranks' numbers."""
        one = torch.tensor([value], dtype=torch.int64)
        return int(self._reduced(one, dist.ReduceOp.MIN))

    def any(self, condition: bool) -> bool:
        """Whether it holds on some rank."""
        one = torch.tensor([int(condition)], dtype=torch.int64)
        return bool(self._reduced(one, dist.ReduceOp.MAX))

    def joined(self, part: torch.Tensor, count: int, dim: int = -1) -> torch.Tensor:
        """The whole of which each rank has its share of ``count`` places along a dimension."""
        front = part.movedim(dim, 0)
        # Collectives want one shape: shares are filled up to the largest, rank 0's.
        longest = -(-count // self.size)
        filled = front.new_zeros((longest, *front.shape[1:]))
        filled[: len(front)] = front
        sent = self._placed(filled)
        parts = [torch.empty_like(sent) for _ in range(self.size)]
        self._waiting(lambda: dist.all_gather(parts, sent, group=self.group))
        places = [share_of(count, rank, self.size) for rank in range(self.size)]
        kept = [one[: p.stop - p.start] for one, p in zip(parts, places, strict=True)]
        return torch.cat(kept).to(part.device).movedim(0, dim)

    def broadcast(self, value: T) -> T:
        """Rank 0's object, on every rank."""
        held: list[Any] = [value if self.rank == 0 else None]
        self._waiting(lambda: dist.broadcast_object_list(held, group_src=0, group=self.group))
        return value if self.rank == 0 else held[0]  # rank 0 keeps the object itself

    def gather(self, value: T) -> list[T]:
        """All ranks' objects, in their order."""
        held: list[Any] = [None] * self.size
        self._waiting(lambda: dist.all_gather_object(held, value, group=self.group))
        return held

    def barrier(self) -> None:
        """Wait for all ranks."""
        self.any(False)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Add the seconds within to ``seconds``."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            taken = time.perf_counter() - begin
            self.seconds[what] = self.seconds.get(what, 0.0) + taken

    def _reduced(self, values: torch.Tensor, operation: Any) -> torch.Tensor:
        sent = self._placed(values)
        # The caller's tensor stays as it is.
        sent = sent.clone() if sent.data_ptr() == values.data_ptr() else sent
        self._waiting(lambda: dist.all_reduce(sent, operation, group=self.group))
        return sent.to(values.device)

    def _placed(self, values: torch.Tensor) -> torch.Tensor:
        """A tensor where the group's engine can reach it."""
        values = values.detach().contiguous()
        if values.is_cuda:
            return values if self._takes_cuda else values.cpu()
        return values if self._takes_cpu else values.cuda()

    def _waiting(self, collective: Callable[[], Any]) -> None:
        with self.timed("waiting"):
            try:
                collective()
            except RuntimeError as error:
                raise self._on_failure(error) or error from error
