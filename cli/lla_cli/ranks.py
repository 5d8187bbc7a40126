"""A command that torchrun has started on many ranks: rank 0 speaks, the others are quiet.

``torchrun --nproc-per-node 2 -m lla_cli analyze model.pt`` starts the same command twice; the
environment tells each its number.
"""

from __future__ import annotations

import logging
import os
import platform
import shlex
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lla.errors import RankFailedError
from lla.team import ALONE, Team

if TYPE_CHECKING:
    from lla.settings import Settings
    from lla_cli.interruption import Interruption

__all__ = ["command_of", "idle", "joined_ranks", "many", "speaking_once"]

_PATIENCE = 20.0  # seconds that a rank that has not joined leaves to the first to say what is wrong
_STOPPED = (0, 130, 143)  # exit codes of ranks that were stopped from outside, or by nothing


@dataclass
class _Voice:
    """How a quiet rank speaks where it has to.

    Attributes:
        stream: The file descriptor of what was its standard error.
        held: That of what it has said instead, unless all goes to ``stream``.
        joined: Whether the other ranks learn why it fails: the first says so then.
        left: Whether it is the first of those that are left.
    """

    stream: int = 2
    held: int | None = None
    joined: bool = False
    left: bool = False

    def say(self, text: str) -> None:
        """Say something, whatever has become of standard error."""
        os.write(self.stream, text.encode(errors="replace"))

    def end(self, code: int) -> None:
        """Before a rank ends with an exit code: say why, where nobody else does."""
        if self.held is None or code in _STOPPED:
            return
        if not self.joined:
            # What is wrong on one rank is wrong on all, most often, and torchrun ends this one.
            time.sleep(_PATIENCE)
        if not self.joined or self.left:
            said = os.pread(self.held, 1 << 20, 0).decode(errors="replace")
            self.say(f"{said[said.rfind('lla: ') :] if 'lla: ' in said else said}{_whose()}")


_voice = _Voice()


def _whose() -> str:
    return f"     (rank {os.environ['RANK']}, counted from 0, on {platform.node()})\n"


def many() -> bool:
    """Whether this process is one of several."""
    return "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") not in ("", "1")


def command_of(words: Sequence[str]) -> str:
    """The command line to repeat, with torchrun where that has started it."""
    if not many():
        return shlex.join(words)
    size, local = (os.environ.get(key, "1") for key in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    nodes = [] if size == local else ["--nnodes", os.environ.get("GROUP_WORLD_SIZE", "N")]
    start = ["torchrun", *nodes, "--nproc-per-node", local, "-m", "lla_cli"]
    return shlex.join([*start, *words[1:]])


def idle(words: Sequence[str], sharing: Collection[str]) -> bool:
    """Whether this rank has nothing to do: of most commands the first carries out all.

    Args:
        words: The command line, without the program.
        sharing: Names of the commands that the ranks share.
    """
    command = next((word for word in words if not word.startswith("-")), "")
    if not many() or command in sharing:
        return False
    if os.environ["RANK"] == "0" and command in ("audit", "batch"):
        _voice.say(f"lla: ranks share nothing of '{command}': one of them carries it out\n")
    return os.environ["RANK"] != "0"


@contextmanager
def speaking_once() -> Iterator[None]:
    """Within: of many ranks, the first alone has stdout and stderr; --debug leaves stderr to all.

    A process that has joined others ends at once: what torch holds of ranks that have failed must
    not keep it.
    """
    if not many():
        yield
        return
    if os.environ["RANK"] != "0":
        _be_quiet()
    try:
        yield
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except Exception:
        traceback.print_exc()
        code = 1
    else:
        return
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    _voice.end(code)
    os._exit(code)


def _be_quiet() -> None:
    _voice.stream = os.dup(2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if "--debug" in sys.argv:
        return
    if hasattr(os, "memfd_create"):
        _voice.held = os.memfd_create("lla")
    else:
        with tempfile.TemporaryFile() as file:
            _voice.held = os.dup(file.fileno())
    os.dup2(_voice.held, 2)


@contextmanager
def joined_ranks(
    settings: Settings,
    interruption: Interruption,
    values: Mapping[str, Any],
    again: Callable[[], str],
) -> Iterator[tuple[Team, Settings]]:
    """The ranks that work together, and the settings with this one's device.

    Args:
        settings: All settings.
        interruption: Told to ask, at a SIGTERM, whether another rank has failed.
        values: The command line's: whether each rank's log is wanted.
        again: Gives the command to go on with.

    Raises:
        LlaError: They cannot be joined, or one of them has failed.
    """
    if not many():
        yield ALONE, settings
        return
    from lla.distributed import Place, joined

    place = Place.of(os.environ)
    assert place is not None
    run = settings.run

    def speaks(error: RankFailedError) -> bool:
        return place.rank == min(set(range(place.size)) - set(error.dead))

    def end(error: RankFailedError) -> None:
        if speaks(error):
            _voice.say(f"lla: {error.reason}\n     {error.remedy or f'go on with: {again()}'}\n")
        os._exit(error.exit_code)

    wanted = values["verbose"] or values["debug"]
    with (
        _logging(place.rank) if wanted else nullcontext(),
        joined(place, run.device, threads=run.threads, end=end) as member,
    ):
        _voice.joined = True
        interruption.explain = member.watch.explained
        own = replace(settings, run=run.model_copy(update={"device": member.device}))
        try:
            yield member.team, own
        except RankFailedError as failed:
            if place.rank and speaks(failed):
                # The first, which knows what is kept, has died.
                _voice.left = True
                failed.remedy = "; ".join(filter(None, (failed.remedy, f"go on with: {again()}")))
            raise


@contextmanager
def _logging(rank: int) -> Iterator[None]:
    """Within: what the run's log says of this rank goes to stderr."""
    log, stream = logging.getLogger("lla"), os.fdopen(os.dup(_voice.stream), "w")
    handler, before = logging.StreamHandler(stream), log.level
    handler.setFormatter(logging.Formatter(f"[rank {rank}] %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
        stream.close()
