"""Curvature over a training, against dense float64 Hessians of a small network."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

import lla
from lla.analyses.checkpoints import checkpoints_of
from lla.analyses.keeping import Arrays
from lla.analyses.stability import StabilityConfig, TrainingSeries
from lla.analyses.stability.run import run
from lla.analyses.workspace import Workspace
from lla.errors import ConfigurationError, LlaError
from lla.execution import workspace_of
from lla.foresight import foresee
from lla.pipeline import analyze_checkpoint, prepare
from lla.problem import Problem
from lla.progress import Silent
from lla.settings import gather

MODELS = """
from torch import nn

def make(width=4):
    return nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 2))
"""
SAMPLES, BATCH = 8, 7
RATES = {1: 0.4, 2: 0.4, 10: 0.1}


def net(width: int = 4) -> nn.Module:
    space: dict[str, Any] = {}
    exec(MODELS, space)
    made: nn.Module = space["make"](width)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints after epochs 1, 2 and 10 of gradient descent, the last at another rate."""
    place = tmp_path_factory.mktemp("series")
    (place / "models.py").write_text(MODELS)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(SAMPLES, 3, generator=generator)
    y = torch.randn(SAMPLES, 2, generator=generator)
    np.savez(place / "data.npz", x=x, y=y)
    torch.manual_seed(1)
    module = net()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.4, momentum=0.5)
    (place / "run").mkdir()
    for epoch in range(1, 11):
        optimizer.param_groups[0]["lr"] = RATES.get(epoch, 0.4)
        optimizer.zero_grad()
        nn.functional.mse_loss(module(x), y).backward()
        optimizer.step()
        content = {"model": module.state_dict(), "optimizer": optimizer.state_dict()}
        if epoch in RATES:
            torch.save({**content, "epoch": epoch}, place / "run" / f"epoch-{epoch}.pt")
    (place / "run" / "notes.txt").write_text("no checkpoint")
    return place


def stated(folder: Path, **sections: Any) -> dict[str, Any]:
    return {
        "model": {"factory": f"{folder}/models.py:make"},
        "data": {"source": f"{folder}/data.npz"},
        "loss": {"name": "mse"},
        "training": {"batch_size": BATCH, **sections.pop("training", {})},
        "run": {"dtype": "float64", **sections.pop("run", {})},
        **sections,
    }


def prepared(folder: Path, **sections: Any) -> tuple[Problem, Workspace]:
    path = folder / "run" / "epoch-10.pt"
    problem, _, settings = prepare(path, gather(path, flags=stated(folder, **sections)))
    return problem, workspace_of(settings, problem.device, Silent())


def series_of(folder: Path, named: str, **sections: Any) -> TrainingSeries:
    problem, workspace = prepared(folder, **sections)
    config = StabilityConfig(series=named, max_batches=40)
    found = run(problem, config, workspace).series
    assert found is not None
    return found


def dense(folder: Path, epoch: int, chosen: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Hessian and gradient of the mean square error over some samples, from torch alone."""
    module = net().double()
    module.load_state_dict(torch.load(folder / "run" / f"epoch-{epoch}.pt")["model"])
    data = np.load(folder / "data.npz")
    x = torch.from_numpy(data["x"]).double()[list(chosen)]
    y = torch.from_numpy(data["y"]).double()[list(chosen)]
    names, shapes = zip(*((n, p.shape) for n, p in module.named_parameters()), strict=True)
    theta = torch.cat([p.detach().reshape(-1) for p in module.parameters()])

    def loss(flat: torch.Tensor) -> torch.Tensor:
        parts = flat.split([shape.numel() for shape in shapes])
        held = {n: p.view(s) for n, p, s in zip(names, parts, shapes, strict=True)}
        return (functional_call(module, held, (x,)) - y).square().mean()

    return (
        torch.autograd.functional.hessian(loss, theta),
        torch.autograd.functional.jacobian(loss, theta),
    )


def test_each_checkpoint_against_its_dense_hessian(folder: Path) -> None:
    found = series_of(folder, f"{folder}/run/*.pt")
    assert found.names == ("epoch-1.pt", "epoch-2.pt", "epoch-10.pt")
    assert found.epoch.tolist() == [1, 2, 10]
    assert found.lr.tolist() == [0.4, 0.4, 0.1]
    assert found.two_over_lr == pytest.approx([5, 5, 20])
    assert found.edge == pytest.approx([7.5, 7.5, 30])  # heavy ball, 2(1+β)/η
    assert found.note == ("", "", "")
    everything = tuple(range(SAMPLES))
    for row, epoch in enumerate(RATES):
        hessian, _ = dense(folder, epoch, everything)
        values = torch.linalg.eigvalsh(hessian)
        assert found.lambda_max[row] == pytest.approx(float(values[-1]), rel=1e-6)
        assert found.lambda_max_low[row] <= float(values[-1]) <= found.lambda_max_high[row]
        assert found.trace_low[row] <= float(values.sum()) <= found.trace_high[row]
        forms = []
        for chosen in combinations(everything, BATCH):
            hessian, slope = dense(folder, epoch, chosen)
            forms.append(float(slope @ hessian @ slope / (slope @ slope)))
        assert min(forms) <= found.batch_sharpness[row] <= max(forms)
        assert found.batch_sharpness_low[row] <= np.mean(forms) <= found.batch_sharpness_high[row]
    assert len({*found.lambda_max, *found.trace, *found.batch_sharpness, *found.loss}) == 12
    assert found.converged.all()


def test_full_batches_have_one_exact_sharpness(folder: Path) -> None:
    found = series_of(folder, f"{folder}/run", training={"batch_size": SAMPLES})
    for row, epoch in enumerate(RATES):
        hessian, slope = dense(folder, epoch, tuple(range(SAMPLES)))
        form = float(slope @ hessian @ slope / (slope @ slope))
        assert found.batch_sharpness[row] == pytest.approx(form, rel=1e-9)
        assert found.batch_sharpness_low[row] == found.batch_sharpness_high[row]


def test_what_is_stated_holds_for_every_checkpoint(folder: Path) -> None:
    found = series_of(
        folder, f"{folder}/run", training={"lr": 0.3, "momentum": 0.0, "weight_decay": 0.25}
    )
    assert found.lr.tolist() == [0.3] * 3
    # Momentum is what the checkpoint tells and what was stated to be otherwise.
    assert found.edge == pytest.approx([2 / 0.3 - 0.25] * 3)


def test_adam_has_no_such_edge_and_an_unknown_batch_no_sharpness(folder: Path) -> None:
    found = series_of(folder, f"{folder}/run/epoch-2.pt", training={"optimizer": "adam"})
    assert np.isnan(found.edge[0])
    assert "preconditioned" in found.note[0]
    assert found.two_over_lr[0] == pytest.approx(5)
    sections = stated(folder)
    del sections["training"]["batch_size"]
    path = folder / "run" / "epoch-10.pt"
    problem, _, settings = prepare(path, gather(path, flags=sections))
    config = StabilityConfig(series=f"{folder}/run/epoch-2.pt")
    result = run(problem, config, workspace_of(settings, problem.device, Silent())).series
    assert result is not None
    assert np.isnan(result.batch_sharpness[0])
    assert "batch size is unknown" in result.note[0]


def test_which_checkpoints_are_meant(folder: Path) -> None:
    run_folder = folder / "run"
    in_order = [str(run_folder / f"epoch-{epoch}.pt") for epoch in RATES]
    assert checkpoints_of([str(run_folder)], "--series") == in_order
    assert checkpoints_of([f"{run_folder}/*.pt"], "--series") == in_order
    assert checkpoints_of(in_order[::-1], "--series") == in_order[::-1]
    for text, words in ((f"{folder}/*.ckpt", "no file matches"), (str(folder), "holds no")):
        with pytest.raises(ConfigurationError, match=words) as error:
            checkpoints_of([text], "--series")
        assert "--series" in error.value.remedy


class Watching(Silent):
    """Notes which stages began."""

    def __init__(self) -> None:
        self.began: list[str] = []

    def start(self, stage: str, position: int, stages: int) -> None:
        """A stage begins."""
        self.began.append(stage)


@pytest.mark.parametrize("kind", ["foreign", "wider", "damaged", "absent"])
def test_a_checkpoint_that_cannot_be_used_is_told_before_anything_runs(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    other = tmp_path / "other.pt"
    if kind == "foreign":
        torch.save({"conv.weight": torch.zeros(9)}, other)
    elif kind == "wider":
        torch.save(net(5).state_dict(), other)
    elif kind == "damaged":
        other.write_bytes((folder / "run" / "epoch-1.pt").read_bytes()[:900])
    path = folder / "run" / "epoch-10.pt"
    flags = stated(folder, stability={"series": (f"{folder}/run/epoch-1.pt", str(other))})
    watching = Watching()
    with pytest.raises(LlaError) as error:
        analyze_checkpoint(path, gather(path, flags=flags), progress=watching)
    assert watching.began == []
    assert str(other) in error.value.reason
    assert error.value.remedy
    if kind in ("foreign", "wider"):
        assert "no checkpoint of the same network" in error.value.reason
        assert error.value.remedy == "leave it out of --series"
    with pytest.raises(LlaError):
        foresee(path, gather(path, flags=flags))


def test_live_objects_have_no_series() -> None:
    data = (torch.randn(6, 3), torch.randn(6, 2))
    with pytest.raises(ConfigurationError, match="given as an object"):
        lla.analyze(
            net(), data, "mse", only=["stability"], settings={"stability": {"series": "a.pt"}}
        )


def test_a_training_that_diverged_leaves_a_gap(folder: Path, tmp_path: Path) -> None:
    module = net()
    with torch.no_grad():
        module[2].bias.fill_(1e30)
    torch.save({"model": module.state_dict(), "epoch": 3}, tmp_path / "far.pt")
    found = series_of(
        folder,
        f"{tmp_path}/far.pt,{folder}/run/epoch-10.pt",
        run={"dtype": "float32"},
    )
    assert np.isinf(found.loss[0])
    assert np.isnan(found.lambda_max[0])
    assert "λ_max: the loss is inf" in found.note[0]
    assert np.isfinite(found.lambda_max[1])


class Memory:
    """Keeps what a run keeps, as a later run finds it."""

    def __init__(self) -> None:
        self.kept: dict[str, Arrays] = {}

    def load(self, name: str, depends: tuple[str, ...]) -> Arrays | None:
        """What was kept."""
        return self.kept.get(name)

    def save(self, name: str, depends: tuple[str, ...], arrays: Arrays) -> None:
        """Keep."""
        self.kept[name] = dict(arrays)


def test_a_stopped_run_goes_on_where_it_ended(folder: Path) -> None:
    config = StabilityConfig(series=f"{folder}/run", max_batches=12)
    memory = Memory()
    problem, workspace = prepared(folder)
    whole = run(problem, config, workspace).series
    problem, workspace = prepared(folder)
    workspace.keeper = memory

    def stop() -> None:
        if workspace.counts["checkpoints"] == 2:
            raise KeyboardInterrupt

    workspace.stop = stop
    with pytest.raises(KeyboardInterrupt):
        run(problem, config, workspace)
    problem, workspace = prepared(folder)
    workspace.keeper = memory
    again = run(problem, config, workspace).series
    assert workspace.counts["checkpoints"] == 1
    assert whole is not None
    assert again is not None
    for name, values in vars(whole).items():
        assert np.array_equal(values, vars(again)[name], equal_nan=name not in ("names", "note"))
    (name,) = (key for key in memory.kept if key.startswith("series"))
    assert len(json.loads(memory.kept[name]["points"].tobytes())) == 2


def test_a_series_is_in_the_report(folder: Path, tmp_path: Path) -> None:
    path = folder / "run" / "epoch-10.pt"
    flags = stated(folder, stability={"series": f"{folder}/run/*.pt"}, run={"only": "stability"})
    report = analyze_checkpoint(path, gather(path, flags=flags))
    lla.write(report, tmp_path / "r.h5")
    found = lla.read(tmp_path / "r.h5").results["stability"].series
    assert found.names == report.results["stability"].series.names
    assert np.array_equal(found.lambda_max, report.results["stability"].series.lambda_max)
    flags = stated(folder, run={"only": "stability"})
    assert analyze_checkpoint(path, gather(path, flags=flags)).results["stability"].series is None
