"""Progress on stderr: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lla.progress import Progress, Silent

__all__ = ["PlainProgress", "warn", "watching"]

_PLAIN_EVERY = 30.0


def warn(text: str) -> None:
    """Say on stderr what is not as it should be."""
    print(f"lla: {text}", file=sys.stderr)


@contextmanager
def watching(*, quiet: bool) -> Iterator[Progress]:
    """The progress that fits where stderr goes."""
    if quiet:
        yield Silent()
    elif sys.stderr.isatty():
        yield from _live()
    else:
        yield PlainProgress()


class PlainProgress:
    """A line at the start and the end of each stage, and every 30 seconds between."""

    def __init__(self) -> None:
        self._stage = ""
        self._begun = self._told = 0.0

    def start(self, stage: str, position: int, stages: int) -> None:
        """Name the stage."""
        self._stage, self._begun = stage, time.monotonic()
        self._told = self._begun
        self._say(f"[{position}/{stages}] {stage}")

    def update(self, done: float, total: float, what: str) -> None:
        """Say how far the stage is, if the last word is 30 seconds old."""
        now = time.monotonic()
        if now - self._told >= _PLAIN_EVERY:
            self._told = now
            self._say(f"      {self._stage}: {done:.0f} of {total:.0f} {what}")

    def finish(self, stage: str, status: str, seconds: float) -> None:
        """Say how the stage ended."""
        self._say(f"      {stage}: {_ended(status, seconds)}")

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def _ended(status: str, seconds: float) -> str:
    # What was taken from a report took no time now.
    return status if status.startswith("taken") else f"{status} in {seconds:.1f} s"


def _live() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    with Bars(
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as bars:
        yield _Live(bars)


class _Live:
    """One bar for each stage."""

    def __init__(self, bars: object) -> None:
        from rich.progress import Progress as Bars
        from rich.progress import TaskID

        assert isinstance(bars, Bars)
        self._bars = bars
        self._task: TaskID | None = None

    def start(self, stage: str, position: int, stages: int) -> None:
        """Open the stage's bar."""
        self._task = self._bars.add_task(stage, total=None, note="")

    def update(self, done: float, total: float, what: str) -> None:
        """Move the bar."""
        if self._task is not None:
            note = f"{done:.0f}/{total:.0f} {what}"
            self._bars.update(self._task, completed=done, total=total, note=note)

    def finish(self, stage: str, status: str, seconds: float) -> None:
        """Fill the bar."""
        if self._task is not None:
            self._bars.update(self._task, completed=1, total=1, note=_ended(status, seconds))
