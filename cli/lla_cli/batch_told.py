"""What ``lla batch`` says: how far it is on stderr, its result on stdout."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lla.numbers import seconds

if TYPE_CHECKING:
    from rich.console import Group

    from lla.batch.batch import Batch
    from lla.batch.index import Written
    from lla.batch.reported import Reported
    from lla.batch.runner import Row

__all__ = ["foretold", "summary", "watching"]

_PLAIN_EVERY = 30.0
_SHOWN = 12  # jobs that the live table names at most
_WORDS: dict[str, str] = {
    "waiting": "waiting",
    "running": "running",
    "again": "to be tried again",
    "done": "done",
    "skipped": "done before",
    "failed": "failed",
    "stopped": "stopped",
}
_COLOURS = {"done": "green", "failed": "red", "again": "yellow", "running": "cyan"}

Tick = Callable[["Row | None"], None]
Known = Mapping[str, "Reported"]


@contextmanager
def watching(rows: Sequence[Row], *, quiet: bool) -> Iterator[Tick]:
    """What is to be called with each row that has changed, and with None now and then."""
    if quiet:
        yield lambda row: None
    elif sys.stderr.isatty():
        yield from _live(rows)
    else:
        yield _Plain(rows).tick


class _Plain:
    """A line for each job that is over, and every 30 seconds how far all are."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows, self._told, self._begun = rows, time.monotonic(), time.monotonic()
        self._over = sum(row.state == "skipped" for row in rows)
        if self._over:
            self._say(f"{_count(self._over)} done before, of {len(rows)}")

    def tick(self, row: Row | None) -> None:
        """Say what has changed."""
        if row is not None and row.state not in ("waiting", "running"):
            self._over += row.over  # failures that are known from the start are told one by one
            self._say(_line(row, self._over, len(self._rows)))
        elif time.monotonic() - self._told >= _PLAIN_EVERY:
            self._say(_progress(self._rows, self._begun, _known(self._rows)))

    def _say(self, text: str) -> None:
        self._told = time.monotonic()
        print(text, file=sys.stderr, flush=True)


def _line(row: Row, over: int, all: int) -> str:
    said = row.record.outcome if row.record else None
    took = f" in {said.seconds:.1f} s" if said and row.state == "done" else ""
    reason = f": {said.reason}" if said and said.reason else ""
    return f"[{over}/{all}] {row.job.name}: {_WORDS[row.state]}{took}{reason}"


def _progress(rows: Sequence[Row], begun: float, known: Known) -> str:
    left = _left(rows, begun, known)
    return _told(rows) + (f"; about {_time(left)} left" if left else "")


def _told(rows: Sequence[Row], words: Mapping[str, str] = _WORDS) -> str:
    """How many jobs are where."""
    counts: Counter[str] = Counter(row.state for row in rows)
    return ", ".join(f"{counts[state]} {words[state]}" for state in words if counts[state])


def _left(rows: Sequence[Row], begun: float, known: Known) -> float:
    """Seconds that are left, by the pace so far; 0 where nothing tells."""
    ended = sum(row.state in ("done", "failed") and row.attempts > 0 for row in rows)
    share = sum(map(_share, known.values()))
    to_do = sum(not row.over for row in rows) - share
    return (time.monotonic() - begun) / (ended + share) * to_do if ended + share > 0.05 else 0.0


def _known(rows: Sequence[Row]) -> Known:
    """How far the running jobs are, by name, those that have said so."""
    from lla.batch.reported import reported

    found = {row.job.name: reported(row.job.progress) for row in rows if row.state == "running"}
    return {name: said for name, said in found.items() if said and said.stages}


def _share(said: Reported) -> float:
    """How much of a running job is done, roughly: analyses count alike."""
    return (said.position - 1 + (said.share or 0.0)) / said.stages


def _time(duration: float) -> str:
    return seconds(round(duration))


def _count(jobs: int) -> str:
    return "1 checkpoint was" if jobs == 1 else f"{jobs} checkpoints were"


def _live(rows: Sequence[Row]) -> Iterator[Tick]:
    from rich.console import Console
    from rich.live import Live

    begun = time.monotonic()
    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:

        def tick(row: Row | None) -> None:
            if row is not None and row.state in ("failed", "stopped", "again"):
                live.console.print(_line(row, sum(one.over for one in rows), len(rows)))
            live.update(_table(rows, begun), refresh=True)

        yield tick


def _table(rows: Sequence[Row], begun: float) -> Group:
    """Running jobs with their stages, the last ones that ended, and a line for all."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table("checkpoint", "state", "analysis", "time", box=None, header_style="bold")
    known = _known(rows)
    running = [row for row in rows if row.state == "running"]
    ended = [row for row in rows if row.over and row.state != "skipped"]
    shown = [*ended[-3:], *running[: _SHOWN - 3]]
    for row in shown:
        table.add_row(
            row.job.name,
            Text(_WORDS[row.state], style=_COLOURS.get(row.state, "")),
            _stage(known.get(row.job.name)),
            _time(_seconds(row)),
        )
    more = len(running) - len(running[: _SHOWN - 3])
    lines = [f"… and {more} more running"] if more else []
    return Group(table, *lines, _progress(rows, begun, known))


def _seconds(row: Row) -> float:
    if row.record and row.over:
        return row.record.outcome.seconds
    return time.monotonic() - row.begun


def _stage(said: Reported | None) -> str:
    if said is None:
        return ""
    share = "" if said.share is None else f" {said.share:.0%}"
    return f"{said.stage} ({said.position}/{said.stages}){share}"


def summary(batch: Batch, index: Written) -> str:
    """The result for people: what failed and why, and where the rest is."""
    lines = []
    for row in batch.rows:
        if row.record and row.state in ("failed", "stopped"):
            said = row.record.outcome
            lines.append(f"{row.job.name}: {_WORDS[row.state]}: {said.reason}")
            lines += [f"    {said.remedy}"] if said.remedy else []
    lines.append(f"{len(batch.rows)} checkpoints: {_told(batch.rows)}")
    lines.append(f"index: {index.html}")
    return "\n".join(lines)


def foretold(batch: Batch) -> str:
    """What would be done, for people; a job that has failed already cannot begin."""
    words = {**_WORDS, "failed": "cannot begin"}
    lines = []
    for row in batch.rows:
        reason = f": {row.record.outcome.reason}" if row.record and row.state == "failed" else ""
        lines.append(f"{words[row.state]:<12} {row.job.name:<24} {row.job.checkpoint}{reason}")
        if reason and row.record and row.record.outcome.remedy:
            lines.append(f"    {row.record.outcome.remedy}")
    return "\n".join([*lines, _told(batch.rows, words)])
