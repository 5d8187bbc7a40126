"""The index of a batch: every metric of every report, trends, outliers; HDF5, CSV and HTML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lla.analyses.analysis import imported
from lla.batch.entry import Entry, Status, Written
from lla.errors import ReportError
from lla.files import replacing

__all__ = ["Entry", "Status", "Written", "write_index"]

# Named by its path: the figures' room is above this one.
_PAGE = "lla_plots.batch:write_batch"


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
        ReportError: The folder cannot be written, or something that is no page lies at the page's
            place.
    """
    from lla.batch import columns, layout
    from lla.batch.gathering import UNREADABLE, gathered
    from lla.batch.outliers import outliers
    from lla.batch.trends import trends
    from lla.report.storage import refuse_page

    place = Path(folder)
    refuse_page(place / "index.html")
    table = gathered(entries, place)
    over, odd = trends(table), outliers(table)
    hdf5 = _write(place / "index.h5", layout.content_of(table, over, odd))
    csv = _write(place / "index.csv", columns.content_of(table))
    made = imported(_PAGE)(table, over, odd, place, pages=pages)
    problems = tuple(
        (row.entry.report, row.reason) for row in table.rows if row.status == UNREADABLE
    )
    return Written(hdf5, csv, place / "index.html", made, problems)


def _write(target: Path, content: bytes) -> Path:
    try:
        with replacing(target) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise ReportError(
            f"the index {target} cannot be written: {error.strerror or error}",
            "make room, or choose another folder: -o FOLDER",
        ) from None
    return target
