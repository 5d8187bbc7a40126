"""A checkpoint's place: a file, a folder, or a name behind a scheme; and its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from lla.errors import CheckpointError

__all__ = ["SCHEMES", "head_of", "sha256_of", "split_scheme", "stem_of"]

SCHEMES = ("hf", "timm")
_HEAD = 512
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


def head_of(path: Path) -> bytes:
    """The first bytes of a file.

    Raises:
        CheckpointError: It does not exist or cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return stream.read(_HEAD)
    except FileNotFoundError:
        raise CheckpointError(
            f"there is no file {path}", f"look for it: ls {path.parent or Path()}"
        ) from None
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror}", f"check its permissions: ls -l {path}"
        ) from None


def sha256_of(path: Path, parts: Iterable[Path] = ()) -> str:
    """SHA-256 in hexadecimal of a file's bytes; of a folder's parts, of their names and digests."""
    files = sorted(parts)
    if not files:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {sha256_of(file)}\n".encode())
    return digest.hexdigest()
