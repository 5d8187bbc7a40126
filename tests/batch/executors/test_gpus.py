"""GPUs shared out among jobs: by hand, and with processes on a machine that claims to have some."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from lla.batch.executors.gpus import VISIBLE, Gpus, names_of
from lla.batch.executors.options import Options
from lla.batch.executors.processes import ProcessExecutor
from lla.batch.job import Job
from lla.errors import ConfigurationError
from tests.batch.executors.jobs import job_of
from tests.batch.executors.test_contract import carried_out


@pytest.mark.parametrize(
    ("count", "each", "room", "at_most", "seen"),
    [
        (3, 1.0, 3, 1, 1),
        (4, 2.0, 2, 1, 2),
        (5, 2.0, 2, 1, 2),
        (2, 0.5, 4, 2, 1),
        (2, 1 / 3, 6, 3, 1),
        (2, 0.3, 6, 3, 1),
        (1, 0.7, 1, 1, 1),
    ],
)
def test_as_many_jobs_as_there_is_room_for(
    count: int, each: float, room: int, at_most: int, seen: int
) -> None:
    gpus = Gpus([f"g{number}" for number in range(count)], each)
    assert gpus.room == room
    for turn in range(3):
        taken = [gpus.take(f"job {number}") for number in range(room)]
        assert all(len(set(one)) == seen for one in taken)
        assert max(Counter(name for one in taken for name in one).values()) == at_most
        with pytest.raises(RuntimeError):
            gpus.take("one more")
        for number in range(room) if turn % 2 else reversed(range(room)):
            gpus.free(f"job {number}")


def test_each_gpu_has_its_turn() -> None:
    gpus = Gpus(["a", "b", "c"], 1.0)
    order = []
    for number in range(6):
        order += gpus.take(f"{number}")
        gpus.free(f"{number}")
    assert order == ["a", "b", "c", "a", "b", "c"]
    shared = Gpus(["a", "b"], 0.5)
    assert [shared.take(str(number)) for number in range(3)] == [("a",), ("b",), ("a",)]
    shared.free("1")
    assert shared.take("3") == ("b",), "the one with the fewest jobs"
    shared.free("never had any")


@pytest.mark.parametrize(("each", "said"), [(0.0, "0 GPUs"), (-1.0, "-1 GPUs"), (1.5, "1.5 GPUs")])
def test_numbers_that_are_none(each: float, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{said} are no number for a job"):
        Gpus(["a", "b"], each)


def test_more_than_there_are() -> None:
    with pytest.raises(ConfigurationError, match="asks for 2 GPUs, and this machine has 1 of"):
        Gpus(["a"], 2.0)


def test_what_the_user_hides_stays_hidden() -> None:
    assert names_of(2, {}) == ["0", "1"]
    assert names_of(2, {VISIBLE: "3, GPU-5ebe9fa"}) == ["3", "GPU-5ebe9fa"]
    assert names_of(1, {VISIBLE: "3,-1,2"}) == ["3"], "CUDA takes nothing behind a wrong one"
    assert names_of(0, {VISIBLE: ""}) == []


def executor(folder: Path, gpus: float | None, slots: int = 0) -> ProcessExecutor:
    folder.mkdir(exist_ok=True)
    return ProcessExecutor(Options(folder, slots=slots, gpus=gpus))


def claiming(made: ProcessExecutor, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "_devices", lambda stated: (count, None))


def jobs_of(folder: Path, *devices: str) -> list[Job]:
    """Jobs that print which GPUs they see, and compute on the CPU."""
    found = []
    for number, device in enumerate(devices):
        job = job_of("seeing", folder, name=f"job-{number}")
        run = {**job.flags["run"], "device": device}
        found.append(Job(**{**vars(job), "flags": {**job.flags, "run": run}}))
    return found


@pytest.mark.parametrize(
    ("count", "gpus", "slots", "devices", "room"),
    [
        (0, None, 3, ("auto",), 3),
        (2, None, 3, ("auto",), 2),
        (2, None, 3, ("cpu",), 3),
        (2, None, 3, ("cpu", "cuda"), 2),
        (2, 0.0, 3, ("auto",), 3),
        (2, 0.5, 8, ("auto",), 4),
        (2, 1.0, 1, ("cuda",), 1),
    ],
)
def test_no_more_at_once_than_have_room(
    count: int, gpus: float | None, slots: int, devices: tuple[str, ...], room: int,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    made = executor(tmp_path / "logs", gpus, slots)
    claiming(made, count, monkeypatch)
    made.prepare(jobs_of(tmp_path, *devices))
    assert made.slots == room


@pytest.mark.long
@pytest.mark.timeout(240)
def test_jobs_see_the_gpus_that_are_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VISIBLE, raising=False)
    seen = {}
    for gpus, devices in {None: ("auto", "auto", "cpu"), 0.0: ("auto",), 2.0: ("auto",)}.items():
        made = executor(tmp_path / f"logs-{gpus}", gpus)
        claiming(made, 2, monkeypatch)
        folder = tmp_path / f"jobs-{gpus}"
        folder.mkdir()
        jobs = jobs_of(folder, *devices)
        made.prepare(jobs)
        ended = carried_out(made, jobs)
        made.close()
        assert all(end.outcome and end.outcome.status == "done" for end in ended.values())
        seen[gpus] = [
            (tmp_path / f"logs-{gpus}" / f"{job.name}.log")
            .read_text()
            .partition("sees ")[2]
            .strip()
            for job in jobs
        ]
    assert seen == {None: ["'0'", "'1'", "''"], 0.0: ["''"], 2.0: ["'0,1'"]}


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_device_that_is_not_there_is_told_before_anything_starts(tmp_path: Path) -> None:
    made = executor(tmp_path / "logs", 0.0)
    with pytest.raises(ConfigurationError, match="no device 'cuda' that lla can use here") as told:
        made.prepare(jobs_of(tmp_path, "cpu", "cuda"))
    assert "--device auto" in told.value.remedy
    made.prepare(jobs_of(tmp_path, "cpu", "auto"))
    made.close()
