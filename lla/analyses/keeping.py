"""What a run keeps on the way, so that another can go on where it ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    import numpy as np

    from lla.problem import Problem

__all__ = ["Arrays", "Forgetful", "Keep", "Keeper", "Tiles"]

T = TypeVar("T")
Arrays = Mapping[str, "np.ndarray"]

_EVERY = 30.0  # seconds of work that a killed run may lose within a stage


class Keeper(Protocol):
    """Keeps arrays by name for a later run; by the settings they depend on it knows its own."""

    def load(self, name: str, depends: tuple[str, ...]) -> Arrays | None:
        """What was kept under this name, of the same problem and settings."""

    def save(self, name: str, depends: tuple[str, ...], arrays: Arrays) -> None:
        """Keep arrays; settings are named as sections or ``section.key``."""


class Forgetful:
    """The keeper of a run that cannot be resumed."""

    def load(self, name: str, depends: tuple[str, ...]) -> Arrays | None:
        """Nothing was kept."""
        return None

    def save(self, name: str, depends: tuple[str, ...], arrays: Arrays) -> None:
        """Keep nothing."""


@dataclass(frozen=True, slots=True)
class Keep(Generic[T]):
    """How a shared product is kept: one that is small and was expensive.

    Attributes:
        pack: The product as arrays.
        unpack: The product of the arrays, on the problem's device.
        depends: Settings that it depends on, as ``section.key`` or whole sections.
    """

    pack: Callable[[T], Arrays]
    unpack: Callable[[Arrays, Problem], T]
    depends: tuple[str, ...]


class Tiles:
    """The state of a long loop within a stage, kept every half minute and where it is stopped.

    Args:
        keeper: Where to.
        name: Of the loop.
        depends: Settings that it depends on.
        state: The state between two rounds of the loop, as arrays.
    """

    def __init__(
        self,
        keeper: Keeper,
        name: str,
        depends: tuple[str, ...],
        state: Callable[[], Arrays],
    ) -> None:
        self._keeper, self._name, self._depends, self._state = keeper, name, depends, state
        self._saved = time.monotonic()

    def load(self) -> Any:
        """The state that an earlier run kept, or None."""
        return self._keeper.load(self._name, self._depends)

    def step(self) -> None:
        """A round of the loop is over."""
        if time.monotonic() - self._saved >= _EVERY:
            self._save()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Around the loop: where it is left by an exception, the state is kept."""
        try:
            yield
        except BaseException:
            self._save()
            raise

    def _save(self) -> None:
        self._keeper.save(self._name, self._depends, self._state())
        self._saved = time.monotonic()
