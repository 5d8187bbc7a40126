"""Jobs in processes of this machine, a new one for each, with GPUs of its own where there are any.

They are forked from a server that has imported what analyses need and has computed nothing: a
process is there in a fraction of a second, and what befalls it, or what it leaves in its memory,
is its own affair.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import ClassVar

from lla.allocator import keep_freed_memory
from lla.batch.executors.executor import Executor
from lla.batch.executors.gpus import VISIBLE, Gpus, names_of
from lla.batch.executors.guarded import carry_out, died, log_of
from lla.batch.executors.options import Options
from lla.batch.job import Ended, Job, Outcome
from lla.errors import ConfigurationError

__all__ = ["ProcessExecutor"]

_PRELOADED = ["__main__", "lla.batch.executors.preloaded"]
_LATE = 10.0  # seconds that a worker may take to end itself after its timeout
_EXIT = 10.0  # seconds that a worker may take to end after its last word
_LOOKING = 120.0  # seconds that it may take to find out which devices there are

_Devices = tuple[int, tuple[str, str] | None]


@dataclass(frozen=True)
class _Worker:
    job: Job
    process: BaseProcess
    connection: Connection
    begun: float

    @property
    def overdue(self) -> bool:
        """Whether its timeout is over, and it did not end itself."""
        return bool(self.job.timeout) and self._left(_LATE) <= 0

    def _left(self, late: float) -> float:
        return self.begun + self.job.timeout + late - time.monotonic()


class ProcessExecutor(Executor):
    """Processes of this machine."""

    name: ClassVar[str] = "process"

    def __init__(self, options: Options) -> None:
        """Make the executor; processes begin with the first job.

        Args:
            options: Slots, GPUs of each job and the folder of logs; by default one slot for each
                core, or as many as there is room for on the GPUs.
        """
        self._each = options.gpus
        self._gpus: Gpus | None = None
        self.slots = options.slots or len(os.sched_getaffinity(0))
        self._logs = options.logs
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOADED)
        self._workers: list[_Worker] = []

    def prepare(self, jobs: Sequence[Job]) -> None:
        """Share out the GPUs that are visible, where a job may compute on one.

        Raises:
            ConfigurationError: A device that a job states is not there, or there are fewer GPUs
                than a job is to get.
        """
        if self._each is None and all(job.device == "cpu" for job in jobs):
            return
        count, wrong = self._devices(sorted({job.device for job in jobs}))
        if wrong:
            raise ConfigurationError(*wrong)
        each = (1.0 if count else 0.0) if self._each is None else self._each
        if each:
            self._gpus = Gpus(names_of(count), each)
            self.slots = min(self.slots, self._gpus.room)

    def _devices(self, stated: Sequence[str]) -> _Devices:
        """How many GPUs torch can use here, and what is wrong with the devices stated, if anything.

        A process is asked, because torch is not imported in this one.
        """
        here, there = self._context.Pipe()
        process = self._context.Process(target=_look, args=(there, stated, self._hidden))
        process.start()
        there.close()
        found: _Devices = (0, None)
        with suppress(EOFError, OSError):  # it has died: jobs will say why
            if here.poll(_LOOKING):
                found = here.recv()
        here.close()
        process.kill()
        process.join()
        return found

    @property
    def _hidden(self) -> bool:
        """Whether jobs are to see no GPU."""
        return self._each == 0

    def start(self, job: Job) -> None:
        """Begin a job in a new process."""
        visible = self._visible(job)
        here, there = self._context.Pipe()
        process = self._context.Process(
            target=_worker, args=(there, job, log_of(job, self._logs), visible), name=job.name
        )
        process.start()
        there.close()
        self._workers.append(_Worker(job, process, here, time.monotonic()))

    def _visible(self, job: Job) -> str | None:
        """The GPUs that a job is to see; None: all, as this process does."""
        if self._hidden:
            return ""
        # A number counts the GPUs that the user sees.
        if self._gpus is None or ":" in job.device:
            return None
        if job.device == "cpu" and self._each is None:
            return ""
        return ",".join(self._gpus.take(job.name))

    def poll(self, seconds: float) -> Sequence[Ended]:
        """The jobs that are over since the last call; waits for one, at most that long."""
        if self._workers:
            channels = [part for w in self._workers for part in (w.connection, w.process.sentinel)]
            wait(channels, seconds)
        for worker in self._workers:
            if worker.overdue:
                worker.process.kill()
                worker.process.join()
        return self._over()

    def cancel(self, grace: float) -> Sequence[Ended]:
        """SIGTERM to all, which ends them after the product in hand; SIGKILL to those that stay."""
        ended: list[Ended] = []
        for worker in self._workers:
            worker.process.terminate()
        until = time.monotonic() + grace
        while self._workers and time.monotonic() < until:
            ended += self.poll(until - time.monotonic())
        for worker in self._workers:
            worker.process.kill()
            worker.process.join()
        return [*ended, *self._over()]

    def close(self) -> None:
        """End what is still running, by force."""
        self.cancel(0.0)

    def _over(self) -> list[Ended]:
        """Those that have said how it went, or are dead."""
        ended, running = [], []
        for worker in self._workers:
            # A worker's last word is there before it is dead, so this order misses none.
            dead = not worker.process.is_alive()
            if worker.connection.poll():
                ended.append(self._heard(worker))
            elif dead:
                ended.append(Ended(worker.job, None, self._why(worker)))
            else:
                running.append(worker)
                continue
            worker.connection.close()
            if self._gpus:
                self._gpus.free(worker.job.name)
        self._workers = running
        return ended

    def _heard(self, worker: _Worker) -> Ended:
        try:
            outcome: Outcome | None = worker.connection.recv()
        except (EOFError, OSError):  # its end of the pipe closed: it died
            outcome = None
        worker.process.join(_EXIT)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        return Ended(worker.job, outcome, "" if outcome else self._why(worker))

    def _why(self, worker: _Worker) -> str:
        code = worker.process.exitcode or 0
        how = f"its worker ended with code {code}"
        if worker.overdue:
            how = f"it took longer than its timeout of {worker.job.timeout:g} s, and was killed"
        elif code < 0:
            how = f"its worker was killed by {signal.Signals(-code).name}"
            if -code == signal.SIGKILL:
                how += ", perhaps by the system for want of memory"
        return died(worker.job, log_of(worker.job, self._logs), how)


def _look(connection: Connection, stated: Sequence[str], hidden: bool) -> None:
    """Say which devices there are."""
    if hidden:
        os.environ[VISIBLE] = ""
    import torch

    from lla.pipeline import choose_device

    wrong = None
    for device in stated:
        try:
            choose_device(device)
        except ConfigurationError as error:
            wrong = wrong or (error.reason, error.remedy)
    connection.send((torch.cuda.device_count() if torch.cuda.is_available() else 0, wrong))


def _worker(connection: Connection, job: Job, log: Path, visible: str | None) -> None:
    """The life of a worker."""
    if visible is not None:  # torch has not looked for GPUs yet
        os.environ[VISIBLE] = visible
    keep_freed_memory()
    # Ctrl-C in the terminal is the batch's affair, which tells its workers.
    with suppress(OSError):
        os.setsid()
    threading.Thread(target=_watch, args=(connection,), daemon=True).start()
    outcome = carry_out(job, log)
    with suppress(BrokenPipeError):
        connection.send(outcome)


def _watch(connection: Connection) -> None:
    """End this process when the batch is gone, however it went: nobody waits for the report."""
    with suppress(EOFError, OSError):
        connection.recv()  # nothing is ever sent this way
    os._exit(1)
