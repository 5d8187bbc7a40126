"""Landscapes of the sample checkpoints, held against the networks themselves."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lla.analyses.landscape import LandscapeConfig
from lla.analyses.landscape.evaluation import Linear, Surveyor
from lla.analyses.landscape.run import run
from lla.analyses.landscape.setting import setting_of
from lla.execution import workspace_of
from lla.pipeline import prepare
from lla.problem import Problem, from_objects
from lla.problem.pooling import fast_pooling
from lla.progress import Silent
from lla.settings import gather

SAMPLES = Path(__file__).parents[2] / "sample_checkpoints"
QUICK = {"spectrum": {"largest": 1, "smallest": 1, "probes": 2, "steps": 10, "max_probes": 2}}


def problem_of(name: str, dtype: str = "float32", limit: int = 128) -> tuple[Problem, object]:
    stated = {**QUICK, "data": {"limit": limit}, "run": {"dtype": dtype}}
    path = SAMPLES / name
    problem, _, settings = prepare(path, gather(path, flags=stated))
    return problem, workspace_of(settings, problem.device, Silent())


def directly(problem: Problem, theta: torch.Tensor) -> float:
    """The loss of a copy of the network whose parameters are set, on all data at once."""
    objective = copy.deepcopy(problem.objective)
    named = dict(objective.module.named_parameters())
    with torch.no_grad():
        for name, part in problem.space.named(theta).items():
            named[name].copy_(part)
        terms = objective(problem.data.whole)
    return float(terms.total.double() / terms.weight)


@pytest.mark.parametrize("name", ["digits_cnn.pt", "digits_mlp.pt", "digits_vit.safetensors"])
def test_twenty_points_again(name: str) -> None:
    problem, workspace = problem_of(name)
    config = LandscapeConfig(axes="random", x="-0.5:0.5:6", y="-0.3:0.6:5")
    surface = run(problem, config, workspace).surface
    assert surface is not None
    vectors = setting_of(problem, config, workspace).directions.vectors
    for index in np.random.default_rng(0).choice(30, 20, replace=False):
        row, column = divmod(int(index), 5)
        steps = torch.tensor([surface.alpha[row], surface.beta[column]])
        theta = problem.theta.double() + steps @ vectors
        assert surface.loss[row, column] == pytest.approx(directly(problem, theta), rel=1e-5)


@pytest.mark.parametrize("axes", ["random", "gradient,random:0"])
def test_curvature_along_axes_of_a_smooth_network(axes: str) -> None:
    """The sample perceptron is smooth: losses curve as dᵀHd says, to 1 %, and the checks pass."""
    problem, workspace = problem_of("digits_mlp.pt", "float64")
    result = run(problem, LandscapeConfig(axes=axes, points=5), workspace)
    assert result.checks.value == "passed", result.checks
    np.testing.assert_allclose(result.axes.measured, result.axes.curvature, rtol=0.01)


@pytest.mark.long
@pytest.mark.parametrize("name", ["digits_mlp.pt", "digits_vit.safetensors", "charlm.pt"])
def test_eigenvector_axes_of_smooth_networks(name: str) -> None:
    """On all their data, the loss curves along λ_max and λ_min as the eigenvalues say, to 1 %."""
    problem, workspace = problem_of(name, "float64", limit=1 << 30)
    result = run(problem, LandscapeConfig(points=3, accuracy=0), workspace)
    assert result.checks.value == "passed", result.checks
    np.testing.assert_allclose(result.axes.measured, result.axes.eigenvalues, rtol=0.01)
    half = (result.axes.measured_high - result.axes.measured_low) / 2
    assert (half <= 0.01 * np.abs(result.axes.eigenvalues)).all()


@pytest.mark.long
@pytest.mark.parametrize("smooth", [False, True], ids=["ReLU", "softplus"])
def test_a_network_with_relu_is_kinked_and_its_smooth_twin_is_not(
    smooth: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ReLU some of the curvature is jumps of the slope; without kinks the checks pass.

    The twin has log(1 + exp(100 x))/100 in ReLU's place: within 0.007 of it, and smooth.
    """
    if smooth:
        monkeypatch.setattr(
            nn.functional, "relu", lambda x: nn.functional.softplus(x, beta=100, threshold=40)
        )
    problem, workspace = problem_of("digits_cnn.pt", "float64", limit=1 << 30)
    config = LandscapeConfig(axes="hessian:0", form="lines", points=3)
    result = run(problem, config, workspace)
    axes = result.axes
    if smooth:
        assert result.checks.value == "passed", result.checks
        assert axes.measured[0] == pytest.approx(axes.eigenvalues[0], rel=0.01)
        assert np.isnan(axes.kinks[0])
        return
    assert result.checks.value == "failed"
    assert "jumps of the slope at kinks" in result.checks.why
    assert axes.kinks[0] > 20 * axes.kinks_error[0]
    # What differences of the loss have beyond the eigenvalue is about what jumps there.
    assert axes.measured[0] - axes.eigenvalues[0] == pytest.approx(axes.kinks[0], rel=0.5)


def test_checks_fail_where_kinks_bend_the_loss() -> None:
    """|x| has no second derivative at 0, and away from it its Hessian is zero."""

    class Kink(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.place = nn.Parameter(torch.tensor([1e-9, 0.5]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.place.abs().sum()

    data = (torch.ones(4, 1), torch.zeros(4, 1))
    problem = from_objects(Kink(), data, lambda output, target: output.mean(), dtype="float64")
    _, _, settings = None, None, gather("none.pt", flags=QUICK)
    workspace = workspace_of(settings, problem.device, Silent())
    result = run(problem, LandscapeConfig(axes="random", normalization="none"), workspace)
    assert result.checks.value != "passed"
    assert "dᵀHd" in result.checks.why


def state_of(problem: Problem) -> list[torch.Tensor]:
    return [part.clone() for part in problem.module.state_dict().values()]


@pytest.mark.parametrize("ending", ["well", "error", "interrupt"])
def test_nothing_of_the_network_is_changed(ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem, workspace = problem_of("digits_cnn.pt")
    before = state_of(problem)
    modes = [part.training for part in problem.module.modules()]
    momenta = [getattr(part, "momentum", None) for part in problem.module.modules()]
    random = torch.get_rng_state()
    config = LandscapeConfig(axes="random", x="-1:1:3", y="-1:1:3", statistics="recomputed")
    calls = 0
    plain = Problem.terms

    def breaking(self: Problem, *args: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 9:
            raise KeyboardInterrupt if ending == "interrupt" else RuntimeError("broken")
        return plain(self, *args, **options)

    if ending == "well":
        run(problem, config, workspace)
    else:
        monkeypatch.setattr(Problem, "terms", breaking)
        with pytest.raises((KeyboardInterrupt, RuntimeError)):
            run(problem, config, workspace)
    assert all(torch.equal(a, b) for a, b in zip(before, state_of(problem), strict=True))
    assert modes == [part.training for part in problem.module.modules()]
    assert momenta == [getattr(part, "momentum", None) for part in problem.module.modules()]
    assert torch.equal(random, torch.get_rng_state())


def test_recomputed_statistics_are_those_of_torch() -> None:
    problem, _ = problem_of("digits_cnn.pt")
    theta = problem.theta + 0.05 * torch.randn(
        problem.theta.shape, generator=torch.Generator().manual_seed(0)
    )
    twin = copy.deepcopy(problem.module)
    named = dict(twin.named_parameters())
    with torch.no_grad():
        for name, part in problem.space.named(theta).items():
            named[name].copy_(part)
    torch.optim.swa_utils.update_bn([batch.inputs for batch in problem.data.chunks()], twin)
    expected = {name: value for name, value in twin.named_buffers() if "running" in name}
    found = problem.recomputed_statistics(theta)
    assert {name for name in found if "running" in name} == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-7)
    with torch.no_grad():
        logits = twin.eval()(problem.data.inputs)
    loss = float(nn.functional.cross_entropy(logits, problem.data.targets))
    still = Surveyor(problem, Linear(theta, torch.zeros(1, len(theta)).double()), "recomputed")
    assert still.at(0.0).loss == pytest.approx(loss, rel=1e-5)


POOLS = (
    nn.MaxPool2d(2),
    nn.MaxPool2d((3, 2)),
    nn.MaxPool2d(1),
    nn.MaxPool2d(2, stride=1),
    nn.MaxPool2d(2, padding=1),
    nn.MaxPool2d(2, ceil_mode=True),
    nn.MaxPool2d(2, dilation=2),
    nn.MaxPool2d(5),
)


@pytest.mark.parametrize(
    "pool",
    [nn.MaxPool2d(2), lambda x: nn.functional.max_pool2d(x, 2), lambda x: torch.max_pool2d(x, 2)],
)
def test_fast_pooling_is_what_runs(pool, monkeypatch) -> None:
    calls = []
    monkeypatch.setattr("lla.problem.pooling._pooled", lambda x, window: calls.append(window) or x)
    with fast_pooling(), torch.no_grad():
        pool(torch.randn(1, 1, 4, 4))
    assert calls == [(2, 2)]


@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_fast_pooling_gives_the_same_bits(pool: nn.MaxPool2d) -> None:
    x = torch.randn(3, 2, 13, 10, generator=torch.Generator().manual_seed(0))
    x[0, 0, 0, 0], x[1, 1, 2, 2], x[2, 0, :2, :2] = float("nan"), float("inf"), -float("inf")
    for inputs in (x, x[0], x.contiguous(memory_format=torch.channels_last), x.double()):
        expected = pool(inputs)
        with fast_pooling(), torch.no_grad():
            found = pool(inputs)
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    leaf = x.clone().nan_to_num().requires_grad_(True)
    with fast_pooling():
        pool(leaf).sum().backward()
    assert leaf.grad is not None
