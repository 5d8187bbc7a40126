"""The list of analyses. Third parties add theirs through the entry-point group ``lla.analyses``."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from lla.analyses.analysis import Analysis
from lla.errors import ConfigurationError, NothingToDoError, nearest

__all__ = ["available", "built_in", "find", "select"]

_BUILT_IN = (
    "lla.analyses.baseline",
    "lla.analyses.spectrum",
    "lla.analyses.stability",
    "lla.analyses.sharpness",
    "lla.analyses.landscape",
    "lla.analyses.saliency",
    "lla.analyses.alignment",
)


def built_in() -> dict[str, Analysis]:
    """The analyses of this package by name, in the order in which they run."""
    entries = (import_module(module).ANALYSIS for module in _BUILT_IN)
    return {entry.name: entry for entry in entries}


@cache
def available() -> dict[str, Analysis]:
    """All analyses by name, in the order in which they run."""
    found = built_in()
    for point in entry_points(group="lla.analyses"):
        entry: Analysis = point.load()
        found.setdefault(entry.name, entry)
    return found


def find(name: str) -> Analysis:
    """The analysis of that name.

    Raises:
        ConfigurationError: There is none; the nearest name is told.
    """
    known = available()
    if name not in known:
        raise ConfigurationError(
            f"there is no analysis '{name}'{nearest(name, known)}",
            f"choose among: {', '.join(known)}",
        )
    return known[name]


def select(
    only: Iterable[str] = (), skip: Iterable[str] = (), lacking: Collection[str] = ()
) -> tuple[Analysis, ...]:
    """The analyses to run, in order; the baseline always runs.

    Args:
        only: Names of those to run; all if empty.
        skip: Names of those to leave out.
        lacking: Names of those that are left out unless ``only`` names them.

    Raises:
        ConfigurationError: A name is unknown.
        NothingToDoError: Nothing is left.
    """
    chosen = {find(name).name for name in only} or set(available()) - set(lacking)
    dropped = {find(name).name for name in skip}
    if not chosen - dropped:
        raise NothingToDoError(
            "nothing is left to run: every chosen analysis is also skipped",
            "leave out --skip, or name others with --only",
        )
    kept = (chosen - dropped) | {"baseline"}
    return tuple(entry for entry in available().values() if entry.name in kept)
