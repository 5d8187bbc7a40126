"""Whether a job's report is there already: a digest of the files and settings that it rests on.

It is made without loading anything. What it does not see, the run itself does: a job that is
begun again takes from its report each analysis that is equal in all that its numbers depend on
(:mod:`lla.keys`).
"""

from __future__ import annotations

import hashlib
import json
from glob import has_magic
from pathlib import Path
from typing import Any

from lla import __version__
from lla.analyses.checkpoints import files_in
from lla.checkpoint import sha256_of, split_scheme
from lla.settings import Settings

__all__ = ["Digests"]

_HASHED = 1 << 30  # bytes up to which a data file is read for its digest
_WITHOUT_EFFECT = ("memory", "threads")


class Digests:
    """The digests of a batch's jobs; each data file is read once."""

    def __init__(self) -> None:
        self._files: dict[str, str | None] = {}

    def of(self, checkpoint: str, settings: Settings) -> str:
        """The digest of a job, SHA-256 in hexadecimal.

        Args:
            checkpoint: The file, folder or name.
            settings: All of its settings.

        Raises:
            LlaError: The checkpoint is not there.
        """
        sections = settings.sections()
        run = {k: v for k, v in sections["run"].items() if k not in _WITHOUT_EFFECT}
        facts = {
            "lla": __version__,
            "checkpoint": _of_checkpoint(checkpoint),
            "settings": {**sections, "run": run},
            "files": {text: self._of_files(text) for text in sorted(_texts(sections))},
        }
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def _of_files(self, text: str) -> str | None:
        if text not in self._files:
            self._files[text] = _of_files(text)
        return self._files[text]


def _of_checkpoint(checkpoint: str) -> str:
    scheme, place = split_scheme(checkpoint)
    if scheme and not Path(place).exists():
        return checkpoint
    path = Path(place)
    within = [item for item in path.rglob("*") if item.is_file()] if path.is_dir() else []
    return sha256_of(path, within)


def _texts(values: Any) -> set[str]:
    """All texts among nested settings: those that are files' names are looked at."""
    if isinstance(values, str):
        return {values}
    if isinstance(values, dict):
        values = list(values.values())
    return (
        {text for value in values for text in _texts(value)} if isinstance(values, list) else set()
    )


def _of_files(text: str) -> str | None:
    """The digest of the files that a setting names; None where it names none.

    Of a large file, or the files of a folder or pattern, it is that of names, sizes and times.
    """
    # Behind a scheme, before options, before a function's name.
    for place in (text, text.partition("?")[0], text.rpartition(":")[0], text.partition(":")[2]):
        try:
            if place and Path(place).is_file() and Path(place).stat().st_size <= _HASHED:
                return sha256_of(Path(place))
            if place.strip("./") and (Path(place).exists() or has_magic(place)):
                known = [(item, Path(item).stat()) for item in files_in([place])]
                return repr([(name, one.st_size, one.st_mtime_ns) for name, one in known])
        except (OSError, ValueError):  # no name of a file
            continue
    return None
