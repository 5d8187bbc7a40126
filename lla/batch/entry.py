"""One checkpoint of a batch, as the index is told of it, and what the index wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Entry", "Status", "Written"]

Status = Literal["done", "failed", "stopped", "waiting"]


@dataclass(frozen=True)
class Entry:
    """A checkpoint of a batch and how its analysis went.

    Attributes:
        name: Its name, unique in the batch.
        checkpoint: The file, as to be shown: relative to the index's folder where it lies below it.
        report: The report, likewise.
        status: "done", "failed", "stopped" (it can go on) or "waiting" (it has not begun).
        reason: Why it is not done, or "".
        remedy: What to do next, or "".
    """

    name: str
    checkpoint: str
    report: str
    status: Status
    reason: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        hdf5: Every metric across the checkpoints, with trends and outliers.
        csv: The same as a table, a row for each checkpoint.
        html: The page.
        pages: Pages of the reports, if they were asked for.
        problems: Reports that could not be read, each with the reason.
    """

    hdf5: Path
    csv: Path
    html: Path
    pages: tuple[Path, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()
