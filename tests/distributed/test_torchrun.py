"""One analysis on processes that torchrun starts: the report is that of one process."""

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.conftest import SAMPLES
from tests.distributed.torchrun import PROBLEM, Ended, differences, lla, numbers, problem

pytestmark = pytest.mark.long

ALL = ["baseline", "spectrum", "stability", "sharpness", "landscape", "saliency"]
FEW = ["--set", "spectrum.probes=4", "--tolerance", "0.2", "--no-html"]
DOMAINS = [
    f"--domain={name}={SAMPLES / 'digits_shift.npz'}?split={name}&limit=40"
    for name in ("clean", "rot20", "noise20")
]
CASES = {
    "digits_mlp.pt": (["--data", "digits.npz?limit=61", "--samples=61", "--batch-size=8"], 61),
    "digits_cnn.pt": (["--data", "digits.npz?limit=43", "--set=saliency.curvature=1"], 43),
    "digits_vit.safetensors": (
        [
            "--data",
            "digits.npz?limit=21",
            "--samples=21",
            "--batch-size=8",
            "--skip=landscape,sharpness",
        ],
        21,
    ),
    "charlm.pt": (["--data", "charlm.npz?limit=9", "--skip=saliency,sharpness"], 9),
}


def shares(done: Ended) -> list[list[int]]:
    """The samples of each rank, as its log says, counted from 1."""
    found = re.findall(r"\[rank (\d)\] of \d on cpu: samples (\d+) to (\d+) of", done.err)
    return [list(range(int(low), int(high) + 1)) for _, low, high in sorted(found)]


def ranks_of(path: Path) -> list[dict]:
    with h5py.File(path) as file:
        return json.loads(file["provenance/provenance"][()])["ranks"]


@pytest.mark.parametrize("name", CASES)
def test_every_number_is_that_of_one_process(name: str, tmp_path: Path) -> None:
    (how, data, *more), samples = CASES[name]
    words = ["analyze", str(SAMPLES / name), how, str(SAMPLES / data), *more, *FEW]
    words += ["--dtype=float64", "-v"]
    one, two = (lla(size, tmp_path, *words, "-o", f"{size}.lla.h5") for size in (1, 2))
    assert one.code == two.code == 0, two.err
    found = [numbers(tmp_path / f"{size}.lla.h5") for size in (1, 2)]
    assert len(found[0]) > 400
    assert sum(np.asarray(value).dtype.kind == "f" for value in found[0].values()) > 200
    assert differences(*found, relative=1e-10) == []

    first, second = shares(two)
    assert first + second == list(range(1, samples + 1))  # disjoint, and nothing is left out
    assert 0 <= len(first) - len(second) <= 1
    told = ranks_of(tmp_path / "2.lla.h5")
    assert [one["samples"] for one in told] == [[0, len(first)], [len(first), samples]]
    assert all(one["seconds"]["products"] > 0 for one in told)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.lla.h5", "2.lla.h5"]


def test_alignment_of_domains_and_three_ranks(tmp_path: Path) -> None:
    words = ["align", str(SAMPLES / "digits_mlp.pt"), "--dtype=float64", "--no-html", *DOMAINS]
    for scope in ("head", "all"):
        more = [f"--scope={scope}", "--max-products=60", "--probes=20", "--replicates=10"]
        for size in (1, 3):
            done = lla(size, tmp_path, *words, *more, "-o", f"{scope}{size}.lla.h5")
            assert done.code == 0, done.err
        one, three = (numbers(tmp_path / f"{scope}{size}.lla.h5") for size in (1, 3))
        assert "alignment/distances/spectral/value" in one
        assert differences(one, three, relative=1e-10) == []


def test_more_ranks_than_some_have_samples(tmp_path: Path) -> None:
    """Chunks of 9 of 23 samples; the second of two ranks has none of the first chunk."""
    problem(tmp_path)
    for size in (1, 3):
        done = lla(size, tmp_path, "analyze", "m.pt", "--no-html", "-q", "-o", f"{size}.lla.h5")
        assert done.code == 0, done.err
    one, three = (numbers(tmp_path / f"{size}.lla.h5") for size in (1, 3))
    assert "saliency/ranking/sharpness" in one
    assert {name.partition("/")[0] for name in one} >= {"loss", "hessian", "stability"}
    assert differences(one, three, relative=1e-10) == []
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == sorted([*PROBLEM, "1.lla.h5", "3.lla.h5"])
