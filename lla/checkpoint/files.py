"""A checkpoint's place: a file, a folder, or a name behind a scheme; and its digest."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from lla.errors import CheckpointError, nearest_file

__all__ = ["SCHEMES", "head_of", "plain_name", "regular", "sha256_of", "split_scheme", "stem_of"]

SCHEMES = ("hf", "timm")
_HEAD = 512
_LONGEST_NAME = 255
_BLOCK = 1 << 22


def split_scheme(reference: str | Path) -> tuple[str, str]:
    """``hf:NAME`` as ("hf", "NAME"); a plain path as ("", path)."""
    scheme, separator, rest = str(reference).partition(":")
    return (scheme, rest) if separator and scheme in SCHEMES else ("", str(reference))


def stem_of(reference: str | Path) -> str:
    """What files made for a checkpoint are called: its name without folder and suffix."""
    scheme, rest = split_scheme(reference)
    path = Path(rest)
    if scheme or path.is_dir():
        return path.name or path.resolve().name
    return Path(path.name.removesuffix(".index.json")).stem


def plain_name(name: object) -> bool:
    """Whether a name out of a file can be that of a file in the same folder."""
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME:
        return False
    return name not in (".", "..") and not any(sign in name for sign in "/\\\0")


def regular(path: Path) -> os.stat_result:
    """What the system knows of a file; pipes and devices, which may have no end, are none.

    Raises:
        CheckpointError: It does not exist, or is no file.
    """
    try:
        known = path.stat()
    except FileNotFoundError:
        raise CheckpointError(
            f"there is no file {path}{nearest_file(path)}",
            f"look for it: ls {path.parent or Path()}",
        ) from None
    except (OSError, ValueError) as error:
        # A name with a NUL in it is a ValueError, one that is too long an OSError.
        why = getattr(error, "strerror", None) or str(error)
        raise CheckpointError(
            f"{str(path)[:200]} cannot be read: {why}", "check its name and permissions: ls -l"
        ) from None
    if not stat.S_ISREG(known.st_mode):
        raise CheckpointError(
            f"{path} is a folder, a pipe or a device where a file should be",
            f"look what it is: ls -l {path}",
        )
    return known


def head_of(path: Path) -> bytes:
    """The first bytes of a file.

    Raises:
        CheckpointError: It does not exist or cannot be read.
    """
    regular(path)
    try:
        with path.open("rb") as stream:
            return stream.read(_HEAD)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror}", f"check its permissions: ls -l {path}"
        ) from None


def sha256_of(path: Path, parts: Iterable[Path] = ()) -> str:
    """SHA-256 in hexadecimal of a file's bytes; of a folder's parts, of their names and digests.

    Raises:
        CheckpointError: One of them is no file.
    """
    files = sorted(parts)
    if not files:
        regular(path)
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {sha256_of(file)}\n".encode())
    return digest.hexdigest()
