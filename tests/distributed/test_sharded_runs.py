"""Whole runs on processes that share the parameters: the numbers are those of one process."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing

import lla
from lla.curvature import gradient, operator_of
from lla.distributed import TorchTeam
from lla.errors import ConfigurationError
from lla.estimate import Estimate
from lla.problem import from_objects
from lla.problem.sharding.shards import Sharing
from tests.conftest import SAMPLES
from tests.sharded_cases import CASES, case

ONLY = ["baseline", "spectrum"]
FILE = {
    "data": {"limit": 20},
    "spectrum": {"steps": 20, "max_steps": 30, "probes": 2, "max_probes": 2, "largest": 1},
}
SETTINGS = {
    "run": {"dtype": "float64", "shard_parameters": True},
    "spectrum": {"steps": 30, "max_steps": 60, "probes": 3, "max_probes": 6, "largest": 2},
}


def analyzed(name: str, team: Any = None, **run: Any) -> lla.Report:
    found = case(name)
    stated = {**SETTINGS, "run": {**SETTINGS["run"], **run}}
    options = {} if team is None else {"team": team}
    return lla.analyze(
        *(found.module, found.data, found.loss),
        settings=stated,
        only=["baseline", "spectrum", "stability"],
        **options,
    )


def values_of(report: lla.Report) -> dict[str, float]:
    metrics = report.metrics.items()
    return {
        path: found.value for path, found in metrics if isinstance(found, Estimate) and found.exists
    }


def of_problem(name: str, sharing: Sharing) -> dict[str, torch.Tensor]:
    found = case(name)
    problem = from_objects(
        *(found.module, found.data, found.loss), batch_size=5, dtype="float64", sharing=sharing
    )
    size = problem.space.size
    vectors = torch.randn(2, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    value = problem.evaluate(problem.theta)
    numbers = torch.tensor([value.loss, value.weight], dtype=torch.float64)
    slope = gradient(problem)
    return {
        "numbers": numbers,
        "slope": slope,
        "products": operator_of("hessian", problem)(vectors),
    }


def from_file(team: TorchTeam) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """A checkpoint's own run; its parameters are shared because the memory does not hold them."""
    sharing = Sharing(team, memory=40 * 14_458 - 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lla.pipeline.sharing_of", lambda settings, device, team: sharing)
        report = lla.analyze(SAMPLES / "digits_cnn.pt", settings=FILE, only=ONLY, team=team)
    return values_of(report), report.provenance["ranks"]


def ranks(rank: int, size: int, folder: str) -> None:
    """What each process does."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size
    )
    team = TorchTeam(neighbours=size)
    found: dict[str, Any] = {}
    for name in CASES:
        held = of_problem(name, Sharing(team))
        report = analyzed(name, team)
        assert report.stages["stability"].status == "not_applicable"
        assert "all parameters at once" in report.stages["stability"].why
        found[name] = held, values_of(report)
    found["file"] = from_file(team)
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.long
@pytest.mark.parametrize("size", [2, 3])
def test_runs_are_those_of_one_process(size: int, tmp_path: Path) -> None:
    multiprocessing.spawn(ranks, (size, str(tmp_path)), nprocs=size)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(size)]
    for name in CASES:
        wanted = of_problem(name, Sharing())
        numbers = values_of(analyzed(name, shard_parameters=False))
        for held, values in (one[name] for one in found):
            for key, tensor in wanted.items():
                error = torch.linalg.vector_norm(held[key] - tensor)
                assert float(error) < 1e-12 * float(torch.linalg.vector_norm(tensor)), (name, key)
            shown = {key: value for key, value in numbers.items() if key in values}
            assert {key for key in numbers if key.startswith(("loss", "hessian"))} <= set(shown)
            for key, value in shown.items():
                assert math.isclose(values[key], value, rel_tol=1e-10, abs_tol=1e-10), (name, key)

    numbers = values_of(lla.analyze(SAMPLES / "digits_cnn.pt", settings=FILE, only=ONLY))
    whole, largest = 14_458, 9_216
    for values, about in (one["file"] for one in found):
        for key, value in values.items():
            assert math.isclose(numbers[key], value, rel_tol=1e-3), key
        for one in about:
            assert 0 <= one["parameter_bytes"] - 4 * whole / size < 4 * 20
            # The largest layer, in float64 to certify, and a vector's part of it.
            assert 8 * largest <= one["put_together_bytes_at_most"] < 2 * 8 * largest + 8 * 40


def test_shared_where_one_device_cannot_hold_them() -> None:
    """40 bytes a parameter in float32: network, θ, leaf, slope; three in float64."""
    module = torch.nn.Linear(99, 1)
    team: Any = SimpleNamespace(size=2)
    for kind, needed in ((torch.float32, 4000), (torch.float64, 3200)):
        assert Sharing(team, needed).team_for(module, kind) is None
        assert Sharing(team, needed - 1).team_for(module, kind) is team
    assert Sharing(team).team_for(module, torch.float32) is team
    assert Sharing().team_for(module, torch.float32) is None


def test_one_process_cannot_share() -> None:
    with pytest.raises(ConfigurationError, match="one process alone") as caught:
        analyzed("mlp")
    assert "torchrun" in caught.value.remedy
