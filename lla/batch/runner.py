"""Carry out jobs by an executor: start, wait, start anew what died, keep what ended."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lla.batch.executors.executor import Executor
from lla.batch.job import Ended, Job, Outcome
from lla.batch.journal import Record
from lla.report.storage import stages_of

__all__ = ["Row", "State", "carry_out_all", "skip_done"]

State = Literal["waiting", "running", "again", "done", "skipped", "failed", "stopped"]

_DIED = 70  # exit code of a job whose worker said nothing
_PAUSE = 0.5  # seconds between two looks at what is running


@dataclass
class Row:
    """A job and where it is.

    Attributes:
        job: The job.
        key: Digest of what its report depends on.
        state: "again" for one that waits because its worker died.
        attempts: How often it was begun.
        begun: When the attempt in hand began, by the monotonic clock.
        record: How it ended.
    """

    job: Job
    key: str
    state: State = "waiting"
    attempts: int = 0
    begun: float = 0.0
    record: Record | None = None

    @property
    def over(self) -> bool:
        """Whether nothing is left to be done."""
        return self.state in ("done", "skipped", "failed", "stopped")


def carry_out_all(
    rows: Sequence[Row],
    executor: Executor,
    *,
    retries: int,
    ended: Callable[[Row], None],
    tick: Callable[[Row | None], None] = lambda row: None,
    stop: Callable[[], bool] = lambda: False,
    grace: float = 600.0,
) -> None:
    """Carry out the jobs that wait; each is over afterwards, unless it was stopped.

    A job is begun again where its worker died, hung or was sent away; an error that a worker tells
    of is the same the next time, and ends it.

    Args:
        rows: The jobs; their states are kept up to date.
        executor: Carries them out.
        retries: How often a job is begun again.
        ended: Called with each row that is over, at once.
        tick: Called with each row whose state has changed, and with None twice a second.
        stop: Whether to begin nothing more and to end what is running.
        grace: Seconds that running jobs then have to finish the product in hand.
    """
    waiting = deque(row for row in rows if row.state == "waiting")
    running: dict[str, Row] = {}

    def heard(ends: Sequence[Ended], *, stopping: bool = False) -> None:
        for end in ends:
            row = running.pop(end.job.name)
            if _goes_on(end, row, retries) and not stopping:
                row.state = "again"
                waiting.append(row)
            else:
                _conclude(row, end, stopping=stopping)
                ended(row)
            tick(row)

    while waiting or running:
        if stop():
            heard(executor.cancel(grace), stopping=True)
            for row in waiting:
                row.state = "waiting"  # also those that were to be begun again
            return
        while waiting and len(running) < executor.slots and not stop():
            row = waiting.popleft()
            row.state, row.attempts, row.begun = "running", row.attempts + 1, time.monotonic()
            executor.start(row.job)
            running[row.job.name] = row
            tick(row)
        heard(executor.poll(_PAUSE))
        tick(None)


def _goes_on(end: Ended, row: Row, retries: int) -> bool:
    said = end.outcome
    return row.attempts <= retries and (said is None or said.status == "stopped")


def _conclude(row: Row, end: Ended, *, stopping: bool) -> None:
    seconds = round(time.monotonic() - row.begun, 3)
    outcome = end.outcome
    if outcome is None and stopping:
        outcome = Outcome("stopped", seconds, "the batch was stopped")
    elif outcome is None:
        tried = f" (tried {row.attempts} times)" if row.attempts > 1 else ""
        remedy = "look at its log; --retries and --timeout say how long to try"
        outcome = Outcome("failed", seconds, end.why + tried, remedy, _DIED)
    row.state = outcome.status
    row.record = Record(row.job.name, row.key, outcome, row.attempts)


def skip_done(rows: Sequence[Row], records: Mapping[str, Record]) -> None:
    """Mark the jobs whose reports are there already.

    Args:
        rows: The jobs.
        records: What earlier batches of the folder kept, by name.
    """
    for row in rows:
        record = records.get(row.job.name)
        if record and record.done and record.key == row.key and _there(row.job):
            row.state, row.record = "skipped", record


def _there(job: Job) -> bool:
    stages = stages_of(Path(job.report))
    return stages is not None and all(stage.status != "failed" for stage in stages.values())
