"""``index.csv``: a row for each checkpoint, as RFC 4180 has it."""

from __future__ import annotations

import csv
import math
from io import StringIO

from lla.batch.gathering import Gathered
from lla.estimate import Estimate, Label
from lla.report import nexus

__all__ = ["content_of", "harmless"]

_FACTS = ("name", "status", "reason", "checkpoint", "sha256", "report", "epoch", "step")


def content_of(table: Gathered) -> bytes:
    """The bytes of the table, UTF-8.

    A metric has four columns: its value, ``.low``, ``.high`` and ``.converged``; words have one.
    What has no value is empty.
    """
    stream = StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\r\n")
    head = list(_FACTS)
    for course in table.courses:
        head.append(course.path)
        if not course.words:
            head += [f"{course.path}.{part}" for part in ("low", "high", "converged")]
    writer.writerow(head)
    for index, row in enumerate(table.rows):
        entry = row.entry
        texts = (entry.name, row.status, row.reason, entry.checkpoint, row.sha256, entry.report)
        cells = [*map(harmless, texts), _number(row.epoch), _number(row.place.step)]
        for course in table.courses:
            cells += _cells(course.values[index], words=course.words)
        writer.writerow(cells)
    return stream.getvalue().encode()


def harmless(text: str) -> str:
    """A text that no spreadsheet takes for a formula, in one line, as UTF-8 can hold it."""
    text = str(nexus.storable(" ".join(text.splitlines())))
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") and text else text


def _cells(value: Estimate | Label, *, words: bool) -> list[str]:
    if words or isinstance(value, Label):
        return [harmless(str(value.value)) if isinstance(value, Label) else ""]
    if not value.exists:
        return [""] * 4
    numbers = [_number(part) for part in (value.value, value.low, value.high)]
    return [*numbers, "true" if value.converged else "false"]


def _number(value: float) -> str:
    """The shortest text that is read back as the same number."""
    return "" if math.isnan(value) else repr(float(value))
