"""Memory that this process holds, and the most that it holds while something is done."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = [
    "Watch",
    "forget_peak",
    "give_back",
    "memory_in_use",
    "peak_of_process",
    "peak_resident",
    "physical_memory",
]

_EVERY = 0.002  # seconds between looks
_UNKNOWN = 400 << 20


def memory_in_use(device: torch.device) -> int:
    """Bytes that this process holds: on a GPU what torch has allocated there."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    return _resident()


def peak_of_process(device: torch.device) -> int:
    """The most bytes that this process has held so far: on a GPU what torch has allocated there."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return peak_resident()


def peak_resident() -> int:
    """The most bytes of the host's memory that this process has held so far."""
    # What getrusage says is at least what the program that started this one held.
    with suppress(OSError, StopIteration), open("/proc/self/status") as file:
        return 1024 * int(next(line for line in file if line.startswith("VmHWM")).split()[1])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def forget_peak() -> None:
    """Peaks count from now on: for a process that does one thing after another; on Linux alone."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        for device in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(device)


def physical_memory() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class Watch:
    """Within it, how much more memory is held at most than when it was entered.

    On a CPU a thread looks every two milliseconds at what the system counts; shorter peaks can be
    missed. On a GPU torch keeps the peak; the counter is torch's own, and is set anew.

    Attributes:
        rise: Bytes, once it has been left.
    """

    def __init__(self, device: torch.device) -> None:
        self.rise = 0
        self._device = device
        self._begin = self._most = 0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Watch:
        import torch

        give_back()
        self._begin = self._most = memory_in_use(self._device)
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            return self
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        import torch

        if self._thread is None:
            self._most = int(torch.cuda.max_memory_allocated(self._device))
        else:
            self._over.set()
            self._thread.join()
        self.rise = max(0, self._most - self._begin)

    def _look(self) -> None:
        while not self._over.wait(_EVERY):
            self._most = max(self._most, _resident())


def give_back() -> None:
    """Let the C library give what is free of its heap back to the system; nothing without glibc."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):
        return


def _resident() -> int:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux: what torch itself takes is a fair guess
        return _UNKNOWN
