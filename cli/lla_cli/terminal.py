"""The terminal as it is: its width, its colours, and the letters that it can show."""

from __future__ import annotations

import codecs
import shutil
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["WIDTH", "can_show", "console"]

WIDTH = 80
"""Columns where the output goes to no terminal."""

_PLAIN = "lla-plain"
_LEAST = 20
_ROOM = 10  # letters that stand for one letter take more columns
_INSTEAD = {
    "±": "+/-",
    "·": "-",
    "—": "--",
    "–": "-",
    "…": "...",
    "≤": "<=",
    "≥": ">=",
    "∞": "inf",
    "→": "->",
    "−": "-",
    "×": "x",
    "λ": "lambda",
    "η": "lr",
    "²": "^2",
    "‖": "||",
    "½": "1/2",
    "√": "sqrt",
}


def console() -> Console:
    """The console for results, on stdout.

    Without a terminal it is 80 columns wide and has no colours; a letter that the output's
    encoding lacks becomes one that it has, or a question mark.
    """
    from rich.console import Console

    class Piped(Console):
        def on_broken_pipe(self) -> None:
            """The reader has closed the pipe: rich would end the program with an error."""
            raise BrokenPipeError

    room = 0
    if not can_show("±λ·—█"):
        room = _ROOM
        codecs.register_error(_PLAIN, _replaced)
        reconfigure = getattr(sys.stdout, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=_PLAIN)
    # No terminal: rich would take 80 columns as well, but not where COLUMNS is set.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH
    return Piped(width=max(_LEAST, width - room), highlight=False)


def can_show(letters: str) -> bool:
    """Whether stdout's encoding has these letters."""
    try:
        letters.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_INSTEAD.get(letter, "?") for letter in letters), error.end
