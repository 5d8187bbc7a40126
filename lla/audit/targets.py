"""What an audit is of: reports, checkpoints, globs of both; and the baseline of each."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from lla.errors import NothingToDoError

__all__ = ["baseline_of", "is_report", "targets_of"]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SUFFIXES = (".h5", ".hdf5")
_REPORT = ".lla.h5"


def targets_of(texts: Sequence[str]) -> list[str]:
    """The named targets with globs expanded, each once, in order.

    Raises:
        NothingToDoError: A glob matches nothing, or nothing is named.
    """
    found: dict[str, None] = {}
    for text in texts:
        if Path(text).exists() or not glob.has_magic(text):
            found[text] = None
            continue
        matched = sorted(glob.glob(text, recursive=True))
        if not matched:
            raise NothingToDoError(f"nothing matches {text}", "name checkpoints or reports")
        found.update(dict.fromkeys(matched))
    if not found:
        raise NothingToDoError(
            "nothing is named to audit", "name checkpoints or reports: lla audit MODEL.lla.h5"
        )
    return list(found)


def is_report(text: str) -> bool:
    """Whether a target is a report, by its first bytes (a damaged one by its name), or "-"."""
    path = Path(text)
    if text == "-" or path.suffix.lower() in _SUFFIXES:
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(len(_SIGNATURE)) == _SIGNATURE
    except OSError:
        return False


def baseline_of(option: str, target: str) -> Path:
    """Where the baseline of a target is: the file, or in a folder the report of that name.

    Args:
        option: A file; or a folder, which ends in a slash or exists.
        target: The report or checkpoint.
    """
    place = Path(option)
    if not option.endswith("/") and not place.is_dir():
        return place
    name = Path(target).name
    if not is_report(target):
        from lla.checkpoint.files import stem_of

        name = f"{stem_of(target)}{_REPORT}"
    return place / name
