"""What a run tells about its progress; says nothing unless a front end listens."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "Silent"]


class Progress(Protocol):
    """Receives the progress of a run."""

    def start(self, stage: str, position: int, stages: int) -> None:
        """Stage number ``position`` (from 1) of ``stages`` begins."""

    def update(self, done: float, total: float, what: str) -> None:
        """Of the current stage, ``done`` of about ``total`` units of ``what`` are finished."""

    def finish(self, stage: str, status: str, seconds: float) -> None:
        """The stage ended with ``status`` after ``seconds``."""


class Silent:
    """The progress of a run that nobody watches."""

    def start(self, stage: str, position: int, stages: int) -> None:
        """Say nothing."""

    def update(self, done: float, total: float, what: str) -> None:
        """Say nothing."""

    def finish(self, stage: str, status: str, seconds: float) -> None:
        """Say nothing."""
