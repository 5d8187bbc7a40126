"""A command that torchrun has started on many ranks: rank 0 speaks, the others are quiet.

``torchrun --nproc-per-node 2 -m lla_cli analyze model.pt`` starts the same command twice; the
environment tells each its number.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lla.team import ALONE, Team

if TYPE_CHECKING:
    from lla.errors import RankFailedError
    from lla.settings import Settings
    from lla_cli.interruption import Interruption

__all__ = ["command_of", "joined_ranks", "many", "speaking_once"]

_stderr = 2  # where this rank speaks if it has to, whatever has become of its standard error


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


@contextmanager
def speaking_once() -> Iterator[None]:
    """Within: of many ranks, the first alone has stdout and stderr; --debug leaves stderr to all.

    A process that has joined others ends at once: what torch holds of ranks that have failed must
    not keep it.
    """
    global _stderr
    if not many():
        yield
        return
    if os.environ["RANK"] != "0":
        _stderr = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        if "--debug" not in sys.argv:
            os.dup2(nowhere, 2)
    try:
        yield
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


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

    def end(error: RankFailedError) -> None:
        if place.rank == 0 or (place.rank == 1 and error.rank == 0):
            _say(f"lla: {error.reason}\n     {error.remedy or f'go on with: {again()}'}\n")
        os._exit(error.exit_code)

    wanted = values["verbose"] or values["debug"]
    with (
        _logging(place.rank) if wanted else nullcontext(),
        joined(place, run.device, threads=run.threads, end=end) as member,
    ):
        interruption.explain = member.watch.explained
        yield member.team, replace(settings, run=run.model_copy(update={"device": member.device}))


def _say(text: str) -> None:
    os.write(_stderr, text.encode())


@contextmanager
def _logging(rank: int) -> Iterator[None]:
    """Within: what the run's log says of this rank goes to stderr."""
    log, stream = logging.getLogger("lla"), os.fdopen(os.dup(_stderr), "w")
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
