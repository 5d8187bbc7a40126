"""Open a report's file: whole, as it was written, of a schema that is known; or say what is wrong.

A file of ordinary size is read into memory at once: what is checked is what is read, even where
another process replaces the file meanwhile, and nothing is locked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO
from uuid import uuid4

import h5py

from lla import __version__
from lla.errors import LlaError, ReportError
from lla.report import seal
from lla.report.codec import DamagedDatasetError
from lla.report.report import SCHEMA

__all__ = ["IN_MEMORY", "damaged_dataset", "in_memory", "opened", "peeked", "schema_of"]

# Files up to this size are read into memory, and checked against their digest, in any case.
IN_MEMORY = 64 << 20
_INDEX = "lla-index"
_ANEW = "make it anew: lla analyze MODEL"


@contextmanager
def opened(
    path: Path, *, verify: bool = False, check: Callable[[Path, h5py.File], None] | None = None
) -> Iterator[tuple[h5py.File, str]]:
    """A report's HDF5 file, and the digest that it states, or "".

    Args:
        path: An existing file.
        verify: Check a file of any size, and refuse one that states no digest.
        check: Raises where the file is of another schema than it has to be; by default a report's.

    Raises:
        ReportError: The file cannot be read, is damaged, is no report, or is of another schema;
            or what is done with it in the block finds that it is damaged.
    """
    try:
        stream = _stream(path)
    except OSError as error:
        raise ReportError(f"{path} cannot be read: {error.strerror or error}") from None
    with stream:
        try:
            sha256 = _check(path, stream, verify=verify)
            with _file(stream) as file:
                (check or _check_schema)(path, file)
                yield file, sha256
        except LlaError:
            raise
        except DamagedDatasetError as error:
            raise ReportError(f"{path} cannot be read: {error}", _ANEW) from error
        # h5py raises nearly anything on a damaged file: OSError, KeyError, RuntimeError, …
        except Exception as error:
            raise _unreadable(path, stream, error) from error


def _stream(path: Path) -> IO[bytes]:
    """The file, in memory unless it is large."""
    with ExitStack() as stack:
        stream = stack.enter_context(path.open("rb"))
        if os.fstat(stream.fileno()).st_size <= IN_MEMORY:
            return BytesIO(stream.read())
        stack.pop_all()
        return stream


@contextmanager
def peeked(path: Path) -> Iterator[h5py.File]:
    """A file, unchecked, for a quick look at one of its small parts.

    Raises:
        OSError: It is no HDF5 file.
    """
    with h5py.File(path, "r", locking=False) as file:
        yield file


@contextmanager
def _file(stream: IO[bytes]) -> Iterator[h5py.File]:
    if isinstance(stream, BytesIO):
        with in_memory(stream.getvalue()) as file:
            yield file
        return
    with h5py.File(stream, "r") as file:
        yield file


def in_memory(content: bytes) -> h5py.File:
    """The HDF5 file of these bytes."""
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fapl_core(backing_store=False)
    access.set_file_image(content)
    name = uuid4().hex.encode()  # libhdf5 takes files in memory of one name for one file
    return h5py.File(h5py.h5f.open(name, h5py.h5f.ACC_RDONLY, fapl=access))


def _check(path: Path, stream: IO[bytes], *, verify: bool) -> str:
    """The digest that the file states, checked where it has to be."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - seal.LENGTH))
    sha256 = seal.stated(stream.read())
    if not sha256:
        _check_unsealed(path, stream, size, verify=verify)
    elif verify or size <= IN_MEMORY:
        found = seal.digest_of(stream, size - seal.LENGTH)
        if found != sha256:
            raise _damaged(path, stream, sha256, found)
    return sha256


def _check_unsealed(path: Path, stream: IO[bytes], size: int, *, verify: bool) -> None:
    stream.seek(0)
    end = seal.data_end(stream.read(64))
    if end is not None and end < size:
        raise ReportError(
            f"{path} is damaged: behind its data, where its SHA-256 should be, is something else",
            _ANEW,
        )
    if verify and end is not None:
        raise ReportError(
            f"{path} cannot be verified: it states no SHA-256, so another program has written it",
            f"open it as it is: lla show {path}; or {_ANEW}",
        )


def _damaged(path: Path, stream: IO[bytes], stated: str, found: str) -> ReportError:
    """What to say of a file that is not as it was written: where the damage is, if it shows."""
    try:
        with _file(stream) as file:
            where = damaged_dataset(file)
    except Exception:
        where = ""
    if where:
        return ReportError(
            f"{path} is damaged: the dataset {where} is not as it was written", _ANEW
        )
    return ReportError(
        f"{path} is damaged: its SHA-256 is {found[:12]}…, and it was written with {stated[:12]}…",
        _ANEW,
    )


def damaged_dataset(file: h5py.File) -> str:
    """The first dataset that cannot be read, or "" if all can."""

    def read(name: str, item: h5py.Group | h5py.Dataset) -> str | None:
        if isinstance(item, h5py.Dataset):
            try:
                item[()]
            except (OSError, RuntimeError, TypeError, ValueError):
                return f"/{name}"
        return None

    return file.visititems(read) or ""


def _check_schema(path: Path, file: h5py.File) -> None:
    schema = schema_of(file)
    if schema == SCHEMA:
        return
    name, _, major = schema.rpartition("/")
    if name == _INDEX:
        raise ReportError(
            f"{path} is the index of a batch, and no report",
            f"look at it: lla show {path}; or open {path.with_suffix('.html')}, or one of the "
            "reports that it lists",
        )
    if name != SCHEMA.rpartition("/")[0] or not major.isdigit():
        raise ReportError(
            f"{path} is an HDF5 file, but not a report of lla", "make one: lla analyze MODEL"
        )
    writer = _text(file.attrs.get("creator_version")) or "another version"
    if int(major) > int(SCHEMA.rpartition("/")[2]):
        raise ReportError(
            f"{path} is a report of schema {schema}, written by lla {writer}; this is lla "
            f"{__version__}, which reads {SCHEMA}",
            f"use a newer lla: pip install 'loss-landscape-lla>={writer}'",
        )
    raise ReportError(
        f"{path} is a report of schema {schema}, written by lla {writer}; this is lla "
        f"{__version__}, which reads {SCHEMA}",
        f"{_ANEW}, or read it with the lla that wrote it: "
        f"pip install 'loss-landscape-lla=={writer}'",
    )


def schema_of(file: h5py.File) -> str:
    """The schema that a file of lla states, as ``lla-report/1``; of any other file, ""."""
    return _text(file.attrs.get("lla_schema"))


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")


def _unreadable(path: Path, stream: IO[bytes], error: Exception) -> ReportError:
    stream.seek(0)
    if seal.is_hdf5(stream.read(64)):
        return ReportError(f"{path} cannot be read as a report: {error}", _ANEW)
    return ReportError(f"{path} is not a report", f"if it is a checkpoint: lla analyze {path}")
