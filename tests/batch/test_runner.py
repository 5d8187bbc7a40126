"""The runner with an executor that computes nothing: order, slots, retries, being stopped."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lla.batch.executors.executor import Executor
from lla.batch.job import Ended, Job, Outcome
from lla.batch.runner import Row, carry_out_all

DONE = Outcome("done", 1.0)
WRONG = Outcome("failed", 1.0, "the data cannot be read", "look for it", 5)
SENT_AWAY = Outcome("stopped", 1.0, "others go first", exit_code=143)
DIED = None


class Scripted(Executor):
    """Ends each job as its name's script says, the oldest first, one a poll."""

    name = "scripted"

    def __init__(self, script: dict[str, list[Outcome | None]], slots: int = 2) -> None:
        self.script, self.slots = {k: deque(v) for k, v in script.items()}, slots
        self.running: list[Job] = []
        self.begun: list[str] = []
        self.most = 0

    def start(self, job: Job) -> None:
        self.running.append(job)
        self.begun.append(job.name)
        self.most = max(self.most, len(self.running))
        assert len(self.running) <= self.slots

    def poll(self, seconds: float) -> Sequence[Ended]:
        job = self.running.pop(0)
        outcome = self.script[job.name].popleft()
        return [Ended(job, outcome, "" if outcome else "its worker was killed by SIGKILL")]

    def cancel(self, grace: float) -> Sequence[Ended]:
        ended = [Ended(job, SENT_AWAY if place else DIED) for place, job in enumerate(self.running)]
        self.running.clear()
        return ended

    def close(self) -> None:
        assert not self.running


def run(
    script: dict[str, list[Outcome | None]],
    *,
    slots: int = 2,
    retries: int = 1,
    stop: Callable[[Scripted], bool] = lambda executor: False,
) -> tuple[dict[str, Row], list[str], Scripted]:
    """Rows by name, the names in the order in which they were over, and the executor."""
    rows = [Row(Job(name, f"{name}.pt", f"/{name}.lla.h5", "/"), "key") for name in script]
    executor, over = Scripted(script, slots), list[str]()
    carry_out_all(
        rows,
        executor,
        retries=retries,
        ended=lambda row: over.append(row.job.name),
        stop=lambda: stop(executor),
    )
    return {row.job.name: row for row in rows}, over, executor


def test_all_are_carried_out_in_order_in_as_many_slots_as_there_are() -> None:
    names = [f"job-{n}" for n in range(7)]
    rows, over, executor = run({name: [DONE] for name in names}, slots=3)
    assert over == executor.begun == names
    assert executor.most == 3
    assert {row.state for row in rows.values()} == {"done"}
    assert all(row.record and row.record.attempts == 1 and row.record.done for row in rows.values())


def test_a_death_is_tried_again_and_an_error_is_not() -> None:
    script = {"dies": [DIED, DONE], "errs": [WRONG], "good": [DONE], "doomed": [DIED, DIED, DIED]}
    rows, over, executor = run(script, retries=2)
    assert {name: row.state for name, row in rows.items()} == {
        "dies": "done",
        "errs": "failed",
        "good": "done",
        "doomed": "failed",
    }
    assert executor.begun.count("dies") == 2
    assert executor.begun.count("errs") == 1
    assert executor.begun.count("doomed") == 3
    assert sorted(over) == sorted(script), "each is told of once, when it is over"
    doomed = rows["doomed"].record
    assert doomed
    assert "killed by SIGKILL (tried 3 times)" in doomed.outcome.reason
    assert doomed.outcome.exit_code == 70
    assert doomed.outcome.remedy
    errs = rows["errs"].record
    assert errs
    assert errs.outcome == WRONG


def test_no_retries() -> None:
    rows, _, executor = run({"dies": [DIED, DONE]}, retries=0)
    assert rows["dies"].state == "failed"
    assert executor.begun == ["dies"]


def test_what_a_cluster_sends_away_goes_on() -> None:
    rows, _, executor = run({"sent": [SENT_AWAY, DONE], "other": [DONE]})
    assert rows["sent"].state == "done"
    assert rows["sent"].attempts == 2
    assert executor.begun == ["sent", "other", "sent"], "behind those that have not begun"


@pytest.mark.parametrize("retries", [0, 5])
def test_stopped_between_two_jobs(retries: int) -> None:
    """What runs is ended and can go on, even what died of it; nothing more begins."""
    names = [f"job-{n}" for n in range(6)]
    rows, over, executor = run(
        {name: [DONE] for name in names},
        slots=3,
        retries=retries,
        stop=lambda executor: len(executor.begun) == 4,
    )
    assert executor.begun == names[:4]
    states = [rows[name].state for name in names]
    assert states == ["done", "done", "stopped", "stopped", "waiting", "waiting"]
    assert over == names[:4]
    for name in names[2:4]:
        record = rows[name].record
        assert record
        assert not record.done
        assert record.outcome.status == "stopped"


def test_what_is_over_is_left_alone() -> None:
    skipped = Row(Job("old", "old.pt", "/old.lla.h5", "/"), "key", "skipped")
    executor = Scripted({})
    carry_out_all([skipped], executor, retries=1, ended=lambda row: pytest.fail("it was over"))
    assert executor.begun == []


def test_a_job_is_plain_values(tmp_path: Path) -> None:
    """It goes to other machines: what is pickled there is what was meant here."""
    import json
    import pickle
    from dataclasses import asdict

    job = Job(
        "a", "a.pt", str(tmp_path / "a.lla.h5"), str(tmp_path), {"run": {"seed": 3}}, timeout=2
    )
    assert pickle.loads(pickle.dumps(job)) == job
    assert Job(**{**json.loads(json.dumps(asdict(job))), "allowed": ()}) == job
