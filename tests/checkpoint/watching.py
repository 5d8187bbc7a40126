"""Watch what a piece of code does to the machine: files, programs, sockets; memory and time."""

import faulthandler
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_WATCHED = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "pty.spawn",
    "shutil.",
    "socket.",
    "subprocess.Popen",
    "urllib.Request",
)
_WRITING = 0o3 | 0o100 | 0o1000  # O_WRONLY or O_RDWR, O_CREAT, O_TRUNC
_seen: list[str] | None = None


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _seen is None:
        return
    if event == "open":
        _, mode, flags = arguments
        writes = isinstance(mode, str) and any(sign in mode for sign in "wax+")
        if writes or (isinstance(flags, int) and flags & _WRITING):
            _seen.append(f"open {arguments[0]!r} {mode}")
    elif event.startswith(_WATCHED):
        _seen.append(event)


# A hook cannot be taken away again: it is there once, and idle unless asked.
sys.addaudithook(_hook)


@contextmanager
def watched() -> Iterator[list[str]]:
    """The events of a block that change anything outside the process."""
    global _seen
    _seen = events = []
    try:
        yield events
    finally:
        _seen = None


def bounded(action: Callable[[], object], *, seconds: int = 10, mebibytes: int = 512) -> str:
    """Do something in a process that may take so long and so much more memory than it has.

    Returns:
        "killed by signal N", or name and text of the error, or the text of the result.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with open("/proc/self/statm") as file:
                pages = int(file.read().split()[0])
            limit = pages * resource.getpagesize() + (mebibytes << 20)
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.alarm(seconds)
            faulthandler.disable()  # a crash is told by its signal
            try:
                text = str(action())
            except BaseException as error:  # whatever it is, the parent is to hear of it
                text = f"{type(error).__name__}: {error}"
            os.write(writing, text[:4000].encode(errors="replace"))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return f"killed by signal {os.WTERMSIG(status)}"
    return told
