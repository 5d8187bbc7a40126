"""What libraries log while they fail, kept for the message instead of printed."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

__all__ = ["cause_of", "silent"]


@contextlib.contextmanager
def silent(name: str, logged: list[BaseException]) -> Iterator[None]:
    """No lines from a logger and those below it: torch logs what went wrong, and raises less.

    Args:
        name: Name of the logger.
        logged: Takes the errors that would have been logged.
    """

    def keep(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        logged.extend([error] if error else [])
        return False

    below = [key for key in logging.root.manager.loggerDict if key.startswith(f"{name}.")]
    loggers = [logging.getLogger(key) for key in (name, *below)]
    try:
        for logger in loggers:
            logger.addFilter(keep)
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(keep)


def cause_of(error: BaseException) -> str:
    """The first line of what went wrong first."""
    for _ in range(20):
        earlier = error.__cause__ or error.__context__
        if earlier is None:
            break
        error = earlier
    text = str(error).strip() or type(error).__name__
    return f"{type(error).__name__}: {text.splitlines()[0][:200]}"
