"""Jobs as Slurm jobs, by submitit; or by its local executor, to try that without Slurm.

submitit writes the job scripts and brings the outcomes back. Its own requeueing is not used, nor
is Slurm's: a job whose limit is near or that is preempted ends after the product in hand and says
so; the runner then starts it again, and it goes on from its parts.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lla.batch.executors import guarded
from lla.batch.executors.executor import Executor
from lla.batch.executors.options import Options
from lla.batch.executors.slurm_places import Here, OnSlurm, Place
from lla.batch.job import Ended, Job, Outcome
from lla.errors import ConfigurationError
from lla.optional import optional

__all__ = ["SlurmExecutor"]

_SLOTS = 256  # Slurm is the queue; so many lie in it at once
_ARRAY = 1000  # jobs in an array: Slurm takes 1001 unless it is told otherwise
_WARNING = 90  # seconds before its limit at which Slurm tells a job
_MARGIN = 120  # seconds between a job's timeout, which it keeps itself, and Slurm's limit
_FORCE = 10.0  # seconds that jobs may take to be gone after they were ended by force
_FOREVER = 60 * 24 * 365  # minutes


@dataclass(frozen=True)
class _Submitted:
    """A job in hand, and what submitit calls it."""

    job: Job
    handle: Any


class SlurmExecutor(Executor):
    """Carries out jobs by Slurm, many of them as an array.

    Args:
        options: ``slots``, ``cpus``, ``gpus``, ``cluster``, ``slurm`` and ``logs`` count.

    Raises:
        ConfigurationError: submitit is not installed, there is no Slurm, or an option is wrong.
    """

    name = "slurm"

    def __init__(self, options: Options) -> None:
        if options.gpus is not None and options.gpus != int(options.gpus):
            raise ConfigurationError(
                f"Slurm gives whole GPUs to a job, not {options.gpus:g}",
                "say --gpus 1; parts of a GPU are given by --executor ray",
            )
        self._submitit = _quiet_submitit()
        self._options = options
        self._engine = self._opened(options)
        local = options.cluster == "local"
        self._place: Place = Here() if local else OnSlurm()
        cores = max(1, (os.cpu_count() or 1) // options.cpus)
        self.slots = options.slots or (cores if local else _SLOTS)
        self._waiting: list[Job] = []
        self._submitted: list[_Submitted] = []
        self._accepted = False

    def _opened(self, options: Options) -> Any:
        folder = options.logs / "slurm"
        folder.mkdir(parents=True, exist_ok=True)
        if options.cluster not in ("slurm", "local"):
            raise ConfigurationError(
                f"there is no cluster '{options.cluster}'", "say --slurm-cluster slurm or local"
            )
        try:
            engine = self._submitit.AutoExecutor(folder=folder, cluster=options.cluster)
        except RuntimeError:
            raise ConfigurationError(
                "there is no Slurm here: the command srun is not found",
                "run the batch on a login node; --slurm-cluster local tries it on this machine",
            ) from None
        engine.update_parameters(**_parameters(engine, options))
        return engine

    def start(self, job: Job) -> None:
        """Take a job; :meth:`poll` submits all that were taken since, as one array.

        Raises:
            ConfigurationError: Nothing says how long it may take.
        """
        limited = job.timeout or "time" in dict(self._options.slurm)
        if not limited and self._options.cluster == "slurm":
            raise ConfigurationError(
                "Slurm has to know how long a job may take",
                "say --timeout 2h, or --slurm time=120 (minutes)",
            )
        self._waiting.append(job)

    def poll(self, seconds: float) -> Sequence[Ended]:
        """The jobs that are over since the last call; waits for one, at most that long.

        Raises:
            ConfigurationError: Slurm takes no job at all.
        """
        until = time.monotonic() + seconds
        ended = self._submit()
        while True:
            ended += self._ended()
            left = until - time.monotonic()
            if ended or left <= 0:
                return ended
            time.sleep(min(left, self._place.pause))

    def _submit(self) -> list[Ended]:
        waiting, self._waiting = self._waiting, []
        refused: list[Ended] = []
        for timeout in sorted({job.timeout for job in waiting}):
            alike = [job for job in waiting if job.timeout == timeout]
            for first in range(0, len(alike), _ARRAY):
                refused += self._submit_array(alike[first : first + _ARRAY], timeout)
        return refused

    def _submit_array(self, jobs: Sequence[Job], timeout: float) -> list[Ended]:
        minutes = math.ceil((timeout + _MARGIN) / 60) if timeout else _FOREVER
        limit = dict(self._options.slurm).get("time")
        self._engine.update_parameters(
            timeout_min=minutes, slurm_time=_value(limit) if limit else minutes
        )
        try:
            with _surroundings(self._submitit, self._options.cpus), self._engine.batch():
                handles = [self._engine.submit(_carried_out, *self._called(job)) for job in jobs]
        except self._submitit.core.utils.FailedJobError as error:
            why = _refusal(str(error))
            if not self._accepted:
                raise ConfigurationError(
                    f"Slurm does not take the jobs: {why}",
                    "'sinfo' lists partitions and limits; --slurm KEY=VALUE hands sbatch an option",
                ) from None
            return [Ended(job, None, f"Slurm did not take it: {why}") for job in jobs]
        self._accepted = True
        self._submitted += map(_Submitted, jobs, handles)
        return []

    def _called(self, job: Job) -> tuple[Job, Path, bool]:
        gpus = self._options.gpus
        given = any(key.startswith("gpu") or key == "gres" for key, _ in self._options.slurm)
        device = str(job.flags.get("run", {}).get("device", "auto"))
        hidden = not gpus and not given and not device.startswith("cuda")
        return job, guarded.log_of(job, self._options.logs), hidden

    def _ended(self) -> list[Ended]:
        """Which jobs have a result, or will have none any more."""
        # First who is dead, then who has a result: a job may end in between.
        dead = self._place.dead([entry.handle for entry in self._submitted])
        ended = []
        for entry in list(self._submitted):
            outcome, why = self._result(entry.handle)
            why = why or dead.get(entry.handle.job_id, "")
            if outcome or why:
                self._submitted.remove(entry)
                log = guarded.log_of(entry.job, self._options.logs)
                said = "" if outcome else guarded.died(entry.job, log, why)
                ended.append(Ended(entry.job, outcome, said))
        return ended

    @staticmethod
    def _result(handle: Any) -> tuple[Outcome | None, str]:
        if not handle.paths.result_pickle.exists():
            return None, ""
        error = handle.exception()
        if error is None:
            return handle.result(), ""
        trace = str(error).split("-" * 22)[1:2] or [str(error)]
        why = f"its worker could not go on ({_last_line(trace[0])}); see {handle.paths.stderr}"
        return None, why

    def cancel(self, grace: float) -> Sequence[Ended]:
        """End all jobs in hand: by SIGTERM, and after ``grace`` seconds by force."""
        ended = [Ended(job, None, "it was ended before it began") for job in self._waiting]
        self._waiting.clear()
        self._place.asked_to_end([entry.handle for entry in self._submitted])
        ended += self._gone(grace)
        self._place.killed([entry.handle for entry in self._submitted])
        ended += self._gone(_FORCE)
        why = f"it was ended by force {grace:g} s after it was asked to end"
        ended += [Ended(entry.job, None, why) for entry in self._submitted]
        self._submitted.clear()
        return ended

    def _gone(self, seconds: float) -> list[Ended]:
        until = time.monotonic() + seconds
        ended: list[Ended] = []
        while self._submitted and time.monotonic() < until:
            ended += self._ended()
            time.sleep(self._place.pause)
        return ended

    def close(self) -> None:
        """End by force what is still in hand."""
        self.cancel(0.0)


def _quiet_submitit() -> Any:
    """The package; its logger would write to stdout, where the result goes."""
    before = os.environ.get("SUBMITIT_LOG_LEVEL")
    os.environ["SUBMITIT_LOG_LEVEL"] = "NOCONFIG"
    try:
        package = optional("submitit", "slurm", "--executor slurm")
    finally:
        del os.environ["SUBMITIT_LOG_LEVEL"]
        if before is not None:
            os.environ["SUBMITIT_LOG_LEVEL"] = before
    logger = logging.getLogger("submitit")  # it repeats what is told here
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return package


def _parameters(engine: Any, options: Options) -> dict[str, Any]:
    """What submitit is told of each job."""
    told: dict[str, Any] = {
        "name": "lla",
        "nodes": 1,
        "tasks_per_node": 1,
        "cpus_per_task": options.cpus,
        "slurm_array_parallelism": options.slots or _SLOTS,
        "slurm_signal_delay_s": _WARNING,
        # Slurm 22.05 and later: a step does not take this from the job's script.
        "slurm_srun_args": [f"--cpus-per-task={options.cpus}"],
    }
    if options.gpus:
        told["gpus_per_node"] = int(options.gpus)
    further: dict[str, Any] = {"no-requeue": True}
    for key, text in options.slurm:
        name = "slurm_" + key.replace("-", "_")
        if key in ("setup", "teardown", "srun_args"):
            told[name] = [*told.get(name, ()), text]
            continue
        try:
            engine.update_parameters(**{name: _value(text)})
        except NameError:  # an option of sbatch that submitit has no name for
            further[key] = _value(text)
    return {**told, "slurm_additional_parameters": further}


def _value(text: str) -> int | bool | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    return int(text) if text.isdecimal() else text


@contextmanager
def _surroundings(submitit: Any, cpus: int) -> Iterator[None]:
    """Within: the environment that jobs get, also where the batch itself runs in a job."""
    kept = {key: os.environ[key] for key in ("SLURM_CONF",) if key in os.environ}
    threads = os.environ.get("OMP_NUM_THREADS")
    # Ctrl-C in the terminal is the batch's affair, not its children's; one that comes now waits.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    with submitit.helpers.clean_env():
        os.environ.update(kept, OMP_NUM_THREADS=str(cpus))
        try:
            yield
        finally:
            del os.environ["OMP_NUM_THREADS"]
            if threads is not None:
                os.environ["OMP_NUM_THREADS"] = threads
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _refusal(text: str) -> str:
    """What sbatch says, in one line."""
    said = [line.partition("sbatch:")[2] for line in text.splitlines() if "sbatch:" in line]
    words = [line.strip().removeprefix("error: ") for line in said]
    return "; ".join(dict.fromkeys(words)) or _last_line(text)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines()]
    return next((line for line in reversed(lines) if line), "it does not say why")


def _carried_out(job: Job, log: Path, hidden: bool) -> Outcome:
    """What runs in a job."""
    if hidden:
        # Where Slurm does not confine jobs, they see all GPUs of a node, others' too.
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    return guarded.carry_out(job, log)
