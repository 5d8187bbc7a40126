"""Further metrics of a landscape, against calling the network at each point."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lla.analyses.landscape import LandscapeConfig
from lla.analyses.landscape.run import run
from lla.analyses.landscape.setting import setting_of
from lla.analyses.workspace import Workspace
from lla.errors import ConfigurationError, ProblemError
from lla.execution import workspace_of
from lla.problem import Batch, LossSpec, Problem, from_objects
from lla.problem.metrics import METRICS, with_metrics
from lla.progress import Silent
from lla.settings import gather

QUICK = {"spectrum": {"largest": 1, "smallest": 1, "probes": 2, "steps": 10, "max_probes": 2}}
CODE = """
import torch

def gap(outputs, targets):
    best = outputs.sort(-1, descending=True).values
    return best[:, 0] - best[:, 1]

def weighted(outputs, targets):
    weight = 1.0 + targets
    return (weight * outputs.exp().sum(-1)).sum(), weight.sum()

def broken(outputs, targets):
    raise KeyError("no such thing")

def text(outputs, targets):
    return "0.5"
"""


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 7), nn.Tanh(), nn.Linear(7, 7)).eval()


def problem_of(batch_size: int = 6) -> tuple[Problem, Workspace]:
    torch.manual_seed(4)
    data = (torch.randn(20, 4), torch.randint(0, 7, (20,)))
    problem = from_objects(network(), data, dtype="float64", batch_size=batch_size)
    return problem, workspace_of(gather("none.pt", flags=QUICK), problem.device, Silent())


def directly(name: str, logits: np.ndarray, labels: np.ndarray) -> float:
    """The built-in metrics by their definitions, sample by sample."""
    found = []
    for row, label in zip(logits, labels, strict=True):
        p = np.exp(row - row.max())
        p /= p.sum()
        rank = int((row > row[label]).sum())
        found.append(
            {
                "top5": float(rank < 5),
                "nll": -np.log(p[label]),
                "margin": row[label] - np.delete(row, label).max(),
                "confidence": p.max(),
                "brier": ((p - np.eye(len(row))[label]) ** 2).sum(),
                "gap": np.diff(np.sort(row)[-2:])[0],
            }[name]
        )
    return float(np.mean(found))


def logits_at(problem: Problem, theta: torch.Tensor) -> np.ndarray:
    module = network().double()
    nn.utils.vector_to_parameters(theta, module.parameters())
    made: np.ndarray = module(problem.data.inputs).detach().numpy()
    return made


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(CODE)
    return tmp_path


NAMES = ("top5", "nll", "margin", "confidence", "brier", "own.py:gap")


def test_every_point_of_a_plane(code: Path) -> None:
    problem, workspace = problem_of()
    config = LandscapeConfig(axes="random", x="-1:1:4", y="-2:1:3", metrics=NAMES)
    hooks = len(problem.module._forward_hooks)
    surface = run(problem, config, workspace).surface
    assert len(problem.module._forward_hooks) == hooks
    assert surface is not None
    assert surface.metrics == (*METRICS, "gap")
    assert surface.metric_values.shape == (6, 4, 3)
    vectors = setting_of(problem, config, workspace).directions.vectors
    labels = problem.data.targets.numpy()
    for i, alpha in enumerate(surface.alpha):
        for j, beta in enumerate(surface.beta):
            theta = problem.theta + alpha * vectors[0] + beta * vectors[1]
            logits = logits_at(problem, theta)
            for row, name in zip(surface.metric_values, surface.metrics, strict=True):
                assert row[i, j] == pytest.approx(directly(name, logits, labels), rel=1e-10), name
    # The mean negative log-likelihood is the loss itself.
    np.testing.assert_allclose(surface.metric_values[1], surface.loss, rtol=1e-12)
    plain = run(problem, LandscapeConfig(axes="random", x="-1:1:4", y="-2:1:3"), workspace)
    np.testing.assert_array_equal(plain.surface.loss, surface.loss)
    assert plain.surface.metrics is None


def test_lines_and_a_sum_with_a_count(code: Path) -> None:
    """(sum, count) are added up over chunks of unequal size, and divided once."""
    config = LandscapeConfig(
        axes="random", form="lines", x="-1:1:3", y="-1:1:4", metrics="own.py:weighted,nll"
    )
    problem, workspace = problem_of(batch_size=9)
    profiles = run(problem, config, workspace).profiles
    vectors = setting_of(problem, config, workspace).directions.vectors
    logits = logits_at(problem, problem.theta + profiles.distance[1, 2] * vectors[1])
    weight = 1.0 + problem.data.targets.numpy()
    expected = (weight * np.exp(logits).sum(1)).sum() / weight.sum()
    assert profiles.metric_values.shape == (2, 2, 4)
    assert profiles.metric_values[0, 1, 2] == pytest.approx(expected, rel=1e-12)
    assert np.isnan(profiles.metric_values[0, 0, 3])
    np.testing.assert_allclose(profiles.metric_values[1], profiles.loss, rtol=1e-12)


def test_predictions_that_the_loss_ignores_do_not_count() -> None:
    """Tokens with the label −100, and the first of each text where the loss shifts."""
    torch.manual_seed(0)
    tokens = torch.randint(0, 5, (6, 4))
    targets = tokens.clone()
    targets[:3, 2:] = -100
    module = nn.Sequential(nn.Embedding(5, 8), nn.Linear(8, 5))
    loss = LossSpec(name="cross_entropy", args={"shift": True})
    problem = from_objects(module, (tokens, targets), loss, dtype="float64", batch_size=4)
    found = with_metrics(problem, ["nll"]).evaluate(problem.theta)
    assert found.further[0] == pytest.approx(found.loss, rel=1e-12)


def test_what_is_no_metric_is_told_before_anything_else(code: Path) -> None:
    problem, workspace = problem_of()
    for names, kind, words in (
        (["top6"], ConfigurationError, "did you mean 'top5'"),
        (["own.py:gpa"], ConfigurationError, "the metric 'gpa' does not exist"),
        (["none.py:gap"], ConfigurationError, "no file none.py for the metric"),
        (["nll", "nll"], ConfigurationError, "two metrics are called 'nll'"),
        (["own.py:broken"], ProblemError, "'broken' failed on outputs .6, 7.*no such thing"),
        (["own.py:text"], ProblemError, "returned a str"),
    ):
        with pytest.raises(kind, match=words):
            run(problem, LandscapeConfig(metrics=names), workspace)
    assert not workspace.counts


def test_a_loss_that_calls_the_network_twice_has_no_outputs() -> None:
    def loss(module: nn.Module, batch: Batch) -> tuple[torch.Tensor, int]:
        return (module(batch.inputs) - module(-batch.inputs)).square().sum(), len(batch.inputs)

    problem = from_objects(network(), (torch.randn(8, 4), torch.zeros(8)), loss)
    with pytest.raises(ProblemError, match="calls the network 2 times"):
        with_metrics(problem, ["nll"])
    assert not problem.module._forward_hooks


def test_a_recipes_metrics_are_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "net.toml").write_text('[landscape]\nmetrics = ["nll", "own.py:gap"]\n')
    monkeypatch.chdir(tmp_path)
    found = gather("runs/net.pt").analyses["landscape"]
    assert found.metrics == ("nll", "runs/own.py:gap")
    flagged = gather("runs/net.pt", flags={"landscape": {"metrics": ["a.py:f"]}})
    assert flagged.analyses["landscape"].metrics == ("a.py:f",)
