"""One writer at a time: a lock that the system releases when its holder dies, however it dies."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from lla.errors import ReportInUseError

__all__ = ["Lock"]

_TAKEN = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}


class Lock:
    """An exclusive lock on a file; it says who holds it.

    On a file system without locks there is none, and everybody may write.

    Args:
        path: The file; made if it does not exist, removed on release.
        what: What is written under the lock, for the message.

    Raises:
        ReportInUseError: Another process holds it.
        OSError: The file cannot be made.
    """

    def __init__(self, path: Path, what: Path) -> None:
        self._path = path
        self._handle = self._acquired(what)

    def _acquired(self, what: Path) -> int:
        while True:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                _flock(handle)
            except BlockingIOError:
                holder = os.read(handle, 4096)
                os.close(handle)
                raise ReportInUseError(
                    f"{what} is being written by {_told(holder)}",
                    f"wait for it, or choose another place: -o {_other(what)}",
                ) from None
            if self._is(handle):
                _sign(handle)
                return handle
            # A former holder removed the file between our opening and our locking it.
            os.close(handle)

    def _is(self, handle: int) -> bool:
        """Whether the open file is the one that others find under the path."""
        try:
            return os.path.samestat(os.fstat(handle), os.stat(self._path))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Remove the file and give the lock up."""
        # In this order: whoever finds a file finds one that is still to be locked.
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
        with suppress(OSError):
            os.close(self._handle)


def _flock(handle: int) -> None:
    try:
        import fcntl
    except ImportError:  # not on this system
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            raise BlockingIOError from None


def _sign(handle: int) -> None:
    about = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(sys.argv)[:500],
    }
    with suppress(OSError):  # a full disk: the lock holds all the same
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(about).encode(), 0)


def _told(content: bytes) -> str:
    try:
        found = json.loads(content)
        since = datetime.fromisoformat(found["since"])
        return f"process {found['pid']} on {found['host']}, since {since:%Y-%m-%d %H:%M} UTC"
    except (ValueError, KeyError, TypeError):
        return "another process"


def _other(target: Path) -> Path:
    return target.with_name(f"{target.name.removesuffix('.h5').removesuffix('.lla')}-2.lla.h5")
