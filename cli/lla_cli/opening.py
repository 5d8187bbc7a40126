"""The report that a command line names: a file, or ``-`` for standard input."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from lla.errors import ConfigurationError, ReportError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lla.report import Report

__all__ = ["STDIN", "report_at", "reports_at"]

STDIN = "-"
_NAME = "standard input"


def report_at(text: str, *, verify: bool = False) -> Report:
    """Open the report that an argument names; ``-`` is standard input.

    Args:
        text: The argument.
        verify: Check the whole file against the digest that it states.

    Raises:
        ReportError: There is no report; where it is a checkpoint, the message names its report if
            there is one, or the command that makes one.
    """
    from lla.report import read

    if text == STDIN:
        return _from_stdin(verify=verify)
    try:
        return read(text, verify=verify)
    except ReportError as error:
        beside = _report_of(Path(text))
        if beside is None:
            raise
        raise ReportError(
            error.reason,
            f"its report is {beside}: name that, or make it anew: lla analyze {text}",
        ) from None


def reports_at(texts: Sequence[str]) -> list[Report]:
    """Open several reports, of which one may be standard input.

    Raises:
        ConfigurationError: Standard input is named twice.
        ReportError: One of them is no report.
    """
    if texts.count(STDIN) > 1:
        raise ConfigurationError(
            "standard input (-) is named twice, and can be read once", "name the other's file"
        )
    return [report_at(text) for text in texts]


def _from_stdin(*, verify: bool) -> Report:
    """A report from a pipe, by way of a file: HDF5 needs to seek."""
    from lla.report import read

    if sys.stdin.isatty():
        raise ReportError("- is standard input, and nothing is piped into it", "name a report file")
    with TemporaryDirectory(prefix="lla-") as folder:
        place = Path(folder) / _NAME
        try:
            with place.open("wb") as stream:
                shutil.copyfileobj(sys.stdin.buffer, stream)
        except OSError as error:
            raise ReportError(
                f"standard input cannot be kept in {folder}: {error.strerror or error}",
                "set TMPDIR to a folder with room, or name the report's file",
            ) from None
        try:
            return replace(read(place, verify=verify), path=STDIN)
        except ReportError as error:
            reason, remedy = (
                text.replace(str(place), _NAME) for text in (error.reason, error.remedy)
            )
            if not place.stat().st_size:
                reason, remedy = "standard input is empty", "pipe a report into it, or name a file"
            raise ReportError(reason, remedy) from None


def _report_of(checkpoint: Path) -> Path | None:
    """The report in this folder of a checkpoint that was named in its place."""
    if not checkpoint.is_file():
        return None
    from lla.checkpoint import stem_of
    from lla.report.storage import about

    for name in (stem_of(str(checkpoint)), checkpoint.name):
        found = Path(f"{name}.lla.h5")
        facts = about(found) if found != checkpoint else None
        if facts is not None and Path(facts.path).name == checkpoint.name:
            return found
    return None
