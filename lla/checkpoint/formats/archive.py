"""Zip archives as checkpoints use them, looked over before anything in them is read."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO

from lla.errors import CheckpointError

__all__ = ["members_of", "read_member"]

_AGAIN = "copy or save the checkpoint again"
_RATIO = 100
_SMALL = 64 << 20
# A pickle takes a hundred times its bytes in memory once it is read.
_SMALL_PICKLE = 16 << 20


def members_of(path: Path, source: IO[bytes] | None = None) -> dict[str, zipfile.ZipInfo]:
    """The members of an archive by name, without its root folder.

    Args:
        path: The file.
        source: The archive, if it is a part of the file.

    Two readers of one archive must not see two different files: names that occur twice are
    refused, and so are those that lead out of the archive, and members that grow beyond measure.

    Raises:
        CheckpointError: The archive is damaged or built to mislead.
    """
    try:
        with zipfile.ZipFile(source or path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CheckpointError(f"{path} is damaged: {error}", _AGAIN) from None
    found: dict[str, zipfile.ZipInfo] = {}
    roots = {info.filename.partition("/")[0] for info in infos}
    for info in infos:
        name = info.filename
        if name.startswith("/") or ".." in name.replace("\\", "/").split("/"):
            raise _misleading(path, f"its member '{name[:100]}' leads out of the archive")
        short = name.partition("/")[2] if len(roots) == 1 else name
        if short in found:
            raise _misleading(path, f"its member '{name[:100]}' occurs twice")
        found[short] = info
    unpacked = sum(info.file_size for info in infos)
    size = path.stat().st_size
    if unpacked > max(_SMALL, _RATIO * size):
        raise _misleading(path, f"it unpacks to {unpacked / (1 << 30):.3g} GiB")
    if "data.pkl" in found and found["data.pkl"].file_size > max(_SMALL_PICKLE, size):
        raise _misleading(path, f"its data.pkl unpacks to {found['data.pkl'].file_size} bytes")
    return found


def read_member(path: Path, info: zipfile.ZipInfo, source: IO[bytes] | None = None) -> bytes:
    """The bytes of one member.

    Raises:
        CheckpointError: They are damaged.
    """
    try:
        with zipfile.ZipFile(source or path) as archive:
            return archive.read(info)
    except Exception as error:
        # zipfile raises BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError …
        raise CheckpointError(f"{path} is damaged: {error}", _AGAIN) from None


def _misleading(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is not an archive that torch writes: {why}",
        "do not trust it; get the checkpoint from where it was made",
    )
