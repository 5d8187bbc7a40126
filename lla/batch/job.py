"""One checkpoint of a batch: what a worker needs to know, and what it says in the end.

Both are plain values: they go through JSON to another process, machine or queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Ended", "Job", "Outcome", "Status"]

Status = Literal["done", "failed", "stopped"]


@dataclass(frozen=True)
class Job:
    """A checkpoint to be analysed: a specification in, a report path out.

    Attributes:
        name: Its name, unique in the batch.
        checkpoint: The file or folder, absolute; or a name behind a scheme.
        report: Where its report goes, absolute.
        folder: What relative paths in the settings are relative to, absolute.
        flags: Sections of settings that go before the recipe's, as those of a command line.
        recipe: A recipe to use instead of the one beside the checkpoint.
        allowed: Globals that reading the checkpoint may build.
        unsafe: Whether reading it may run whatever the file asks for.
        fresh: Whether it is computed anew, whatever is there of it.
        progress: A file in which it says how far it is, absolute; "": it says nothing.
        timeout: Seconds after which it is ended; 0: never.
    """

    name: str
    checkpoint: str
    report: str
    folder: str
    flags: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    recipe: str | None = None
    allowed: tuple[str, ...] = ()
    unsafe: bool = False
    fresh: bool = False
    progress: str = ""
    timeout: float = 0.0

    @property
    def device(self) -> str:
        """The device that its settings state, or "auto"."""
        return str(self.flags.get("run", {}).get("device", "auto"))


@dataclass(frozen=True)
class Outcome:
    """How the analysis of a job went, as its worker says.

    Attributes:
        status: "done"; "failed" for an error of the checkpoint, its settings or the program;
            "stopped" where a signal ended it between two products, and it can go on.
        seconds: What it took.
        reason: What was wrong, and why; "" if nothing.
        remedy: What to do next.
        exit_code: What ``lla analyze`` would have ended with.
        peak: Largest resident memory of the worker, bytes.
    """

    status: Status
    seconds: float
    reason: str = ""
    remedy: str = ""
    exit_code: int = 0
    peak: int = 0


@dataclass(frozen=True)
class Ended:
    """A job that is over, as its executor says.

    Attributes:
        job: Which.
        outcome: What the worker said; None if it said nothing: it died, hung, or never began.
        why: Why it said nothing, in words for people.
    """

    job: Job
    outcome: Outcome | None
    why: str = ""
