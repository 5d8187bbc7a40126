"""Every error a user can meet, each with its exit code.

An error says what is wrong and why (``reason``, one line) and what to do next (``remedy``). The
command line prints both and exits with ``exit_code``; nothing else is printed unless ``--debug``
asks for the traceback.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

__all__ = [
    "AnalysisFailedError",
    "CheckpointError",
    "ConfigurationError",
    "DataError",
    "InterruptedRunError",
    "LlaError",
    "NoSecondDerivativeError",
    "NotApplicableError",
    "NothingToDoError",
    "ProblemError",
    "RankFailedError",
    "ReportError",
    "ReportInUseError",
    "SettingsFileError",
    "UnsafeCheckpointError",
    "UnstatedError",
    "nearest",
    "nearest_file",
    "printable",
    "some",
]


class LlaError(Exception):
    """Base of all errors that ``lla`` raises on purpose.

    Args:
        reason: One line: what is wrong, and why.
        remedy: The next thing to do, as a command or a setting.
    """

    exit_code = 70

    def __init__(self, reason: str, remedy: str = "") -> None:
        reason, remedy = printable(reason), printable(remedy)
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


class ConfigurationError(LlaError):
    """A flag, an environment variable, a recipe or a policy is invalid."""

    exit_code = 2


class SettingsFileError(ConfigurationError):
    """A file of settings cannot be read."""

    exit_code = 5


class UnstatedError(ConfigurationError):
    """A setting without which there is no problem is not stated anywhere."""

    def __init__(self, reason: str, remedy: str, key: str) -> None:
        super().__init__(reason, remedy)
        self.key = key


class ProblemError(LlaError):
    """Model, checkpoint, data and loss do not fit together."""

    exit_code = 2


class NoSecondDerivativeError(ProblemError):
    """Curvature was asked for of a network that can be differentiated once only."""


class NothingToDoError(LlaError):
    """Nothing is left to run after all selections."""

    exit_code = 3


class CheckpointError(LlaError):
    """The checkpoint cannot be read, or its weights cannot be used."""

    exit_code = 5


class UnsafeCheckpointError(CheckpointError):
    """Reading the checkpoint would run code."""


class DataError(LlaError):
    """The data cannot be read."""

    exit_code = 5


class NotApplicableError(LlaError):
    """An analysis has nothing to say of this problem; the others go on."""


class ReportError(LlaError):
    """A report cannot be read or written."""

    exit_code = 5


class ReportInUseError(ReportError):
    """Another process writes the same report."""

    exit_code = 2


class AnalysisFailedError(LlaError):
    """An analysis broke on an error of its own; the others are in the report."""

    exit_code = 70


class InterruptedRunError(LlaError):
    """The run was stopped from outside: 130 for Ctrl-C, 143 for SIGTERM."""

    def __init__(self, reason: str, remedy: str = "", exit_code: int = 130) -> None:
        super().__init__(reason, remedy)
        self.exit_code = exit_code


class RankFailedError(LlaError):
    """Another rank of the same run has failed: ``rank`` says which, ``exit_code`` is its own.

    ``dead`` are the ranks that ended without a word.
    """

    def __init__(
        self,
        reason: str,
        remedy: str = "",
        *,
        exit_code: int = 70,
        rank: int = 0,
        dead: Sequence[int] = (),
    ) -> None:
        super().__init__(reason, remedy)
        self.exit_code = exit_code
        self.rank = rank
        self.dead = tuple(dead)


def printable(text: str) -> str:
    """A text in one line without control characters: names in a file may hold anything."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def some(names: Sequence[object], shown: int = 4) -> str:
    """The first few of many names, and how many more there are."""
    more = len(names) - shown
    return ", ".join(map(str, names[:shown])) + (f" and {more} more" if more > 0 else "")


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which known name a misspelt one may have meant: ``" (did you mean 'lr'?)"`` or ``""``."""
    names = {name.casefold(): name for name in known}
    found = get_close_matches(word.casefold(), names, n=1, cutoff=0.5)
    return f" (did you mean '{names[found[0]]}'?)" if found else ""


def nearest_file(path: Path) -> str:
    """Say which file beside it, with the same ending, a misspelt path may have meant, or ``""``."""
    try:
        names = {one.stem: one.name for one in path.parent.iterdir() if one.suffix == path.suffix}
    except OSError:
        return ""
    found = get_close_matches(path.stem, names, n=1)
    return f" (did you mean '{path.parent / names[found[0]]}'?)" if found else ""
