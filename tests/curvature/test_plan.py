"""The plan of how products are made: within the memory, and never a change of results."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lla.api import analyze
from lla.curvature import Hessian
from lla.curvature.names import Needs
from lla.curvature.plan import Plan, make_plan, planned, unmeasured
from lla.curvature.sampling import groups_of, sampling_error
from lla.errors import ConfigurationError
from lla.problem import Batch, from_objects
from lla.watching import memory_in_use

NEEDS = Needs(rows=60, least_rows=10, vectors=10)
GIB = 1 << 30


def wide(samples: int = 600):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 200), nn.Tanh(), nn.Linear(200, 5))
    return from_objects(module, (torch.randn(samples, 64), torch.randint(0, 5, (samples,))))


def test_a_plan_with_room_keeps_all_graphs() -> None:
    problem = wide()
    plan = make_plan(problem, 8 * GIB, NEEDS)
    chunks = -(-600 // plan.chunk)
    assert plan.way.method == "reverse"
    assert plan.keep >= chunks * plan.graph > 0
    assert plan.rows == 60
    assert plan.predicted <= 8 * GIB
    assert all(seconds > 0 for seconds in vars(plan.costs).values())
    assert len(list(planned(problem, plan).data.chunks())) == chunks
    json.dumps(plan.facts())


def test_the_budget_bounds_rows_graphs_and_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("plan", "tight"):
        monkeypatch.setattr(f"lla.curvature.{place}.memory_in_use", lambda device: 300 << 20)
    problem = wide(4000)
    with pytest.raises(ConfigurationError, match="is too small") as caught:
        make_plan(problem, 300 << 20, NEEDS)
    asked = int(caught.value.remedy.split("--memory ")[1].split("MiB")[0]) << 20
    tight = make_plan(problem, asked + (1 << 20), NEEDS)
    assert NEEDS.pairs < tight.rows <= 60
    assert tight.keep <= -(-4000 // tight.chunk) * tight.graph
    assert tight.predicted <= asked + (4 << 20)
    assert make_plan(problem, asked + (1 << 30), NEEDS).rows == 60


def test_what_is_stated_is_kept() -> None:
    plan = make_plan(wide(), 8 * GIB, NEEDS, choose_chunk=False, method="forward", together=3)
    assert (plan.chunk, plan.way.method, plan.way.together, plan.keep) == (256, "forward", 3, 0)


@pytest.mark.parametrize(
    "run", [{"method": "forward", "together": 4}, {"memory": 0}, {"method": "reverse"}]
)
def test_results_do_not_depend_on_the_plan(run: dict[str, object]) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    data = (torch.randn(40, 6), torch.randint(0, 3, (40,)))
    settings = {"run": {"dtype": "float64"}}
    first = analyze(module, data, only=["spectrum"], settings=settings, batch_size=40)
    other = {"run": {"dtype": "float64", **run}}
    again = [
        analyze(module, data, only=["spectrum"], settings=other, batch_size=7) for _ in range(2)
    ]
    for path in ("hessian/lambda_max", "hessian/trace", "hessian/K_H1"):
        assert again[0].metrics[path].value == pytest.approx(first.metrics[path].value, rel=1e-8)
        # The same plan gives the same bits.
        assert again[0].metrics[path].value == again[1].metrics[path].value


def test_what_was_given_up_is_in_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    data = (torch.randn(40, 6), torch.randint(0, 3, (40,)))
    whole = analyze(module, data, only=["spectrum"], batch_size=40)
    assert whole.plan["steps_down"] == []
    build = Hessian._build

    def scarce(operator: Hessian, batch: Batch) -> object:
        # Graphs fit, but not beside others: the plan's measurement passes, kept graphs do not.
        if operator._kept:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return build(operator, batch)

    monkeypatch.setattr(Hessian, "_build", scarce)
    given_up = analyze(module, data, only=["spectrum", "stability"], batch_size=20)
    assert given_up.plan["steps_down"] == ["graphs made anew"]
    for path in ("hessian/lambda_max", "hessian/trace"):
        assert given_up.metrics[path].value == pytest.approx(whole.metrics[path].value, rel=1e-4)


def test_a_planned_problem_is_cut_as_planned() -> None:
    problem = planned(wide(), Plan(chunk=70))
    assert [batch.samples for batch in problem.data.chunks()] == [*[70] * 8, 40]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_memory_in_use_is_the_systems_count() -> None:
    held = np.ones(1 << 24)  # 128 MiB
    status = Path("/proc/self/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
    expected = int(line.split()[1]) * 1024
    assert memory_in_use(torch.device("cpu")) == pytest.approx(expected, rel=0.05)
    assert expected > held.nbytes


def test_a_single_sample_has_a_plan() -> None:
    plan = make_plan(wide(1), 8 * GIB, NEEDS)
    assert plan.chunk == 1
    assert plan.keep >= plan.graph > 0


@pytest.mark.parametrize(
    ("samples", "count"), [(1, 1), (4, 1), (7, 1), (8, 2), (63, 15), (64, 16), (1000, 16)]
)
def test_groups_have_four_samples_or_more(samples: int, count: int) -> None:
    groups = groups_of(samples, torch.device("cpu"))
    assert [group.tolist() for group in groups] == [
        [*range(start, samples, count)] for start in range(count)
    ]


def test_an_unmeasured_plan_shares_out_the_memory() -> None:
    """A quarter for graphs, and rows of 8 bytes a parameter for a half."""
    problem = wide()
    size = 64 * 200 + 200 + 200 * 5 + 5
    plan = unmeasured(problem, 16 * size * 30 + 5)
    assert (plan.rows, plan.keep, plan.chunk) == (30, 4 * size * 30 + 1, 256)
    assert unmeasured(problem, 8 * GIB).rows == 400
    assert set(plan.facts()["seconds"].values()) == {None}


def test_groups_are_fixed_and_their_error_is_that_of_a_mean() -> None:
    groups = groups_of(100, torch.device("cpu"))
    assert len(groups) == 16
    assert torch.cat(groups).sort().values.tolist() == list(range(100))
    rng = np.random.default_rng(0)
    scatter = [sampling_error(rng.normal(size=(16, 1)), 160, 10**9)[0] for _ in range(2000)]
    # Each group's mean has variance 1: the mean of 16 has the standard error 1/4.
    assert np.sqrt(np.mean(np.square(scatter))) == pytest.approx(0.25, rel=0.03)
    half = sampling_error(np.array([[0.0], [2.0]]), 50, 100)
    assert half[0] == pytest.approx(np.sqrt(0.5) * np.sqrt(2.0) / np.sqrt(2.0))
    assert sampling_error(np.ones((3, 2)), 5, 5).tolist() == [0.0, 0.0]
    assert sampling_error(np.ones((1, 1)), 5, 5).tolist() == [0.0]  # nothing was left out
    assert np.isnan(sampling_error(np.ones((1, 1)), 5, 9)).all()


WIDE = """
from torch import nn

def net():
    return nn.Sequential(nn.Linear(784, 600), nn.ReLU(), nn.Linear(600, 10))
"""


# The process tells its own peak: what its parent counts for it holds the parent's memory as well.
WATCHED = """
import atexit, sys

def tell():
    with open("/proc/self/status") as file:
        sys.stderr.write("".join(line for line in file if line.startswith("VmHWM")))

atexit.register(tell)
from lla_cli.main import main
main()
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
@pytest.mark.parametrize("gib", [1, 2])
def test_the_peak_stays_within_the_budget(tmp_path: Path, gib: int) -> None:
    """Peak resident memory of the whole command, as the system counts it."""
    (tmp_path / "wide.py").write_text(WIDE)
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "d.npz",
        x=rng.normal(size=(2000, 784)).astype(np.float32),
        y=rng.integers(0, 10, 2000),
    )
    scope: dict[str, object] = {}
    exec(WIDE, scope)
    torch.save(scope["net"]().state_dict(), tmp_path / "wide.pt")  # type: ignore[operator]
    command = [sys.executable, "-c", WATCHED, "spectrum", "wide.pt", "--model", "wide.py:net"]
    options = ["--data", "d.npz", "--memory", f"{gib}GiB", "--set=spectrum.max_steps=80"]
    done = subprocess.run(
        [*command, *options, "--json", "-q", "-o", "w.h5"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["metrics"]["hessian/trace"]["value"] is not None
    (peak,) = [line for line in done.stderr.splitlines() if line.startswith("VmHWM")]
    assert int(peak.split()[1]) * 1024 <= gib * GIB
