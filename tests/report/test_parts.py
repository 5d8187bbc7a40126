"""Side files: sealed, keyed, locked, and gone when they are not needed."""

import dataclasses
import json
import logging
import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from lla.analyses.baseline import BaselineResult
from lla.errors import ReportError, ReportInUseError
from lla.estimate import Estimate
from lla.files import replacing
from lla.report import Stage
from lla.report.parts import Parts

KEY = "ab" * 32
RESULT = BaselineResult(
    Estimate.exact(0.1, method="m"), Estimate.missing("none"), Estimate(1.0, 0.5, 2.0)
)
STAGE = Stage("done", 1.5, {"gradients": 1}, key=KEY, finished="2026-01-01T00:00:00+00:00")


def test_a_stage_comes_back_as_it_was(tmp_path: Path) -> None:
    with Parts.opened(tmp_path / "r.h5") as parts:
        parts.save_stage("stage baseline", KEY, RESULT, STAGE)
        parts.save_stage("stage other", KEY, None, dataclasses.replace(STAGE, status="failed"))
        parts.save_arrays("a: b", KEY, {"x": np.arange(3.0), "n": np.array(2), "none": np.zeros(0)})
        parts.save_plan(KEY, {"chunk": 3, "costs": [None, 0.1]})
    assert not (tmp_path / "r.h5.parts" / "lock").exists()
    with Parts.opened(tmp_path / "r.h5") as parts:
        assert repr(parts.load_stage("stage baseline", KEY, BaselineResult)) == repr(
            (RESULT, STAGE)
        )
        result, stage = parts.load_stage("stage other", KEY, BaselineResult)
        assert (result, stage.status) == (None, "failed")
        arrays = parts.load_arrays("a: b", KEY)
        assert arrays["x"].tolist() == [0, 1, 2]
        assert arrays["n"] == 2
        assert arrays["none"].size == 0
        assert parts.load_plan(KEY) == {"chunk": 3, "costs": [None, 0.1]}
        assert parts.load_stage("stage baseline", "cd" * 32, BaselineResult) is None
        parts.clear()
    assert os.listdir(tmp_path) == []


def test_no_flipped_byte_is_trusted(tmp_path: Path) -> None:
    with Parts.opened(tmp_path / "r.h5") as parts:
        parts.save_arrays("x", KEY, {"x": np.arange(3.0)})
        (path,) = parts.folder.glob("*.h5")
        whole = path.read_bytes()
        for place in range(0, len(whole), 61):
            broken = bytearray(whole)
            broken[place] ^= 4
            path.write_bytes(bytes(broken))
            assert parts.load_arrays("x", KEY) is None, place
        for content in (b"", whole[:-1], whole[: len(whole) // 2], b"no part"):
            path.write_bytes(content)
            assert parts.load_arrays("x", KEY) is None
        path.write_bytes(whole)
        assert parts.load_arrays("x", KEY) is not None


def test_a_part_of_something_else_is_not_taken(tmp_path: Path) -> None:
    """The file's name has a part of the key only: the key inside decides, and what is read."""
    other = KEY[:12] + "0" * 52
    with Parts.opened(tmp_path / "r.h5") as parts:
        parts.save_arrays("x", KEY, {"x": np.arange(3.0)})
        (path,) = parts.folder.glob("*.h5")
        assert parts.load_arrays("x", other) is None
        path.rename(parts.folder / f"y-{KEY[:12]}.h5")
        assert parts.load_arrays("y", KEY) is None
        parts.save_arrays("stage baseline", KEY, {"x": np.arange(3.0)})
        assert parts.load_stage("stage baseline", KEY, BaselineResult) is None


def test_fresh_drops_parts_and_stays_until_the_report_is_there(tmp_path: Path) -> None:
    with Parts.opened(tmp_path / "r.h5") as parts:
        parts.save_arrays("x", KEY, {"x": np.arange(3.0)})
    with Parts.opened(tmp_path / "r.h5", fresh=True) as parts:
        assert parts.load_arrays("x", KEY) is None
        assert parts.fresh
        parts.save_arrays("y", KEY, {"x": np.arange(3.0)})
    with Parts.opened(tmp_path / "r.h5") as parts:
        assert parts.fresh  # it is the fresh run that goes on
        assert parts.load_arrays("y", KEY) is not None
        parts.clear()
    with Parts.opened(tmp_path / "r.h5") as parts:
        assert not parts.fresh


def _hold(target: Path, wire: Connection) -> None:
    with Parts.opened(target):
        wire.send(os.getpid())
        wire.recv()


def test_a_second_writer_is_told_who_writes(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    holder = context.Process(target=_hold, args=(tmp_path / "r.lla.h5", there))
    holder.start()
    pid = here.recv()
    with (
        pytest.raises(ReportInUseError, match=rf"written by process {pid} on .*, since 20") as told,
        Parts.opened(tmp_path / "r.lla.h5"),
    ):
        pass
    assert told.value.exit_code == 2
    assert "r-2.lla.h5" in told.value.remedy
    holder.kill()  # the lock goes with the process, whatever it had no time for
    holder.join()
    assert (tmp_path / "r.lla.h5.parts" / "lock").exists()
    with Parts.opened(tmp_path / "r.lla.h5") as parts:
        assert json.loads((parts.folder / "lock").read_text())["pid"] == os.getpid()
    assert os.listdir(tmp_path) == []


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def none(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", none)
    with Parts.opened(tmp_path / "r.h5") as parts:
        parts.save_arrays("x", KEY, {"x": np.arange(3.0)})
        assert parts.load_arrays("x", KEY) is not None


def test_a_lock_on_a_file_that_is_gone_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A former holder removes the file between our opening and our locking it."""
    import fcntl

    real, path, calls = fcntl.flock, tmp_path / "r.h5.parts" / "lock", []

    def late(*arguments: int) -> None:
        if not calls:
            path.unlink()
        calls.append(arguments)
        real(*arguments)

    monkeypatch.setattr(fcntl, "flock", late)
    with (
        Parts.opened(tmp_path / "r.h5"),
        pytest.raises(ReportInUseError),
        Parts.opened(tmp_path / "r.h5"),
    ):
        pass
    assert len(calls) == 3


def test_a_full_disk_is_told_once_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with Parts.opened(tmp_path / "r.h5") as parts:
        monkeypatch.setattr(os, "fsync", full)
        with caplog.at_level(logging.WARNING, "lla"):
            parts.save_stage("stage baseline", KEY, RESULT, STAGE)
            parts.save_stage("stage other", KEY, RESULT, STAGE)
        assert parts.trouble == "No space left on device"
        assert parts.load_stage("stage baseline", KEY, BaselineResult) is None
    assert [record.message.count("No space left") for record in caplog.records] == [1]
    assert os.listdir(tmp_path) == []


def test_only_our_own_files_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "r.h5.parts"
    folder.mkdir()
    (folder / "notes.txt").write_text("kept")
    with Parts.opened(tmp_path / "r.h5") as parts:
        parts.save_arrays("x", KEY, {"x": np.arange(3.0)})
        parts.clear()
    assert os.listdir(folder) == ["notes.txt"]
    (tmp_path / "s.h5.parts").write_text("a file")
    with (
        pytest.raises(ReportError, match=r"s\.h5\.parts is no folder"),
        Parts.opened(tmp_path / "s.h5"),
    ):
        pass


def test_what_killed_runs_left_is_swept(tmp_path: Path) -> None:
    old, new, other = (tmp_path / name for name in (".r.h5.abcdefgh", ".r.h5.12345678", ".r.h5.x"))
    for path in (old, new, other):
        path.touch()
    os.utime(old, (0, 0))
    os.utime(other, (0, 0))
    with replacing(tmp_path / "r.h5") as temporary:
        temporary.write_bytes(b"content")
    assert sorted(os.listdir(tmp_path)) == [".r.h5.12345678", ".r.h5.x", "r.h5"]
