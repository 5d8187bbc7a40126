"""The journal: what is written survives; what is cut short, foreign or damaged counts as none."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lla.batch.job import Outcome
from lla.batch.journal import Journal, Record


def record(name: str, status: str = "done", key: str = "k") -> Record:
    return Record(name, key, Outcome(status, 1.5, "why ‖H‖", "what next", 5, 7), 2)  # type: ignore[arg-type]


def opened(path: Path) -> tuple[Journal, list[str]]:
    told: list[str] = []
    return Journal(path, told.append), told


def test_records_come_back_the_last_of_each_name(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal, told = opened(path)
    assert journal.records == {}
    for one in (record("a", "failed"), record("b"), record("a")):
        journal.add(one)
    assert len(path.read_bytes().splitlines()) == 3, "it is only added to"
    again, _ = opened(path)
    assert again.records == {"a": record("a"), "b": record("b")}
    assert again.records["a"].done
    assert told == []


@pytest.mark.parametrize("kept", [1, 40, -1])
def test_a_last_line_that_a_crash_cut_short_counts_as_none(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "journal.jsonl"
    journal, _ = opened(path)
    journal.add(record("a"))
    whole = path.read_bytes()
    journal.add(record("b"))
    path.write_bytes(whole + path.read_bytes()[len(whole) :][:kept])
    again, _ = opened(path)
    assert set(again.records) == {"a"}
    again.add(record("c"))
    assert set(opened(path)[0].records) == {"a", "c"}, "what follows is not glued to it"


def test_foreign_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal, _ = opened(path)
    journal.add(record("a"))
    lines = ["nonsense", "[]", "3", "{}", '{"name": "x"}', '{"name": "y", "outcome": 3}']
    path.write_text("\n".join(lines) + "\n" + path.read_text())
    # What a later version says besides is no reason to forget the rest.
    path.write_text(path.read_text().replace('"seconds"', '"hours":1,"seconds"'))
    assert opened(path)[0].records == {"a": record("a")}


def test_a_full_disk_is_told_once_and_leaves_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.jsonl"
    journal, told = opened(path)
    journal.add(record("a"))
    write = os.write

    def half(handle: int, content: bytes) -> int:
        return write(handle, content[:20])

    def full(handle: int, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for broken in (half, full):
        monkeypatch.setattr(os, "write", broken)
        journal.add(record("b"))
    monkeypatch.undo()
    assert len(told) == 1
    assert "run again" in told[0]
    assert journal.trouble
    assert set(opened(path)[0].records) == {"a"}
    journal.add(record("c"))
    assert journal.trouble == ""
    assert set(opened(path)[0].records) == {"a", "c"}
