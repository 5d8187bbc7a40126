"""What has become of a batch's jobs: one line for each that ended, kept whatever ends the batch."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lla.batch.job import Outcome

__all__ = ["Journal", "Record"]

_log = logging.getLogger("lla")


@dataclass(frozen=True)
class Record:
    """How a job ended.

    Attributes:
        name: Its name.
        key: Digest of all that its report depends on.
        outcome: What its worker said, or what stands for it where that died.
        attempts: How often it was begun.
    """

    name: str
    key: str
    outcome: Outcome
    attempts: int = 1

    @property
    def done(self) -> bool:
        """Whether its report is written."""
        return self.outcome.status == "done"


class Journal:
    """The records of a folder, the last of each name; a line cut short by a crash counts as none.

    Attributes:
        records: By name.
        trouble: Why nothing can be written any more, or "".
    """

    def __init__(self, path: Path, tell: Callable[[str], None] = _log.warning) -> None:
        """Read what there is; whoever adds to it holds the folder's lock.

        Args:
            path: The file; it need not exist.
            tell: Told once if nothing can be written any more.
        """
        self._path, self._tell = path, tell
        self.trouble = ""
        self.records: dict[str, Record] = {}
        content = path.read_bytes() if path.is_file() else b""
        whole = content.rfind(b"\n") + 1
        self._cut = whole if whole < len(content) else None
        for line in content[:whole].splitlines():
            record = _read(line)
            if record:
                self.records[record.name] = record

    def add(self, record: Record) -> None:
        """Write a record, and wait until it is on the disk."""
        self.records[record.name] = record
        line = (json.dumps(asdict(record), separators=(",", ":")) + "\n").encode()
        try:
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                if self._cut is not None:
                    os.ftruncate(handle, self._cut)
                    self._cut = None
                size = os.fstat(handle).st_size
                written = os.write(handle, line)
                if written < len(line):
                    os.ftruncate(handle, size)
                    raise OSError(None, "the disk is full")
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            if not self.trouble:
                self.trouble = error.strerror or str(error)
                self._tell(
                    f"{self._path} cannot be written: {self.trouble}; what ends from now on is "
                    "looked at again when the batch is run again"
                )
        else:
            self.trouble = ""


def _read(line: bytes) -> Record | None:
    """A line's record, or None where it is none."""
    try:
        values: dict[str, Any] = json.loads(line)
        known = {field.name for field in fields(Outcome)}
        outcome = Outcome(**{k: v for k, v in values.pop("outcome").items() if k in known})
        return Record(**values, outcome=outcome)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
