"""A job in a worker: what it prints, when it ends, and what its log says of its end."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lla.batch import worker
from lla.batch.executors.guarded import carry_out, died, log_of
from lla.batch.job import Job, Outcome
from lla.errors import InterruptedRunError


def job(folder: Path, name: str = "a/b c") -> Job:
    return Job(name, "c.pt", str(folder / "r.lla.h5"), str(folder), timeout=7)


def worked(monkeypatch: pytest.MonkeyPatch, body: Callable[[Callable[[], None]], None]) -> None:
    def run(job: Job, stop: Callable[[], None]) -> Outcome:
        body(stop)
        return Outcome("done", 1.0)

    monkeypatch.setattr(worker, "run", run)


def test_what_is_printed_goes_to_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def body(stop: Callable[[], None]) -> None:
        print("printed")
        os.write(2, b"from C\n")

    worked(monkeypatch, body)
    streams, log = (sys.stdout, sys.stderr), log_of(job(tmp_path), tmp_path)
    assert log == tmp_path / "a_b_c.log"
    assert carry_out(job(tmp_path), log).status == "done"
    assert carry_out(job(tmp_path), log).status == "done"  # a second attempt is appended
    assert capfd.readouterr() == ("", "")
    assert (sys.stdout, sys.stderr) == streams
    assert log.read_text().count("printed\nfrom C\n") == 2
    print("here again")
    os.write(1, b"and C\n")
    assert capfd.readouterr().out == "here again\nand C\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR2])
def test_a_signal_waits_for_the_product_in_hand(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def body(stop: Callable[[], None]) -> None:
        stop()
        os.kill(os.getpid(), number)
        seen.append("went on")
        with pytest.raises(InterruptedRunError, match=number.name) as error:
            stop()
        assert error.value.exit_code == 143
        with pytest.raises(InterruptedRunError):  # a second one does not wait
            os.kill(os.getpid(), number)

    worked(monkeypatch, body)
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)]
    assert carry_out(job(tmp_path), tmp_path / "log").status == "done"
    assert seen == ["went on"]
    after = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)]
    assert after == before


def test_a_full_disk_costs_the_log_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worked(monkeypatch, lambda stop: None)
    full = tmp_path / "full.log"
    full.symlink_to("/dev/full")
    assert carry_out(job(tmp_path), full).status == "done"


def test_a_folder_that_this_node_does_not_have(tmp_path: Path) -> None:
    outcome = carry_out(job(tmp_path / "elsewhere"), tmp_path / "log")
    assert (outcome.status, outcome.exit_code) == ("failed", 5)
    assert f"no folder {tmp_path / 'elsewhere'}" in outcome.reason
    assert "same file system" in outcome.remedy


def test_the_log_tells_a_timeout_from_a_death(tmp_path: Path) -> None:
    """Of the last attempt alone; Python writes the first line of a timeout like this."""
    this, log = job(tmp_path, "one"), tmp_path / "one.log"
    assert died(this, log, "it was killed") == "it was killed"
    hung = "== one == pid 1\nTimeout (0:00:07)!\nThread 0x1 (most recent call first):\n"
    log.write_text("== one == pid 0\n" + hung)
    said = f"it took longer than its timeout of 7 s; its log is {log}"
    assert died(this, log, "it was killed") == said
    log.write_text(hung + "== one == pid 2\nall is well\n")
    assert died(this, log, "it was killed") == f"it was killed; its log is {log}"


def test_no_thread_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worked(monkeypatch, lambda stop: None)
    before = threading.active_count()
    carry_out(job(tmp_path), tmp_path / "log")
    assert threading.active_count() == before
