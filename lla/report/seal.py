"""A report's own SHA-256, in a line behind its HDF5 data.

HDF5's checksums cover arrays; scalars, attributes and the file's structure have none. libhdf5 reads
nothing beyond the end of its data, so that a file with this line opens in every HDF5 program, and
its first bytes are still HDF5's, by which programs recognise it. (A user block in front would move
them.) The same without lla: ``head -c -77 REPORT | sha256sum`` and ``tail -c 65 REPORT``.
"""

from __future__ import annotations

import hashlib
from typing import IO

__all__ = ["LENGTH", "data_end", "digest_of", "is_hdf5", "line", "stated"]

_MARK = b"\nlla-sha256:"
_HEX = frozenset(b"0123456789abcdef")
_BLOCK = 1 << 20
# The line's length in bytes.
LENGTH = len(_MARK) + 64 + 1
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Where the superblock of each version keeps the address of the end of the data.
_END_AT = {0: 40, 1: 44, 2: 28, 3: 28}


def line(sha256: str) -> bytes:
    """The line to write behind data with this digest."""
    return _MARK + sha256.encode() + b"\n"


def stated(tail: bytes) -> str:
    """The digest in the last bytes of a file, or "" where there is no such line."""
    last = tail[-LENGTH:]
    digest = last[len(_MARK) : -1]
    found = (
        len(last) == LENGTH
        and last.startswith(_MARK)
        and last.endswith(b"\n")
        and _HEX.issuperset(digest)
    )
    return digest.decode() if found else ""


def digest_of(stream: IO[bytes], length: int) -> str:
    """SHA-256 of the first bytes of a file, in hexadecimal."""
    stream.seek(0)
    digest = hashlib.sha256()
    while length > 0 and (block := stream.read(min(length, _BLOCK))):
        digest.update(block)
        length -= len(block)
    return digest.hexdigest()


def is_hdf5(head: bytes) -> bool:
    """Whether a file that begins so is one of HDF5."""
    return head.startswith(_SIGNATURE)


def data_end(head: bytes) -> int | None:
    """Where the data of an HDF5 file ends, by its first bytes; None where they do not tell.

    A file that is longer and has no line has lost it to damage: a program that opens a report for
    writing cuts it off at the end of the data.
    """
    if not is_hdf5(head) or len(head) < 64 or head[8] not in _END_AT:
        return None
    place = _END_AT[head[8]]
    return int.from_bytes(head[place : place + 8], "little")
