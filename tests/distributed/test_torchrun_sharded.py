"""Processes of torchrun that share the parameters: what they hold, where they fail, going on."""

import json
from pathlib import Path

import h5py
import pytest

from tests.distributed.torchrun import (
    PROBLEM,
    differences,
    left,
    lla,
    message,
    messages,
    numbers,
    problem,
)

pytestmark = pytest.mark.long

COMMAND = ("spectrum", "m.pt", "--no-html", "--set=spectrum.steps=20", "--set=spectrum.probes=2")
SHARED = (*COMMAND, "--shard-parameters")
SIZES = (27, 3, 324, 3)  # of the parameters: a convolution's and a linear layer's


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The numbers of one process."""
    folder = problem(tmp_path_factory.mktemp("whole"))
    assert lla(1, folder, *COMMAND).code == 0
    return numbers(folder / "m.lla.h5")


@pytest.mark.parametrize("ranks", [2, 3])
def test_each_rank_holds_its_share(ranks: int, tmp_path: Path, whole: dict) -> None:
    done = lla(ranks, problem(tmp_path), *SHARED, "-v")
    assert done.code == 0, done.err
    assert differences(numbers(tmp_path / "m.lla.h5"), whole, relative=1e-10) == []
    share = sum(-(-size // ranks) for size in SIZES)  # pieces of equal length
    with h5py.File(tmp_path / "m.lla.h5") as file:
        told = json.loads(file["provenance/provenance"][()])["ranks"]
    assert [one["rank"] for one in told] == list(range(ranks))
    for one in told:
        assert one["parameters"] == share
        assert one["parameter_bytes"] == 8 * share
        # The linear layer, with what fills its pieces up, and its bias.
        assert 8 * 324 <= one["put_together_bytes_at_most"] <= 8 * (324 + 3 + 2 * ranks)
        assert f"[rank {one['rank']}] of {ranks} on cpu: {share} of 357 parameters" in done.err
    assert left(tmp_path) == sorted([*PROBLEM, "m.lla.h5"])


@pytest.mark.parametrize(("before", "after"), [(2, 3), (3, 2), (2, 2)])
def test_a_run_that_is_stopped_goes_on(
    before: int, after: int, tmp_path: Path, whole: dict
) -> None:
    done = lla(before, problem(tmp_path), *SHARED, "-q", disturb="0 200 SIGINT")
    finishing, told = messages(done)
    assert finishing.startswith("lla: finishing the product in hand")
    assert "interrupted; no report was written; 1 of 2 analyses is done and kept" in told
    assert f"go on with: torchrun --nproc-per-node {before} -m lla_cli spectrum m.pt" in told
    done = lla(after, tmp_path, *SHARED)
    assert done.code == 0, done.err
    assert "baseline: taken from an earlier run" in done.err
    assert differences(numbers(tmp_path / "m.lla.h5"), whole, relative=1e-10) == []
    assert left(tmp_path) == sorted([*PROBLEM, "m.lla.h5"])


@pytest.mark.parametrize(
    ("rank", "word", "reason"),
    [
        (1, "raise", "rank 1 of 2 (counted from 0) stopped: the analysis 'spectrum' failed: "),
        (1, "kill", "rank 1 of 2 (counted from 0) has died without a word"),
        (0, "kill", "rank 0 of 2 (counted from 0) has died without a word"),
    ],
)
def test_a_rank_that_fails_stops_all(rank: int, word: str, reason: str, tmp_path: Path) -> None:
    done = lla(2, problem(tmp_path), *SHARED, "-q", disturb=f"{rank} 200 {word}")
    told = message(done)
    assert told.startswith(f"lla: {reason}")
    assert "go on with: torchrun --nproc-per-node 2 -m lla_cli spectrum m.pt" in told
    assert left(tmp_path) == sorted([*PROBLEM, "m.lla.h5.parts"])
