"""Ctrl-C and SIGTERM: the first lets the product in hand finish, a second stops at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lla.errors import InterruptedRunError

__all__ = ["Interruption"]

_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Interruption:
    """What a run does about signals; where nothing could be kept, they stop it at once."""

    def __init__(self) -> None:
        self._number = 0
        self._deferring = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Within: signals come here."""
        before = {number: signal.signal(number, self._received) for number in _WORDS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within: the first signal waits for :meth:`check`."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False

    @property
    def came(self) -> bool:
        """Whether a signal has come."""
        return bool(self._number)

    def check(self) -> None:
        """Between two products: stop here, if a signal has come.

        Raises:
            InterruptedRunError: One has.
        """
        if self._number:
            raise self._error(self._number)

    def _received(self, number: int, frame: Any) -> None:
        if not self._deferring or self._number:
            raise self._error(number)
        self._number = number
        again = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
        text = f"\nlla: finishing the product in hand; {again} once more stops at once\n"
        # Not print(): the signal may have come in the middle of one.
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, text.encode())

    @staticmethod
    def _error(number: int) -> InterruptedRunError:
        return InterruptedRunError(_WORDS[signal.Signals(number)], exit_code=128 + number)
