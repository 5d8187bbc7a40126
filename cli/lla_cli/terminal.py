"""The terminal as it is: its width, its colours, and the letters that it can show."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["WIDTH", "can_show", "console", "print_document", "shown"]

WIDTH = 80
"""Columns where the output goes to no terminal."""

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
    encoding lacks becomes some that it has, or a question mark.
    """
    from rich.console import Console
    from rich.text import Text

    plain = not can_show("".join(_INSTEAD))

    class ForResults(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            """Text as it can be shown, before lines are laid out."""
            return super().render_str(shown(text) if plain else text, **options)

        def on_broken_pipe(self) -> None:
            """The reader has closed the pipe: rich would end the program with an error."""
            raise BrokenPipeError

    # No terminal: rich would take 80 columns as well, but not where COLUMNS is set.
    return ForResults(width=None if sys.stdout.isatty() else WIDTH, highlight=False)


def print_document(document: Mapping[str, Any]) -> None:
    """Print a JSON document, with escapes where stdout's encoding lacks a letter."""
    import json

    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    print(text if can_show(text) else json.dumps(document, indent=2, allow_nan=False))


def shown(text: str) -> str:
    """Text in letters that stdout's encoding has."""
    return "".join(letter if can_show(letter) else _INSTEAD.get(letter, "?") for letter in text)


def can_show(letters: str) -> bool:
    """Whether stdout's encoding has these letters."""
    try:
        letters.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
