"""On which line of a TOML text each table of an array starts: tomllib keeps no positions."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["lines_of"]

_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"""|\'\'\'.*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*|[\[\]{}\n]|[^\[\]{}\n"\'#]+',
    re.S,
)


def lines_of(text: str, name: str) -> list[int]:
    """The lines, from 1, of the headers ``[[name]]``; of the key, for each, if written inline.

    Args:
        text: A valid TOML text.
        name: The array's dotted name.
    """
    wanted = _parts(name)
    return [line for line, header in _headers(text) if _parts(header) == wanted]


def _headers(text: str) -> Iterator[tuple[int, str]]:
    """Headers of tables in arrays: ``[[`` where a line begins outside of values."""
    line, depth, fresh = 1, 0, True
    tokens = [(match.group(), match.start()) for match in _TOKEN.finditer(text)]
    index = 0
    while index < len(tokens):
        token, start = tokens[index]
        if token == "\n":
            fresh, line = fresh or depth == 0, line + 1
        elif fresh and text.startswith("[[", start):
            end = text.index("]]", start)
            yield line, text[start + 2 : end]
            while index + 1 < len(tokens) and tokens[index + 1][1] < end + 2:
                index += 1
            fresh = False
        elif fresh and token == "[":
            # A table's header: its bracket is no value's.
            end = text.index("]", start)
            while index + 1 < len(tokens) and tokens[index + 1][1] <= end:
                index += 1
            fresh = False
        else:
            depth += (token in "[{") - (token in "]}") if len(token) == 1 else 0
            line += token.count("\n")
            fresh = fresh and not token.strip()
        index += 1


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in name.split("."))
