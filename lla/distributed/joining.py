"""How a process that torchrun has started joins the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from lla.distributed.team import TorchTeam
from lla.distributed.watch import Watch
from lla.errors import ConfigurationError, InterruptedRunError, LlaError, RankFailedError

__all__ = ["Joined", "Place", "joined"]

_c10d: Any = dist  # some of its public names are not marked as such
_TIMEOUT = timedelta(minutes=30)
_JOINING = timedelta(minutes=5)


@dataclass(frozen=True)
class Place:
    """Where torchrun has put this process, as its environment says.

    Attributes:
        rank: This process' number among all.
        size: The number of processes.
        local_rank: Its number on its machine.
        local_size: The number of processes there.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Place | None:
        """The place, or None for a process that runs on its own.

        Raises:
            ConfigurationError: The variables are there and make no sense.
        """
        if int(environment.get("WORLD_SIZE") or 1) < 2 or "RANK" not in environment:
            return None
        size = int(environment["WORLD_SIZE"])
        rank = int(environment["RANK"])
        local = int(environment.get("LOCAL_RANK", rank))
        return cls(rank, size, local, int(environment.get("LOCAL_WORLD_SIZE", size)))

    def device(self, name: str) -> str:
        """The device of this rank: a GPU of its own where there are enough."""
        if name not in ("auto", "cuda"):
            return name
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return f"cuda:{self.local_rank % count}" if count else name

    def neighbours(self, device: str) -> int:
        """Ranks that share this one's memory: on a CPU all of its machine."""
        kind, _, index = device.partition(":")
        if kind != "cuda" or not index:
            return self.local_size
        names = [Place(0, 0, k, self.local_size).device("cuda") for k in range(self.local_size)]
        return names.count(device) if device in names else self.local_size

    def threads(self) -> int:
        """A rank's share of its machine's cores."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return max(1, (cores or 1) // self.local_size)


@dataclass(frozen=True)
class Joined:
    """A rank that has joined.

    Attributes:
        team: All ranks.
        device: This one's.
        watch: Its eye on the others.
    """

    team: TorchTeam
    device: str
    watch: Watch


@contextmanager
def joined(
    place: Place,
    device: str = "auto",
    *,
    threads: int | None = None,
    end: Callable[[RankFailedError], None] = lambda error: os._exit(error.exit_code),
    timeout: timedelta = _TIMEOUT,
) -> Iterator[Joined]:
    """Join the other ranks for a run, and leave them at its end; where it fails, tell them why.

    NCCL where each rank has a GPU of its own, gloo otherwise.

    Args:
        place: This process'.
        device: As for ``--device``.
        threads: CPU threads of this rank; by default its share of the machine's cores.
        end: Ends a process that waits for a rank that has failed.
        timeout: Of a sum over all ranks, which no rank may let the others wait for longer.

    Raises:
        ConfigurationError: There is no process group here, or ranks have devices of several kinds.
        RankFailedError: Another rank has failed.
    """
    if not dist.is_available():
        raise ConfigurationError(
            "this torch was built without torch.distributed, which many ranks need",
            "run it on one: without torchrun",
        )
    chosen = place.device(device)
    neighbours = place.neighbours(chosen)
    torch.set_num_threads(threads or place.threads())
    own = _is_there(chosen) and neighbours == 1 and dist.is_nccl_available()
    if _is_there(chosen):
        torch.cuda.set_device(chosen)
    store, _, _ = next(iter(_c10d.rendezvous("env://", timeout=_JOINING)))
    store.set_timeout(timeout)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if own else "cpu:gloo",
        store=_c10d.PrefixStore("lla group", store),
        rank=place.rank,
        world_size=place.size,
        timeout=timeout,
        device_id=torch.device(chosen) if own else None,
    )
    watch = Watch(_c10d.PrefixStore("lla watch", store.clone()), place.rank, place.size, end)
    team = TorchTeam(neighbours=neighbours, on_failure=lambda error: watch.explained())
    try:
        kinds = team.gather((chosen.partition(":")[0], own))
        if len(set(kinds)) > 1:
            raise ConfigurationError(
                f"ranks would compute on {', '.join(sorted({kind for kind, _ in kinds}))}, some of "
                "them with a GPU of their own and others not",
                "give each machine as many ranks as it has GPUs, or say --device cpu",
            )
        yield Joined(team, chosen, watch)
        team.barrier()
    except (RankFailedError, InterruptedRunError):
        raise
    except BaseException as error:
        watch.fail(*_told(error))
        raise
    finally:
        watch.leave()
    with suppress(RuntimeError):
        dist.destroy_process_group()


def _is_there(device: str) -> bool:
    """Whether it is a GPU of this machine; a wrong name is told where the device is used."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    kind, _, index = device.partition(":")
    return kind == "cuda" and index.isdecimal() and int(index) < count


def _told(error: BaseException) -> tuple[str, str, int]:
    """A rank's failure in words: reason, remedy, exit code."""
    if isinstance(error, LlaError):
        return f"stopped: {error.reason}", error.remedy, error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "was interrupted", "", 130
    if isinstance(error, SystemExit):
        return f"ran code that ended the program: sys.exit({error.code!r})", "", 2
    first = str(error).partition("\n")[0]
    return f"stopped: {type(error).__name__}: {first}", "", RankFailedError.exit_code
