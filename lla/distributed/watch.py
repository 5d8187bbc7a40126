"""How ranks learn that one of them has failed, beside the sums that they wait in.

Each rank has a thread that says in the process group's store that it is alive, and looks whether
another has failed. A rank that waits for one that is gone is told by its engine (gloo: the
connection is closed) or not at all (NCCL): then the thread ends the process.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from lla.errors import RankFailedError

__all__ = ["Failure", "Watch"]

_BEAT = 0.4  # seconds between two signs of life
_SILENT = 2.5  # seconds without one, after which a rank that others lost counts as dead
_GRACE = 6.0  # seconds in which a rank that knows of a failure is to end by itself
_HEARD = 4.0  # seconds that a failing rank waits for the others to hear of it


@dataclass(frozen=True)
class Failure:
    """What stopped a rank.

    Attributes:
        rank: Which one.
        reason: Why, in one line.
        remedy: What to do.
        code: Its exit code.
        dead: The ranks that ended without a word, if it is one of them.
    """

    rank: int
    reason: str
    remedy: str
    code: int
    dead: tuple[int, ...] = ()

    def error(self, size: int) -> RankFailedError:
        """As an error to be raised on another rank."""
        reason = f"rank {self.rank} of {size} (counted from 0) {self.reason}"
        return RankFailedError(
            reason, self.remedy, exit_code=self.code, rank=self.rank, dead=self.dead
        )


class Watch:
    """One rank's eye on the others.

    Attributes:
        failure: What is known to have stopped another rank.
    """

    def __init__(
        self,
        store: Any,
        rank: int,
        size: int,
        end: Callable[[RankFailedError], None],
    ) -> None:
        """Begin to watch.

        Args:
            store: What all ranks read and write: of torch.distributed, and of this thread alone.
            rank: This one.
            size: How many there are.
            end: Tells an error and ends the process; called by the thread where the rank does not
                end by itself.
        """
        self.failure: Failure | None = None
        self._store, self._rank, self._size, self._end = store, rank, size, end
        self._lock = threading.RLock()  # a signal may come while it is held
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lla ranks", daemon=True)
        self._thread.start()

    def explained(self) -> RankFailedError | None:
        """Where something went wrong between ranks: which one failed, if one did."""
        until = time.monotonic() + _SILENT
        before = self._beats()
        while time.monotonic() < until:
            if self._look():
                break
            time.sleep(_BEAT / 4)
        else:
            self._miss(before)
        return self.failure.error(self._size) if self.failure else None

    def fail(self, reason: str, remedy: str, code: int) -> None:
        """Tell the others that this rank has failed, and wait until they have heard."""
        if self._look() or self._size == 1:
            return
        told = json.dumps(asdict(Failure(self._rank, reason, remedy, code)))
        with suppress(RuntimeError):
            self._store.compare_set("failed", "", told)
            until = time.monotonic() + _HEARD
            others = [f"heard/{rank}" for rank in range(self._size) if rank != self._rank]
            while time.monotonic() < until and not self._store.check(others):
                time.sleep(_BEAT / 8)

    def leave(self) -> None:
        """Stop watching: this rank ends, and says so."""
        self._left.set()
        self._thread.join(2 * _BEAT)
        with suppress(RuntimeError):
            self._store.set(f"left/{self._rank}", "1")

    def _run(self) -> None:
        beat = 0
        with suppress(RuntimeError):  # the store is gone: so is what started the ranks
            while not self._left.wait(_BEAT):
                beat += 1
                self._store.set(f"beat/{self._rank}", str(beat))
                if self._look():
                    break
        if self.failure and not self._left.wait(_GRACE):
            self._end(self.failure.error(self._size))

    def _look(self) -> bool:
        """Whether some other rank has said that it failed; it then knows that this one knows."""
        with self._lock, suppress(RuntimeError):
            if self.failure is None and self._store.check(["failed"]):
                found = Failure(**json.loads(self._store.get("failed")))
                if found.rank != self._rank:
                    self.failure = found
                    self._store.set(f"heard/{self._rank}", "1")
        return self.failure is not None

    def _beats(self) -> dict[int, bytes]:
        """The signs of life of the others that have not left."""
        found: dict[int, bytes] = {}
        with suppress(RuntimeError):
            for rank in range(self._size):
                if rank != self._rank and not self._store.check([f"left/{rank}"]):
                    known = self._store.check([f"beat/{rank}"])
                    found[rank] = self._store.get(f"beat/{rank}") if known else b""
        return found

    def _miss(self, before: dict[int, bytes]) -> None:
        """See which rank's signs of life have ended."""
        now = self._beats()
        dead = [rank for rank, beat in now.items() if before.get(rank) == beat]
        if dead and self.failure is None:
            self.failure = Failure(
                dead[0],
                "has died without a word: it was killed, perhaps because memory ran out",
                "give it more memory, or a smaller --memory",
                RankFailedError.exit_code,
                tuple(dead),
            )
