"""A job in a worker that an engine has started, maybe on another machine.

A signal ends it between two products, its timeout ends it whatever it does, and what it prints
goes to its log.
"""

from __future__ import annotations

import faulthandler
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from lla.batch import worker
from lla.batch.job import Job, Outcome
from lla.errors import InterruptedRunError

__all__ = ["carry_out", "died", "log_of"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
_TAIL = 1 << 16  # bytes of a log in which the traces of a timeout are looked for


def log_of(job: Job, logs: Path) -> Path:
    """The file that takes what a job's workers print, of all attempts."""
    return logs / f"{re.sub(r'[^A-Za-z0-9._+=-]+', '_', job.name)}.log"


def carry_out(job: Job, log: Path) -> Outcome:
    """Carry out a job in this process, in its main thread.

    SIGTERM, SIGINT and SIGUSR2 (by which Slurm says that a limit is near) end it after the product
    in hand, a second one at once. Where the timeout is over the process ends, by a thread that no
    running code can hold up; the log then says what was running.

    Args:
        job: What to do.
        log: Where to append what it prints.

    Returns:
        How it went.
    """
    begun = time.perf_counter()
    missing = next((p for p in (Path(job.folder), log.parent) if not p.is_dir()), None)
    if missing:
        return Outcome(
            "failed",
            round(time.perf_counter() - begun, 3),
            f"there is no folder {missing} on {socket.gethostname()}",
            "workers need the same file system as the batch: put it on one that all nodes share",
            5,
        )
    with _printing_to(log, job), _signals() as stop, _ended_after(job.timeout):
        return worker.run(job, stop)


@contextmanager
def _signals() -> Iterator[Callable[[], None]]:
    """Within: signals come here; what is given raises if one has come."""
    received: list[int] = []

    def error(number: int) -> InterruptedRunError:
        said = "its time limit is near, or others go first" if number == signal.SIGUSR2 else "ended"
        return InterruptedRunError(f"{said} ({signal.Signals(number).name})", exit_code=143)

    def receive(number: int, frame: Any) -> None:
        received.append(number)
        if len(received) > 1:
            raise error(number)

    def stop() -> None:
        if received:
            raise error(received[0])

    before = {number: signal.signal(number, receive) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _ended_after(seconds: float) -> Iterator[None]:
    """Within: the process ends after so many seconds, 0 for never."""
    if seconds:
        faulthandler.dump_traceback_later(seconds, exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def _printing_to(log: Path, job: Job) -> Iterator[None]:
    """Within: whatever the process prints is appended to a file, from C as well."""
    before = sys.stdout, sys.stderr
    descriptors = os.dup(1), os.dup(2)
    file = _appending(log)
    # A disk that is full costs lines of the log; whether the job can do without is its affair.
    with suppress(OSError):
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        file.write(f"{_header(job)} {now} {socket.gethostname()} pid {os.getpid()}\n")
    try:
        for number, stream in enumerate(before, start=1):
            stream.flush()
            os.dup2(file.fileno(), number)
        sys.stdout = sys.stderr = file
        yield
    finally:
        sys.stdout, sys.stderr = before
        for number, descriptor in enumerate(descriptors, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)
        with suppress(OSError):
            file.close()


def _appending(log: Path) -> TextIO:
    try:
        return log.open("a", encoding="utf-8", errors="replace", buffering=1)
    except OSError:
        return open(os.devnull, "a", encoding="utf-8")


def _header(job: Job) -> str:
    return f"== {job.name} =="


def died(job: Job, log: Path, how: str) -> str:
    """Why a job's worker said nothing, in words for people.

    Args:
        job: The job.
        log: Its log.
        how: What the engine says of the worker's end.
    """
    last = _last_attempt(job, log)
    if re.search(r"^Timeout \(\d+:\d\d:\d\d", last, re.MULTILINE):
        how = f"it took longer than its timeout of {job.timeout:g} s"
    return f"{how}; its log is {log}" if last else how


def _last_attempt(job: Job, log: Path) -> str:
    """The end of what the last attempt at a job has printed."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return text.rpartition(_header(job))[2]
