"""``index.h5`` read back: checked like a report, and its tables as they were written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py

from lla import __version__
from lla.batch.layout import SCHEMA, Checkpoints, Numbers, Outliers, Own, Trends, Words
from lla.errors import ReportError
from lla.report import codec
from lla.report.opening import opened, peeked, schema_of

__all__ = ["Index", "Metric", "is_index", "read_index"]

_OWN = "index"
_ANEW = "make it anew by running the batch again: what is done is skipped"


@dataclass(frozen=True)
class Metric:
    """A metric across the checkpoints.

    Attributes:
        path: Its metric path.
        about: What it is.
        units: Its units; "" for a pure number or words.
        values: A value, or words, for each checkpoint.
    """

    path: str
    about: str
    units: str
    values: Numbers | Words


@dataclass(frozen=True)
class Index:
    """What an index holds.

    Attributes:
        path: Its file.
        sha256: The digest that the file states of itself, or "".
        version: The version of lla that wrote it.
        checkpoints: The checkpoints, a row each.
        trends: A row for each metric over each run.
        outliers: A row for each value that is unlike the others.
        metrics: All metrics, in the file's order.
    """

    path: str
    sha256: str
    version: str
    checkpoints: Checkpoints
    trends: Trends
    outliers: Outliers
    metrics: tuple[Metric, ...]


def is_index(path: Path) -> bool:
    """Whether a file says that it is the index of a batch; nothing of it is checked."""
    try:
        with peeked(path) as file:
            return schema_of(file).startswith(f"{_name(SCHEMA)}/")
    except (OSError, RuntimeError, ValueError):
        return False


def read_index(path: str | Path, *, verify: bool = False) -> Index:
    """Open an index, and check it against the digest that it states.

    Args:
        path: The file.
        verify: Refuse a file that states no digest, and check one of any size.

    Raises:
        ReportError: The file is missing, damaged, no index, or of another schema.
    """
    place = Path(path)
    if not place.is_file():
        raise ReportError(f"there is no index {path}", "make one: lla batch MODEL…")
    try:
        with opened(place, verify=verify, check=_check) as (file, sha256):
            own = codec.decode(Own, file[_OWN])
            return Index(
                path=str(path),
                sha256=sha256,
                version=str(file.attrs["creator_version"]),
                checkpoints=own.checkpoints,
                trends=own.trends,
                outliers=own.outliers,
                metrics=tuple(_metrics(file)),
            )
    except _OtherSchemaError:
        raise
    except ReportError as error:
        raise ReportError(error.reason, _ANEW) from error


class _OtherSchemaError(ReportError):
    """The file is whole, and something else."""


def _name(schema: str) -> str:
    return schema.partition("/")[0]


def _check(path: Path, file: h5py.File) -> None:
    schema = schema_of(file)
    if schema == SCHEMA:
        return
    if _name(schema) != _name(SCHEMA):
        raise _OtherSchemaError(
            f"{path} is not the index of a batch", f"look at it: lla show {path}"
        )
    raise _OtherSchemaError(
        f"{path} is an index of schema {schema}, and this is lla {__version__}, which reads "
        f"{SCHEMA}",
        f"{_ANEW}; or use the lla that wrote it",
    )


def _metrics(file: h5py.File) -> Iterator[Metric]:
    for group_name, group in file.items():
        if group_name == _OWN:
            continue
        for name, child in group.items():
            if isinstance(child, h5py.Group):
                words = child.attrs["NX_class"] == "NXcollection"
                yield Metric(
                    f"{group_name}/{name}",
                    str(child.attrs["title"]),
                    str(child["value"].attrs.get("units", "")),
                    codec.decode(Words if words else Numbers, child),
                )
