"""A run's predicted memory, against counts by hand and against what the system counts."""

import copy
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lla.api import analyze
from lla.curvature.footprint import Footprint, Sizes
from lla.curvature.names import Needs
from lla.curvature.plan import make_plan
from lla.errors import ConfigurationError
from lla.problem import from_objects
from lla.watching import Watch, give_back, memory_in_use, peak_of_process

CPU = torch.device("cpu")
MIB = 1 << 20
NEEDS = Needs(rows=40, least_rows=10, vectors=400, pairs=3, steps=6)


def wide(samples: int = 40):
    """Two million parameters, whose 400 vectors no budget below holds."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(1000, 2000), nn.Tanh(), nn.Linear(2000, 5))
    return from_objects(module, (torch.randn(samples, 1000), torch.randint(0, 5, (samples,))))


def test_phases_are_counted_by_hand() -> None:
    """Vectors of 8 and of 4 bytes, rows of 4: a product takes 4 + 8 + 3 · 4 beside activations."""
    sizes = Sizes(base=1000, vector=8, own=4, row=4, precise=8, activations=100, graph=50)
    needs = Needs(pairs=3, block=1, diagonal=True, others=2, sketched=5)
    found = Footprint(sizes, needs, rows=12, kept_rows=5, probe_rows=6)
    assert sizes.product == 4 + 8 + 12 + 100
    # float64: the sum, the gradient, and the product twice; activations are twice as large.
    assert sizes.precise_product == 8 + 24 + 200
    known = 5 * 4 + (3 + 1) * 8
    assert found.phases == {
        "eigenvalues": 1016 + 12 * 4 + 8 + 124,
        "certificates": 1016 + known + 8 + 232,
        "density": 1016 + known + 6 * 4 + 8 + 124,
        "trace": 1016 + known + (2 + 3 + 5) * 8 + 124,
    }
    assert found.peak == max(found.phases.values())
    # Of three kept graphs of 50, one is among the activations of the product that uses it.
    assert replace(found, keep=150).phases["eigenvalues"] == 1016 + 12 * 4 + 8 + 124 + 100
    exact = replace(sizes, own=8, precise=0)
    assert exact.product == exact.precise_product == 8 + 24 + 100


def test_a_tight_plan_takes_what_it_is_given_and_no_more() -> None:
    problem = wide()
    give_back()
    base = memory_in_use(CPU)
    with pytest.raises(ConfigurationError, match="is too small") as caught:
        make_plan(problem, base + 10 * MIB, NEEDS)
    asked = int(caught.value.remedy.split("--memory ")[1].split("MiB")[0]) << 20
    assert asked < base + 192 * MIB + 40 * 8 * problem.space.size
    plans = [make_plan(problem, asked + more * MIB, NEEDS) for more in (16, 100, 400)]
    for plan in plans:
        assert plan.tight
        assert plan.predicted <= plan.memory
        assert plan.predicted == max(plan.phases.values())
        assert NEEDS.pairs <= plan.kept_rows <= plan.rows <= 40
        assert plan.probe_rows >= 5
        json.dumps(plan.facts())
    assert plans[0].rows < plans[1].rows <= plans[2].rows
    # With room, the graphs of all samples are kept, in whatever chunks they are.
    assert plans[2].keep == -(-len(problem.data) // plans[2].chunk) * plans[2].graph > 0
    assert not make_plan(problem, 16 << 30, NEEDS).tight


def test_a_tight_run_finds_what_any_run_finds() -> None:
    """Few rows in float32, pairs certified one by one: the intervals of both hold each other."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(300, 400), nn.Tanh(), nn.Linear(400, 5))
    data = (torch.randn(60, 300), torch.randint(0, 5, (60,)))
    settings = {"spectrum": {"largest": 2, "smallest": 1, "max_steps": 60, "steps": 40}}
    whole = analyze(module, data, only=["spectrum"], settings=settings)
    give_back()
    few = {**settings, "run": {"memory": memory_in_use(CPU) + 217 * MIB}}
    tight = analyze(module, data, only=["spectrum"], settings=few)
    assert (whole.plan["tight"], tight.plan["tight"]) == (False, True)
    assert tight.plan["basis_rows"] < whole.plan["basis_rows"]
    for path in ("hessian/lambda_max", "hessian/lambda_min", "hessian/trace", "hessian/frobenius"):
        one, other = whole.metrics[path], tight.metrics[path]
        assert max(one.low, other.low) <= min(one.high, other.high), path
    assert tight.metrics["hessian/lambda_max"].value == pytest.approx(
        whole.metrics["hessian/lambda_max"].value, rel=1e-4
    )
    assert tight.plan["peak_bytes"] == pytest.approx(peak_of_process(CPU), rel=0.2)


class Deep(nn.Module):
    """Little to learn and much to hold: blocks of wide activations."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(8, 8, 3, padding=1), nn.Tanh()]
        block = nn.Sequential(*[copy.deepcopy(layer) for _ in range(5) for layer in layers])
        self.blocks = nn.Sequential(*(copy.deepcopy(block) for _ in range(8)))
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(x).mean(dim=(2, 3)))


def test_activations_are_computed_again_where_a_single_sample_is_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for place in ("plan", "tight"):
        monkeypatch.setattr(f"lla.curvature.{place}.memory_in_use", lambda device: 0)
    monkeypatch.setattr("lla.curvature.tight._unfolded", lambda *given: 0)  # has its own test
    torch.manual_seed(0)
    data = (torch.randn(2, 8, 120, 120), torch.randint(0, 3, (2,)))
    problem = from_objects(Deep(), data)
    needs = Needs(rows=40, least_rows=10, vectors=40, pairs=3, steps=6)
    roomy = make_plan(problem, 2048 * MIB, needs)
    assert not roomy.way.recompute
    few = make_plan(problem, (192 + 110) * MIB, needs)
    assert few.way.recompute == tuple(f"blocks.{index}" for index in range(8))
    assert few.chunk == 1
    assert few.graph < roomy.graph / roomy.chunk / 4
    assert few.predicted <= few.memory
    with pytest.raises(ConfigurationError, match="is too small"):
        make_plan(problem, (192 + 20) * MIB, needs)


def test_a_watch_sees_what_is_held_for_a_moment() -> None:
    with Watch(CPU) as watch:
        for _ in range(3):
            torch.ones(32 * MIB // 4).mul_(2.0).sum()
    assert 31 * MIB < watch.rise < 80 * MIB
    assert peak_of_process(CPU) >= memory_in_use(CPU)


FACTORY = """
from torch import nn

def net(width=3000):
    return nn.Sequential(nn.Linear(3000, width), nn.Tanh(), nn.Linear(width, 10))
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
@pytest.mark.parametrize("options", [[], ["--params", "2.*"]])
def test_the_measured_peak_is_the_predicted_one(tmp_path: Path, options: list[str]) -> None:
    """Nine million parameters in half a gigabyte more than torch takes: within 15 %."""
    (tmp_path / "wide.py").write_text(FACTORY)
    scope: dict[str, object] = {}
    exec(FACTORY, scope)
    save_file(scope["net"]().state_dict(), tmp_path / "wide.safetensors")  # type: ignore[operator]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 3000)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, y=rng.integers(0, 10, 64))
    command = [sys.executable, "-m", "lla_cli", "spectrum", "wide.safetensors", "-q", "--no-html"]
    command += ["--model", "wide.py:net", "--data", "d.npz", "--memory", "1500MiB", "--json"]
    command += ["--largest", "2", "--smallest", "1", "--max-steps", "30", *options]
    child = subprocess.Popen([*command, "-o", "w.h5"], cwd=tmp_path, stdout=subprocess.PIPE)
    assert child.stdout is not None
    document = json.loads(child.stdout.read())
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0
    plan = document["plan"]
    assert plan["tight"] == (not options)
    assert usage.ru_maxrss * 1024 == pytest.approx(plan["peak_bytes"], rel=0.05)
    if not options:
        assert plan["peak_bytes"] == pytest.approx(plan["predicted_peak_bytes"], rel=0.15)
    assert plan["peak_bytes"] <= 1500 * MIB


def test_convolutions_in_float64_are_counted_with_the_windows_that_they_write_out() -> None:
    """Each product of 5 × 5 windows over 16 channels writes out 400 numbers for every one."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 16, 5), nn.Tanh(), nn.Conv2d(16, 16, 5), nn.Tanh(), nn.Conv2d(16, 2, 5),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    problem = from_objects(module, (torch.randn(4, 1, 96, 96), torch.arange(4) % 2))
    give_back()
    plan = make_plan(problem, memory_in_use(CPU) + 1200 * MIB, replace(NEEDS, vectors=10**7))
    assert plan.tight
    # The windows of the middle layer's inputs alone, of a chunk.
    windows = plan.chunk * 400 * 88 * 88 * 8
    assert plan.phases["certificates"] - plan.phases["eigenvalues"] > windows
