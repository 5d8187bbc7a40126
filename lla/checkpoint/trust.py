"""How far a checkpoint is trusted. By default: not at all, nothing in it is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Trust", "listed"]

_SHOWN = 5


@dataclass(frozen=True)
class Trust:
    """What may be run to read a checkpoint; said by the user for one run, never by a file.

    Attributes:
        names: Globals that the reader may build, as ``package.module.Name``.
        everything: Run whatever the file asks for.
    """

    names: tuple[str, ...] = ()
    everything: bool = False


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(str(name)[:80] for name in names[:_SHOWN])
    more = len(names) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
