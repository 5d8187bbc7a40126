"""Write a file all at once: readers see the old one or the new one, never half of one."""

from __future__ import annotations

import glob
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["replacing"]

_STALE = 24 * 3600.0  # seconds after which a temporary file is one that a killed run left


@contextmanager
def replacing(target: Path, within: Path | None = None) -> Iterator[Path]:
    """A temporary file that takes the place of ``target`` when the block ends well.

    Args:
        target: The file to write; a former version stays as it is until then.
        within: Folder of the temporary file, of the same file system; by default the target's.

    Raises:
        OSError: The folder cannot be written, or the disk is full; nothing is left behind.
    """
    folder = within or target.parent
    _sweep(folder, target.name)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=folder)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        # mkstemp makes private files; this one has the mode of any file its owner writes.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    _settle(target.parent)


def _sweep(folder: Path, name: str) -> None:
    """Remove what runs that were killed while they wrote this file have left."""
    with suppress(OSError):
        for path in folder.glob(f".{glob.escape(name)}.????????"):
            if time.time() - path.stat().st_mtime > _STALE:
                path.unlink(missing_ok=True)


def _settle(folder: Path) -> None:
    """Put a folder's new entry on the disk: a machine that loses power keeps it."""
    with suppress(OSError):  # not every file system has folders that can be synced
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
