"""Jobs as Ray tasks: on this machine, or on the nodes of a Ray cluster.

One task per job, which yields twice: who works on it, and how it went. Ray retries nothing and
interrupts nothing: the runner does the one, and signals end a worker as they do elsewhere.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lla.batch.executors import guarded
from lla.batch.executors.executor import Executor
from lla.batch.executors.options import Options
from lla.batch.executors.ray_session import Session
from lla.batch.job import Ended, Job, Outcome
from lla.errors import ConfigurationError
from lla.optional import optional

__all__ = ["RayExecutor"]

_LATE = 15.0  # seconds after a timeout until the driver ends the worker from outside


@dataclass
class _Task:
    """A job in hand."""

    job: Job
    answers: Any  # the generator of what it yields
    node: str = ""  # "" until it runs
    pid: int = 0
    begun: float = 0.0
    outcome: Outcome | None = None
    why: str = ""  # why it was ended from outside


class RayExecutor(Executor):
    """Carries out jobs by Ray.

    Args:
        options: ``slots``, ``cpus``, ``gpus``, ``address`` and ``logs`` count.

    Raises:
        ConfigurationError: Ray is not installed, the cluster cannot be reached, or no job fits it.
    """

    name = "ray"

    def __init__(self, options: Options) -> None:
        self._ray = optional("ray", "ray", "--executor ray")
        self._options = options
        self._tasks: list[_Task] = []
        self._session = Session(self._ray, options)
        try:
            self._gpus = self._gpus_of_a_job()
            self.slots = options.slots or self._fitting(self._gpus)
        except BaseException:
            self.close()
            raise

    def _gpus_of_a_job(self) -> float:
        there: float = self._ray.cluster_resources().get("GPU", 0.0)
        asked = self._options.gpus
        if asked is None:
            return min(1.0, there)
        if asked > there:
            raise ConfigurationError(
                f"a job asks for {asked:g} GPUs, and Ray has {there:g} of them",
                "ask for fewer (--gpus), or name a cluster that has them (--address)",
            )
        return asked

    def prepare(self, jobs: Sequence[Job]) -> None:
        """Let as many run at once as there are cores for where none of them takes a GPU."""
        needless = self._options.gpus is None and all(job.device == "cpu" for job in jobs)
        if needless and not self._options.slots:
            self.slots = self._fitting(0.0)

    def _fitting(self, gpus: float) -> int:
        there = self._ray.cluster_resources()
        fitting = there.get("CPU", 1.0) / self._options.cpus
        if gpus:
            fitting = min(fitting, there["GPU"] / gpus)
        return max(1, int(fitting))

    def start(self, job: Job) -> None:
        """Hand a job to Ray, which begins it where there is room."""
        gpus = 0.0 if job.device == "cpu" and self._options.gpus is None else self._gpus
        remote = self._ray.remote(
            num_cpus=self._options.cpus,
            num_gpus=gpus,
            max_retries=0,
            num_returns="streaming",
        )(_answers)
        log = guarded.log_of(job, self._options.logs)
        answers = remote.options(name=job.name).remote(job, log, self._options.cpus, gpus)
        self._tasks.append(_Task(job, answers))

    def poll(self, seconds: float) -> Sequence[Ended]:
        """The jobs that are over since the last call; waits for one, at most that long."""
        until = time.monotonic() + seconds
        while True:
            ended = self._ended(max(0.0, min(1.0, until - time.monotonic())))
            if ended or time.monotonic() >= until:
                return ended

    def _ended(self, seconds: float) -> list[Ended]:
        if not self._tasks:
            time.sleep(seconds)
            return []
        waiting = {id(task.answers): task for task in self._tasks}
        ready, _ = self._ray.wait(
            [task.answers for task in self._tasks], timeout=seconds, fetch_local=False
        )
        ended = [end for answers in ready if (end := self._heard(waiting[id(answers)]))]
        for task in self._tasks:
            if task.job.timeout and task.node and not task.why:
                late = time.monotonic() - task.begun - task.job.timeout
                if late > _LATE:
                    self._kill(task, f"it took longer than its timeout of {task.job.timeout:g} s")
        return ended

    def _heard(self, task: _Task) -> Ended | None:
        """Take a task's next answer; how it ended, if that was the last."""
        why = ""
        try:
            answer = self._ray.get(next(task.answers))
            if isinstance(answer, Outcome):
                task.outcome = answer
            else:
                task.node, task.pid = answer
                task.begun = time.monotonic()
                return None
        except StopIteration:
            why = "its worker ended without a word"
        except self._ray.exceptions.RayError as error:
            why = self._words(error)
        self._tasks.remove(task)
        if task.outcome:
            return Ended(task.job, task.outcome)
        log = guarded.log_of(task.job, self._options.logs)
        return Ended(task.job, None, guarded.died(task.job, log, task.why or why))

    def _words(self, error: Exception) -> str:
        """What became of a worker."""
        known = self._ray.exceptions
        if isinstance(error, known.OutOfMemoryError):
            return "Ray ended its worker, because the node was short of memory"
        if isinstance(error, known.WorkerCrashedError):
            return "its worker died: it was killed, or crashed"
        if isinstance(error, known.TaskCancelledError):
            return "it was ended before it began"
        if isinstance(error, (known.NodeDiedError, known.ObjectLostError)):
            return "the node that it ran on was lost"
        if isinstance(error, known.RayTaskError):
            last = str(error).strip().splitlines()[-1]
            return f"its worker could not begin ({last}): is this lla installed on each node?"
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return f"Ray gave it up: {first}"

    def _kill(self, task: _Task, why: str) -> None:
        task.why = why
        self._ray.cancel(task.answers, force=True)

    def cancel(self, grace: float) -> Sequence[Ended]:
        """End all jobs in hand: by SIGTERM, and after ``grace`` seconds by force."""
        for task in self._tasks:
            if task.node:
                task.why = "it was ended before it had anything to say"
                self._terminate(task)
            else:
                self._kill(task, "it was ended before it began")
        ended: list[Ended] = []
        until = time.monotonic() + grace
        while self._tasks and (left := until - time.monotonic()) > 0:
            ended += self._ended(min(left, 1.0))
        for task in self._tasks:
            self._kill(task, f"it was ended by force {grace:g} s after it was asked to end")
        until = time.monotonic() + 10
        while self._tasks and time.monotonic() < until:
            ended += self._ended(1.0)
        ended += [Ended(task.job, None, task.why) for task in self._tasks]
        self._tasks.clear()
        return ended

    def _terminate(self, task: _Task) -> None:
        """Send SIGTERM to a task's worker, on whatever node it is."""
        if task.node == self._ray.get_runtime_context().get_node_id():
            _send_sigterm(task.pid)
            return
        there = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            node_id=task.node, soft=False
        )
        sender = self._ray.remote(num_cpus=0, max_retries=0)(_send_sigterm)
        # Nobody waits for it: whether the job ends is seen by its own answers.
        sender.options(scheduling_strategy=there).remote(task.pid)

    def close(self) -> None:
        """End what is in hand by force; a Ray that was started for this batch is shut down."""
        with suppress(Exception):
            for task in self._tasks:
                self._kill(task, "the batch was closed")
        self._tasks.clear()
        self._session.close()


def _answers(job: Job, log: Path, cpus: int, gpus: float) -> Iterator[tuple[str, int] | Outcome]:
    """What runs in a Ray worker."""
    import ray

    yield ray.get_runtime_context().get_node_id(), os.getpid()
    os.environ["OMP_NUM_THREADS"] = str(cpus)  # Ray keeps one that the user has set for himself
    if not gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray leaves all GPUs visible
    yield guarded.carry_out(job, log)


def _send_sigterm(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
