"""Watch what a piece of code does to the machine: files written, programs started, sockets."""

import sys
from collections.abc import Iterator
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
