"""A batch that is disturbed: after going on with it, its index is that of one left in peace."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from lla.report import read

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

_COUNT = 4
_REFERENCES = ("REFERENCE_LIST", "DIMENSION_LIST")  # addresses within the file
_MARK = "TEST_OF_DISTURBED_BATCHES"
# While there is a file beside the batch's folder that asks for it, networks wait in their forward
# pass, so that tests do at a known place what they do: in the middle, where a report is there and
# another's job has kept a stage, until SIGTERM comes; or from the beginning on, whatever comes.
_NETS = """
import glob, os, signal, time
import torch

OUT = os.environ["{mark}"]
heard = []


def wanted():
    try:
        word = open(OUT + ".hold").read()
    except OSError:
        return False
    done, kept = glob.glob(OUT + "/*.lla.h5"), glob.glob(OUT + "/*.parts/stage*.h5")
    return word == "always" or bool(word == "middle" and done and kept and not heard)


class Net(torch.nn.Sequential):
    def forward(self, x):
        while wanted():
            open(OUT + ".held." + str(os.getpid()), "w").close()
            time.sleep(0.01)
        return super().forward(x)


def net():
    before = signal.getsignal(signal.SIGTERM)

    def receive(number, frame):
        heard.append(number)
        before(number, frame)

    signal.signal(signal.SIGTERM, receive)
    return Net(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
"""
# With the plan stated, runs that know nothing of each other give the same bits.
_RECIPE = """
schema = 1
[model]
factory = "nets.py:net"
[data]
source = "d.npz"
batch_size = 24
[training]
lr = 0.1
[run]
only = "baseline,spectrum"
method = "reverse"
together = 1
threads = 1
dtype = "float64"
[spectrum]
steps = 30
probes = 2
max_probes = 4
"""


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of four epochs."""
    folder = tmp_path_factory.mktemp("problem")
    (folder / "nets.py").write_text(_NETS.format(mark=_MARK))
    (folder / "lla.toml").write_text(_RECIPE)
    generator = np.random.default_rng(0)
    x = generator.normal(size=(24, 6)).astype(np.float32)
    np.savez(folder / "d.npz", x=x, y=np.arange(24) % 3)
    for epoch in range(1, _COUNT + 1):
        torch.manual_seed(epoch)
        net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
        torch.save({"state_dict": net.state_dict(), "epoch": epoch}, folder / f"m-{epoch}.pt")
    return folder


@contextmanager
def begun(problem: Path, out: Path, *options: str, **how: Any) -> Iterator[subprocess.Popen[str]]:
    """``lla batch`` in a process group of its own, which is gone in the end."""
    command = [sys.executable, "-c", "from lla_cli.main import main; main()", "batch", "m-*.pt"]
    process = subprocess.Popen(
        [*command, "-o", str(out), "--jobs", "2", "--json", *options],
        cwd=problem,
        env={**os.environ, _MARK: str(out), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **how,
    )
    try:
        yield process
    finally:
        for pid in (process.pid, *workers(out)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()


def ended(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any], str]:
    """Exit code, the document if there is one, and what was said on stderr."""
    out, said = process.communicate(timeout=300)
    return process.returncode, json.loads(out) if out.strip() else {}, said


def run(problem: Path, out: Path, *options: str, **how: Any) -> tuple[int, dict[str, Any], str]:
    with begun(problem, out, *options, **how) as process:
        return ended(process)


def processes(out: Path) -> list[int]:
    """All processes of the batches of this folder."""
    found = []
    for place in Path("/proc").iterdir():
        with suppress(OSError):
            if (
                place.name.isdecimal()
                and f"{_MARK}={out}\0".encode() in (place / "environ").read_bytes() + b"\0"
            ):
                found.append(int(place.name))
    return found


def workers(out: Path) -> list[int]:
    """Those that carry out a job: each leads a session."""
    found = []
    for pid in processes(out):
        with suppress(OSError):
            if os.getsid(pid) == pid and b"forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def wait_until(what: Callable[[], Any], seconds: float = 120.0) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = what()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come to that")


def hold(out: Path, word: str = "middle") -> None:
    """Have the networks of a batch wait, see ``_NETS``."""
    out.with_name(f"{out.name}.hold").write_text(word)


def go_on(out: Path) -> None:
    out.with_name(f"{out.name}.hold").unlink()


def both_held(out: Path) -> list[int]:
    """Wait until two workers wait; which."""
    beside = f"{out.name}.held."

    def waiting() -> list[int]:
        alive = workers(out)
        held = {int(path.name.removeprefix(beside)) for path in out.parent.glob(f"{beside}*")}
        return [pid for pid in alive if pid in held] if len(held.intersection(alive)) == 2 else []

    return wait_until(waiting)


def contents(path: Path) -> dict[str, Any]:
    """All that an index holds but what says when it, or a report, was written."""
    found: dict[str, Any] = {}

    def keep(name: str, item: h5py.Group | h5py.Dataset) -> None:
        facts = {key: repr(item.attrs[key]) for key in item.attrs if key not in _REFERENCES}
        values = repr(np.asarray(item[()]).tolist()) if isinstance(item, h5py.Dataset) else ""
        found[name] = facts, values

    with h5py.File(path, "r") as file:
        file.visititems(keep)
    del found["index/checkpoints/report_sha256"]
    return found


def indexed(out: Path) -> dict[str, Any]:
    """What an index says, and the numbers of all reports."""
    reports = {
        path.name: {name: repr(value) for name, value in read(path).metrics.items()}
        for path in sorted(out.glob("*.lla.h5"))
    }
    return {
        "reports": reports,
        "csv": (out / "index.csv").read_bytes(),
        "hdf5": contents(out / "index.h5"),
    }


@pytest.fixture(scope="module")
def peaceful(problem: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The index of a batch that nothing befell."""
    out = tmp_path_factory.mktemp("peaceful") / "out"
    code, document, said = run(problem, out)
    assert code == 0, said
    assert [job["state"] for job in document["jobs"]] == ["done"] * _COUNT
    assert processes(out) == [], "nothing stays behind"
    found = indexed(out)
    assert len(found["reports"]) == _COUNT
    return found


def completed(problem: Path, out: Path) -> list[str]:
    """Go on with a batch; the states of its jobs."""
    code, document, said = run(problem, out)
    assert code == 0, said
    leftover = [p for p in out.rglob("*") if p.name.endswith(".parts") or p.name.startswith(".")]
    assert leftover == [], "nothing half-written stays"
    return [job["state"] for job in document["jobs"]]


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
    assert completed(problem, out) == ["skipped"] * _COUNT
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
    assert [job["state"] for job in document.get("jobs", [])] in (["failed"] * _COUNT, [])
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
    assert 0 < len(before) < _COUNT
    assert {path: path.read_bytes() for path in out.glob("*.lla.h5")} == before, "they stay"
    ballast.unlink()
    assert "skipped" in completed(problem, out)
    assert indexed(out) == peaceful
