"""Turn errors into one line of reason, one of remedy, and the right exit code."""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import typer

from lla.errors import InterruptedRunError, LlaError

__all__ = ["guarded"]

_INTERNAL = 70


@contextmanager
def guarded(*, debug: bool = False, again: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Run a command's body; every error ends it with a message and an exit code.

    Args:
        debug: Show the traceback as well.
        again: Gives the command to repeat after an interruption.
    """
    if debug:
        logging.basicConfig(stream=sys.stderr, format="%(message)s")
    previous = signal.signal(signal.SIGTERM, _terminated)
    try:
        yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        _fail("interrupted; no report was written", _repeat(again()), 130, debug)
    except LlaError as error:
        remedy = error.remedy
        if isinstance(error, InterruptedRunError):
            remedy = remedy or _repeat(again())
        _fail(error.reason, remedy, error.exit_code, debug)
    except (typer.Exit, typer.Abort):
        raise
    except BrokenPipeError:
        # The reader of our output has closed it (`lla show … | head`): nothing is wrong. What is
        # still to be flushed when the program ends goes nowhere.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except SystemExit as end:
        # Commands end by typer.Exit: this one is of code that a recipe or a package brought.
        ended = f"code that was run ended the program: sys.exit({end.code!r})"
        _fail(ended, "find it with --debug, and put it under: if __name__ == '__main__'", 2, debug)
    except Exception as error:
        reason = f"internal error: {type(error).__name__}: {error}"
        _fail(reason, "run it again with --debug and report what it prints", _INTERNAL, debug)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _terminated(number: int, frame: Any) -> None:
    raise InterruptedRunError("terminated; no report was written", exit_code=128 + number)


def _repeat(command: str) -> str:
    return f"run it again: {command}" if command else ""


def _fail(reason: str, remedy: str, code: int, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    print(f"lla: {reason}", file=sys.stderr)
    if remedy:
        print(f"     {remedy}", file=sys.stderr)
    raise typer.Exit(code)
