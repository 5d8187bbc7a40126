"""A batch that is disturbed: after going on with it, its index is that of one left in peace."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.batch.holding import (
    COUNT,
    begun,
    both_held,
    ended,
    go_on,
    hold,
    indexed,
    made,
    processes,
    run,
    wait_until,
)

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("problem"))


@pytest.fixture(scope="module")
def peaceful(problem: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The index of a batch that nothing befell."""
    out = tmp_path_factory.mktemp("peaceful") / "out"
    code, document, said = run(problem, out)
    assert code == 0, said
    assert [job["state"] for job in document["jobs"]] == ["done"] * COUNT
    assert processes(out) == [], "nothing stays behind"
    found = indexed(out)
    assert len(found["reports"]) == COUNT
    return found


def completed(problem: Path, out: Path) -> list[str]:
    """Go on with a batch; the states of its jobs."""
    code, document, said = run(problem, out)
    assert code == 0, said
    leftover = [p for p in out.rglob("*") if p.name.endswith(".parts") or p.name.startswith(".")]
    assert leftover == [], "nothing half-written stays"
    return [job["state"] for job in document["jobs"]]


@pytest.mark.parametrize(
    "engine",
    [
        ("--executor", "ray", "--address", "local"),
        ("--executor", "slurm", "--slurm-cluster", "local", "--timeout", "10m"),
    ],
    ids=lambda options: options[1],
)
def test_the_same_batch_by_another_engine(
    problem: Path, peaceful: dict[str, Any], tmp_path: Path, engine: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    code, document, said = run(problem, out, *engine)
    assert code == 0, said
    assert [job["state"] for job in document["jobs"]] == ["done"] * COUNT
    assert indexed(out) == peaceful, "to the last bit"


def test_a_worker_is_killed_and_its_job_tried_again(
    problem: Path, peaceful: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    hold(out)
    with begun(problem, out) as process:
        os.kill(both_held(out)[0], signal.SIGKILL)
        go_on(out)
        code, document, said = ended(process)
    assert code == 0, said
    assert sorted(job["attempts"] for job in document["jobs"]) == [1, 1, 1, 2]
    assert indexed(out) == peaceful


def test_a_worker_is_killed_and_the_rest_finished(
    problem: Path, peaceful: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    hold(out)
    with begun(problem, out, "--retries", "0") as process:
        os.kill(both_held(out)[0], signal.SIGKILL)
        go_on(out)
        code, document, said = ended(process)
    assert code == 70, said
    states = {job["name"]: job["state"] for job in document["jobs"]}
    assert sorted(states.values()) == ["done", "done", "done", "failed"]
    (failed,) = (job for job in document["jobs"] if job["state"] == "failed")
    assert "SIGKILL" in failed["reason"]
    assert failed["remedy"]
    assert "SIGKILL" in said
    assert failed["reason"] in (out / "index.csv").read_text(), "the index tells of it"
    assert sorted(completed(problem, out)) == ["done", "skipped", "skipped", "skipped"]
    assert indexed(out) == peaceful


def test_the_batch_itself_is_killed(
    problem: Path, peaceful: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    hold(out)
    with begun(problem, out) as process:
        both_held(out)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_until(lambda: not processes(out)), "no orphan computes on"
    go_on(out)
    states = completed(problem, out)
    assert "done" in states
    assert indexed(out) == peaceful
    assert completed(problem, out) == ["skipped"] * COUNT
    assert indexed(out) == peaceful, "also an index made of what is there alone"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_state_to_go_on_from(
    problem: Path, peaceful: dict[str, Any], tmp_path: Path, number: int, code: int
) -> None:
    out = tmp_path / "out"
    hold(out)
    with begun(problem, out) as process:
        both_held(out)
        # As a terminal does it, the whole process group.
        os.killpg(process.pid, number)
        found, document, said = ended(process)
    assert found == code, said
    assert "batch" in said.splitlines()[-1], "the command to go on with"
    states = [job["state"] for job in document["jobs"]]
    assert set(states) <= {"done", "stopped", "waiting"}
    assert set(states) & {"stopped", "waiting"}
    assert processes(out) == []
    go_on(out)
    assert "skipped" in completed(problem, out)
    assert indexed(out) == peaceful


def test_a_second_signal_stops_at_once(problem: Path, tmp_path: Path) -> None:
    """Even where the product in hand never ends."""
    out = tmp_path / "out"
    hold(out, "always")
    with begun(problem, out) as process:
        both_held(out)
        os.kill(process.pid, signal.SIGINT)
        assert process.stderr
        while "finishing the product in hand" not in (line := process.stderr.readline()):
            assert line, "it has ended"
        assert process.poll() is None
        os.kill(process.pid, signal.SIGINT)
        code, _, said = ended(process)
    assert code == 130, said
    assert processes(out) == []


def test_a_job_that_hangs(problem: Path, tmp_path: Path) -> None:
    """Even one that is frozen: its timeout costs it alone."""
    out = tmp_path / "out"
    hold(out)
    with begun(problem, out, "--timeout", "40s", "--retries", "0") as process:
        os.kill(both_held(out)[0], signal.SIGSTOP)
        go_on(out)
        code, document, said = ended(process)
    assert code == 70, said
    assert sorted(job["state"] for job in document["jobs"]) == ["done"] * 3 + ["failed"]
    (failed,) = (job for job in document["jobs"] if job["state"] == "failed")
    assert "timeout of 40 s" in failed["reason"]
    assert processes(out) == []


def test_two_batches_in_one_folder(problem: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    hold(out)
    with begun(problem, out) as process:
        both_held(out)
        code, _, said = run(problem, out)
        assert code == 2
        assert "is being written by process" in said
        go_on(out)
        assert ended(process)[0] == 0


def test_no_room_for_a_report(problem: Path, peaceful: dict[str, Any], tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk where nobody may mount one."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16 << 10, resource.RLIM_INFINITY))

    out = tmp_path / "out"
    code, document, said = run(problem, out, preexec_fn=limited)
    assert code in (5, 70), said
    assert [job["state"] for job in document.get("jobs", [])] in (["failed"] * COUNT, [])
    assert "too large" in said
    assert not list(out.glob("*.lla.h5"))
    completed(problem, out)
    assert indexed(out) == peaceful


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MB: a report takes about 120 kB, the page's library 5 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_the_disk_is_full_in_the_middle(
    problem: Path, peaceful: dict[str, Any], small_disk: Path
) -> None:
    out, ballast = small_disk / "out", small_disk / "ballast"
    hold(out)
    with begun(problem, out) as process:
        both_held(out)
        wait_until(lambda: '"done"' in (out / "jobs" / "journal.jsonl").read_text())
        with suppress(OSError), ballast.open("wb", buffering=0) as stream:
            while True:
                stream.write(b"\0" * 4096)
        before = {path: path.read_bytes() for path in out.glob("*.lla.h5")}
        go_on(out)
        code, _, said = ended(process)
    assert code, said
    assert "No space left on device" in said
    assert 0 < len(before) < COUNT
    assert {path: path.read_bytes() for path in out.glob("*.lla.h5")} == before, "they stay"
    ballast.unlink()
    assert "skipped" in completed(problem, out)
    assert indexed(out) == peaceful
