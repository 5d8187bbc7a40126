"""The index of a batch: every metric of every report, trends, outliers; HDF5, CSV and HTML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lla.batch.entry import Entry, Status, Written

__all__ = ["Entry", "Status", "Written", "write_index"]


def write_index(entries: Sequence[Entry], folder: Path, *, pages: bool = False) -> Written:
    """Write ``index.h5``, ``index.csv`` and ``index.html`` of many reports.

    The same reports give the same index, whatever order the entries come in. A report that cannot
    be read is listed with the reason. Each file is replaced only when the new one is complete, the
    page last.

    Args:
        entries: The checkpoints of the batch.
        folder: Where to; it exists. Relative paths in the entries are relative to it.
        pages: Write a page for each report as well, linked from the index.

    Raises:
        ReportError: The folder cannot be written, or something that is no index lies there.
    """
    raise NotImplementedError
