"""A problem in the hands of several workers at once, each with a copy of the network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

import torch

from lla.problem.problem import Problem

__all__ = ["Crew", "shared_out"]

T = TypeVar("T")
R = TypeVar("R")
W = TypeVar("W")

_AHEAD = 2  # items per worker that wait, so that none is idle


class Crew:
    """Workers that share out items, each an evaluation of the same problem.

    On a CPU the cores serve better side by side, an evaluation each, than together on one; with
    several GPUs each worker has one of its own. Threads suffice: what a network computes holds no
    lock of the interpreter.
    """

    def __init__(self, problem: Problem, workers: int = 1) -> None:
        """Make copies of the network, one for each worker but the first.

        Args:
            problem: On the device of the first worker.
            workers: How many; on GPUs they take the devices in turn.
        """
        devices = [_device(problem.device, index) for index in range(workers)]
        self.problems = [problem, *(problem.replica(device) for device in devices[1:])]

    def map(
        self, action: Callable[[Problem, T], R], items: Iterable[T]
    ) -> Generator[R, None, None]:
        """What an action gives for each item, in their order.

        Args:
            action: Called with a worker's problem and an item, by several threads at once.
            items: Taken as workers become free.

        Raises:
            Exception: What the action raises; items behind it are left.
        """
        return shared_out(self.problems, action, items)


def shared_out(
    workers: Sequence[W], action: Callable[[W, T], R], items: Iterable[T]
) -> Generator[R, None, None]:
    """What an action gives for each item, in their order, by a thread for each worker.

    Args:
        workers: What an action needs for itself while it runs; one alone needs no thread.
        action: Called with a worker and an item, by several threads at once.
        items: Taken as workers become free.

    Raises:
        Exception: What the action raises; items behind it are left.
    """
    if len(workers) == 1:
        for item in items:
            yield action(workers[0], item)
        return
    free: SimpleQueue[W] = SimpleQueue()
    for worker in workers:
        free.put(worker)

    def work(item: T) -> R:
        worker = free.get()
        try:
            return action(worker, item)
        finally:
            free.put(worker)

    pending: deque[Future[R]] = deque()
    with _pool(len(workers)) as pool:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > _AHEAD * len(workers):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _device(first: torch.device, index: int) -> torch.device:
    if first.type != "cuda":
        return first
    return torch.device("cuda", ((first.index or 0) + index) % torch.cuda.device_count())


@contextmanager
def _pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that divide torch's own threads among them."""
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(
        workers, initializer=torch.set_num_threads, initargs=(max(1, threads // workers),)
    )
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        # torch gives the number last set by any thread to threads that begin later.
        torch.set_num_threads(threads)
