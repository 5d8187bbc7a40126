"""What ranks exchange, over real processes and gloo, against what was put in by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes

from lla.distributed.team import TorchTeam
from lla.errors import LlaError
from lla.team import by_first

SIZE = 3


def _exchanged(rank: int, folder: str) -> None:
    """What a rank gets of values that all ranks make from their numbers."""
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=SIZE
    )
    team, found = TorchTeam(), {}
    given = torch.arange(6.0).double() * 10**rank
    found["sum"], found["given"] = team.sum(given), given
    found["summed share"] = team.summed_share(given)
    found["smallest"] = team.smallest((5, -3, 4)[rank])
    found["any"] = [team.any(rank == 1), team.any(False)]
    whole = torch.arange(14).reshape(2, 7)
    found["joined"] = team.joined(whole[:, team.share(7)], 7)
    found["few"] = team.joined(whole[team.share(2)], 2, 0)  # the last rank has none
    found["broadcast"] = team.broadcast({"of": rank})
    found["gather"] = team.gather(f"rank {rank}")
    found["first"] = by_first(team, lambda: rank)
    try:
        by_first(team, lambda: _raise(rank))
    except LlaError as error:
        found["raised"] = error.reason
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def _raise(rank: int) -> None:
    raise LlaError(f"rank {rank}", "nothing")


@pytest.fixture(scope="module")
def exchanged(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    processes.spawn(_exchanged, args=(str(folder),), nprocs=SIZE)
    return [torch.load(folder / f"{rank}.pt") for rank in range(SIZE)]


def test_sums_are_of_all_ranks_and_leave_the_terms_alone(exchanged: list[dict[str, Any]]) -> None:
    total = torch.arange(6.0).double() * 111
    for rank, found in enumerate(exchanged):
        assert torch.equal(found["sum"], total)
        assert torch.equal(found["summed share"], total[2 * rank : 2 * rank + 2])
        assert torch.equal(found["given"], torch.arange(6.0).double() * 10**rank)


def test_shares_are_joined_in_their_order(exchanged: list[dict[str, Any]]) -> None:
    whole = torch.arange(14).reshape(2, 7)
    for found in exchanged:
        assert torch.equal(found["joined"], whole)
        assert torch.equal(found["few"], whole)


def test_all_ranks_know_the_same(exchanged: list[dict[str, Any]]) -> None:
    for found in exchanged:
        assert found["smallest"] == -3
        assert found["any"] == [True, False]
        assert found["broadcast"] == {"of": 0}
        assert found["gather"] == ["rank 0", "rank 1", "rank 2"]
        assert found["first"] == 0
        assert found["raised"] == "rank 0"
