"""How far a job is, said through a small file that its batch reads."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Reported", "Written", "reported"]

_EVERY = 1.0  # seconds between two writings


@dataclass(frozen=True)
class Reported:
    """How far a job is.

    Attributes:
        stage: The analysis in hand.
        position: Its number, from 1.
        stages: Of how many.
        share: How much of it is done, in [0, 1]; None if that is not known.
    """

    stage: str
    position: int
    stages: int
    share: float | None = None


class Written:
    """A run's progress, written to a file now and then.

    Losing it costs nothing: a file that cannot be written is not written.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._known = Reported("", 0, 0)
        self._told = 0.0

    def start(self, stage: str, position: int, stages: int) -> None:
        """Write that a stage begins."""
        self._known = Reported(stage, position, stages)
        self._write()

    def update(self, done: float, total: float, what: str) -> None:
        """Write how far it is."""
        if time.monotonic() - self._told >= _EVERY:
            share = min(1.0, done / total) if total else None
            self._known = Reported(
                self._known.stage, self._known.position, self._known.stages, share
            )
            self._write()

    def finish(self, stage: str, status: str, seconds: float) -> None:
        """Nothing: the next stage says more."""

    def _write(self) -> None:
        self._told = time.monotonic()
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        # No waiting for the disk: what a crash loses here is of no use afterwards.
        with suppress(OSError):
            temporary.write_text(json.dumps(vars(self._known)))
            temporary.replace(self._path)
        with suppress(OSError):
            temporary.unlink(missing_ok=True)  # left where the disk is full


def reported(path: str) -> Reported | None:
    """How far a job was when it last said so, or None."""
    try:
        return Reported(**json.loads(Path(path).read_text()))
    except (OSError, ValueError, TypeError):
        return None
