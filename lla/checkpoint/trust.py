"""How far a checkpoint is trusted. By default: not at all, nothing in it is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Trust", "listed", "told"]

_SHOWN = 5
_LENGTH = 80
_DIGITS = 1 << 200


@dataclass(frozen=True)
class Trust:
    """What may be run to read a checkpoint; said by the user for one run, never by a file.

    Attributes:
        names: Globals that the reader may build, as ``package.module.Name``.
        everything: Run whatever the file asks for.
    """

    names: tuple[str, ...] = ()
    everything: bool = False


def told(value: Any) -> str:
    """A value out of a file in a few words, whatever it is.

    A number of thousands of digits has no ``str``, and a tuple that holds another twice, that
    one a third, has one of any length: only plain values are spelt out.
    """
    if isinstance(value, str):
        return value[:_LENGTH]
    if value is None or isinstance(value, (bool, float)):
        return str(value)
    if isinstance(value, int):
        return str(value) if abs(value) < _DIGITS else f"a number of {value.bit_length()} bits"
    return f"a {type(value).__name__}"


def listed(names: Sequence[Any]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(told(name) for name in names[:_SHOWN])
    more = len(names) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
