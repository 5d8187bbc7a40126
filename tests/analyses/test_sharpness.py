"""Sharpness measures against closed forms, dense float64 matrices, and their own invariances."""

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

import lla
from lla.analyses.sharpness import MEASURES, SharpnessConfig, SharpnessResult
from lla.analyses.sharpness.run import run
from lla.analyses.workspace import Workspace
from lla.errors import ConfigurationError
from lla.problem import LossSpec, Problem, Training, from_objects
from lla.seeding import gaussian
from tests.oracles import CASES, dense_flatness, dense_hessian, largest_in_ball

SIZE = 6


def measured(problem: Problem, seed: int = 0, **settings: Any) -> SharpnessResult:
    return run(problem, SharpnessConfig(**settings), Workspace({}, seed=seed))


def regression(noise: float = 0.3, **training: Any) -> Problem:
    """Linear regression: the loss is its own model of second order."""
    torch.manual_seed(1)
    x = torch.randn(30, SIZE, dtype=torch.float64) * torch.linspace(0.5, 2, SIZE)
    module = nn.Linear(SIZE, 1, bias=False).double()
    y = x @ module.weight.detach().T + noise * torch.randn(30, 1, dtype=torch.float64)
    return from_objects(module, (x, y), "mse", training=Training(**training), dtype="float64")


def quadratic(problem: Problem) -> tuple[torch.Tensor, torch.Tensor]:
    """Hessian and gradient in closed form."""
    x, y = problem.data.inputs, problem.data.targets
    assert isinstance(x, torch.Tensor)
    left = x @ problem.theta - y[:, 0]
    return 2 * x.T @ x / len(x), 2 * x.T @ left / len(x)


@pytest.mark.parametrize("eta", [0.0, 0.2])
def test_the_worst_case_on_a_quadratic_loss(eta: float) -> None:
    problem = regression()
    hessian, slope = quadratic(problem)
    scale = problem.theta.abs() + eta
    found = measured(problem, rho=0.4, adaptive_rho=0.6, eta=eta, ascent=400)
    largest = largest_in_ball(hessian, slope, 0.4)
    assert found.sam.value == pytest.approx(largest, rel=1e-8)
    adaptive = largest_in_ball(scale[:, None] * hessian * scale, scale * slope, 0.6)
    assert found.asam.value == pytest.approx(adaptive, rel=1e-8)

    unit = slope / slope.norm()
    assert found.sam_order1.value == pytest.approx(0.4 * float(slope.norm()), rel=1e-12)
    form = 0.4 * float(slope.norm()) + 0.08 * float(unit @ hessian @ unit)
    assert found.sam_order2.value == pytest.approx(form, rel=1e-9)
    move = 0.6 * scale**2 * slope / (scale * slope).norm()
    assert found.asam_order1.value == pytest.approx(float(move @ slope), rel=1e-12)
    form = float(move @ slope + move @ hessian @ move / 2)
    assert found.asam_order2.value == pytest.approx(form, rel=1e-9)


def test_more_ascent_only_raises_what_is_a_lower_bound() -> None:
    problem = regression()
    hessian, slope = quadratic(problem)
    rises = [measured(problem, rho=0.4, ascent=steps).sam.value for steps in (1, 2, 4, 16)]
    assert rises == sorted(rises)
    assert rises[0] < rises[-1] <= largest_in_ball(hessian, slope, 0.4) * (1 + 1e-12)
    step = 0.4 * slope / slope.norm()  # SAM's own, from which all of them begin
    assert rises[0] >= float(step @ slope + step @ hessian @ step / 2) * (1 - 1e-12)


def test_batches_whose_targets_are_all_ignored_have_no_rise() -> None:
    torch.manual_seed(0)
    targets = torch.randint(0, 3, (24,))
    targets[6:] = -100
    module = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3))
    settings = {"sharpness": {"m": 2}}
    report = lla.analyze(
        module, (torch.randn(24, 3), targets), only=["sharpness"], settings=settings
    )
    assert report.stages["sharpness"].status == "done"
    assert report.metrics["sharpness/m_sharpness"].value > 0


def test_how_the_data_is_cut_is_no_change_of_the_worst_case() -> None:
    torch.manual_seed(0)
    data = (torch.randn(50, 3), torch.randint(0, 3, (50,)))
    module = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3))
    cut, whole = (
        lla.analyze(module, data, only=["sharpness"], batch_size=size) for size in (7, 50)
    )
    found = lla.compare(cut, whole)
    for name in ("sam", "asam"):
        assert found[f"sharpness/{name}"].outcome == "not_shown"
        estimate = whole.metrics[f"sharpness/{name}"]
        assert estimate.high - estimate.low < 1e-4 * estimate.value


def test_at_a_minimum_the_worst_case_is_along_the_largest_eigenvector() -> None:
    problem = regression(noise=0.0)
    top = float(torch.linalg.eigvalsh(quadratic(problem)[0])[-1])
    found = measured(problem, rho=0.3, ascent=1)
    assert found.sam.value == pytest.approx(0.3**2 * top / 2, rel=1e-6)
    assert found.sam_order1.value < 1e-12


def test_the_average_case_on_a_quadratic_loss() -> None:
    """Each antithetic pair is ½σ²zᵀHz exactly: the interval is Student's over these."""
    problem = regression()
    hessian, _ = quadratic(problem)
    found = measured(problem, sigma=0.2, scaled_sigma=0.3, max_pairs=2000, share=0.08)
    for value, form, stage, scale in (
        (found.average, found.average_order2, "average sharpness", 0.2),
        (
            found.scaled_average,
            found.scaled_average_order2,
            "relative average sharpness",
            0.3 * problem.theta.abs(),
        ),
    ):
        moves = [scale * gaussian(SIZE, 0, stage, index) for index in range(2000)]
        count = int(value.method.split()[2])
        forms = [float(move @ hessian @ move) / 2 for move in moves[:count]]
        assert 10 < count < 2000
        assert value.value == pytest.approx(np.mean(forms), rel=1e-9)
        matrix = (
            hessian * scale**2 if isinstance(scale, float) else scale[:, None] * hessian * scale
        )
        exact = float(torch.trace(matrix)) / 2
        assert value.low <= exact <= value.high
        assert value.high - value.low <= 2.2 * 0.08 * value.value
        assert form.low - 1e-12 <= exact <= form.high + 1e-12
    # The Krylov space is the whole space: nothing of the trace is left to chance.
    trace = float(torch.trace(hessian))
    assert found.average_order2.value == pytest.approx(0.02 * trace, rel=1e-9)


def test_float32_intervals_hold_the_float64_values() -> None:
    torch.manual_seed(0)
    data = (torch.randn(50, 4), torch.randint(0, 3, (50,)))
    module = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    settings = {"sigma": 1e-3, "max_pairs": 10}
    single = measured(from_objects(module, data), **settings)
    double = measured(from_objects(module, data, dtype="float64"), **settings)
    # The same draws: only rounding is between the two, and the interval is to hold it.
    assert single.average.value != double.average.value
    spread = double.average.high - double.average.value
    slack = single.average.high - single.average.value - spread
    assert abs(single.average.value - double.average.value) < slack
    assert single.sam.value == pytest.approx(double.sam.value, rel=1e-5)


def relu_net(scales: tuple[float, float] = (1.0, 1.0)) -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Linear(4, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3)
    ).double()
    one, other = scales
    with torch.no_grad():
        for index, weight, bias in ((0, one, one), (2, other / one, other), (4, 1 / other, 1)):
            module[index].weight *= weight
            module[index].bias *= bias
    return module


def test_invariances_under_the_rescaling_of_layers() -> None:
    """By powers of two, which round nothing: equal to the last digits, or far from it."""
    torch.manual_seed(2)
    data = (torch.randn(40, 4), torch.randint(0, 3, (40,)))
    problems = [
        from_objects(relu_net(scales), data, dtype="float64")
        for scales in ((1.0, 1.0), (8.0, 0.25))
    ]
    losses = [problem.evaluate(problem.theta).loss for problem in problems]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    plain, scaled = (measured(problem, layer="4") for problem in problems)
    same = (
        "asam", "asam_order1", "asam_order2", "scaled_average",
        "scaled_average_order2", "fisher_rao", "relative_flatness",
    )  # fmt: skip
    for name in same:
        values = [getattr(one, name).value for one in (plain, scaled)]
        assert values[0] == pytest.approx(values[1], rel=1e-8), name
        assert values[0] > 0
    for name in ("sam", "sam_order1", "sam_order2", "average", "average_order2"):
        values = [getattr(one, name).value for one in (plain, scaled)]
        assert abs(np.log(values[1] / values[0])) > 0.1, name
    # η > 0 is what the measure is trained with, and not invariant.
    shifted = [measured(problem, eta=0.1).asam.value for problem in problems]
    assert abs(shifted[1] / shifted[0] - 1) > 0.01
    assert set(MEASURES) >= {"sam", "asam", "average", "fisher_rao", "relative_flatness"}


def test_rescaling_of_single_nodes_changes_the_relative_flatness_alone() -> None:
    torch.manual_seed(2)
    data = (torch.randn(40, 4), torch.randint(0, 3, (40,)))
    module = relu_net()
    with torch.no_grad():
        factors = torch.tensor([4.0, 0.25, 1.0, 2.0, 8.0, 0.5])
        module[2].weight *= factors[:, None]
        module[2].bias *= factors
        module[4].weight /= factors
    plain, scaled = (
        measured(from_objects(one, data, dtype="float64")) for one in (relu_net(), module)
    )
    for name in ("asam", "asam_order2", "scaled_average", "fisher_rao"):
        values = [getattr(one, name).value for one in (plain, scaled)]
        assert values[0] == pytest.approx(values[1], rel=1e-8), name
    assert abs(scaled.relative_flatness.value / plain.relative_flatness.value - 1) > 0.1


def sample_gradients(problem: Problem, loss: Any) -> torch.Tensor:
    """The gradient of each sample's own loss, by autograd, (n, P)."""
    theta = problem.theta.detach().clone().requires_grad_()
    inputs, targets = problem.data.inputs, problem.data.targets
    assert isinstance(inputs, torch.Tensor)
    outputs = functional_call(problem.module, problem.space.named(theta), (inputs,))
    rows = [
        torch.autograd.grad(loss(out, y), theta, retain_graph=True)[0]
        for out, y in zip(outputs, targets, strict=True)
    ]
    return torch.stack(rows)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_fisher_rao_norm(loss: str) -> None:
    """Against gradients of single samples; without biases (L+1)²E⟨∂ℓ/∂f, f⟩² as well."""
    torch.manual_seed(3)
    x = torch.randn(20, 4, dtype=torch.float64)
    classes = loss == "cross_entropy"
    y = torch.randint(0, 3, (20,)) if classes else torch.randn(20, 3, dtype=torch.float64)
    one = F.cross_entropy if classes else F.mse_loss
    for bias in (True, False):
        layers = [nn.Linear(4, 6, bias), nn.ReLU(), nn.Linear(6, 5, bias), nn.ReLU()]
        module = nn.Sequential(*layers, nn.Linear(5, 3, bias)).double()
        problem = from_objects(module, (x, y), loss, batch_size=7, dtype="float64")
        found = measured(problem).fisher_rao
        along = sample_gradients(problem, one) @ problem.theta
        assert found.value == pytest.approx(float(along.square().mean()), rel=1e-10)
        assert found.low <= float(along.square().mean()) <= found.high
        if not bias:
            outputs = module(x).detach().requires_grad_()
            terms = [one(out, target) for out, target in zip(outputs, y, strict=True)]
            (slopes,) = torch.autograd.grad(torch.stack(terms).sum(), outputs)
            identity = 9 * (slopes * outputs.detach()).sum(dim=1).square().mean()
            assert found.value == pytest.approx(float(identity), rel=1e-10)


def test_fisher_rao_norm_where_targets_are_ignored() -> None:
    """Sequences of different length: a sample's loss is its share of the mean over tokens."""
    case = CASES[3]
    problem = case.problem(batch_size=4)
    kept = float((problem.data.targets >= 0).sum())

    def share(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        picked = out.log_softmax(-1)[y >= 0].gather(1, y[y >= 0][:, None])
        return -picked.sum() * len(problem.data) / kept

    along = sample_gradients(problem, share) @ problem.theta
    found = measured(problem)
    assert found.fisher_rao.value == pytest.approx(float(along.square().mean()), rel=1e-10)
    assert found.layer.value == "none"
    assert "embedding.weight" in found.relative_flatness.why


class Words(nn.Module):
    """A network over positions: its head gives (n, time, classes)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.mix = nn.Linear(4, 4)
        self.head = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = torch.tanh(self.mix(self.embedding(x))).cumsum(dim=1)
        return self.head(mixed)


FLAT = (
    (CASES[0], "2", 4),  # square loss on one-hot targets
    (CASES[1], "5", 256),  # batch norm, convolution
    (CASES[2], "head", 4),
    (replace(CASES[3], module=Words), "head", 4),  # positions, some of them ignored
)


@pytest.mark.parametrize(("case", "name", "chunk"), FLAT, ids=[c.name for c, _, _ in FLAT])
def test_relative_flatness_in_closed_form(case: Any, name: str, chunk: int) -> None:
    problem = case.problem(batch_size=chunk)
    found = measured(problem)
    assert found.layer.value == name
    place = dict(problem.space.slices())[f"{name}.weight"]
    weight = problem.space.named(problem.theta)[f"{name}.weight"]
    exact = dense_flatness(dense_hessian(case, problem)[place, place], weight)
    assert found.relative_flatness.value == pytest.approx(exact, rel=1e-9)
    assert found.relative_flatness.method == "closed form from features"


@pytest.mark.long
def test_relative_flatness_by_probes() -> None:
    """A hidden layer, and one whose outputs are not the network's."""
    case = CASES[0]
    problem = case.problem()
    found = measured(problem, layer="0", max_pairs=1500, share=0.05).relative_flatness
    place = dict(problem.space.slices())["0.weight"]
    weight = problem.space.named(problem.theta)["0.weight"]
    exact = dense_flatness(dense_hessian(case, problem)[place, place], weight)
    assert "Hutchinson" in found.method
    assert found.low <= exact <= found.high
    assert found.high - found.low < abs(exact)

    torch.manual_seed(5)
    body = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    data = (torch.randn(20, 4), torch.randint(0, 3, (20,)))
    known = measured(from_objects(body, data, dtype="float64")).relative_flatness
    outside = from_objects(nn.Sequential(*body, nn.LogSoftmax(-1)), data, "nll", dtype="float64")
    again = measured(outside, max_pairs=400, share=0.05).relative_flatness
    assert "Hutchinson" in again.method
    assert again.low <= known.value <= again.high


def test_sharpness_of_batches() -> None:
    """On a quadratic loss each batch's rise is known; the interval holds the mean over all."""
    problem = regression(batch_size=29)
    x, y = problem.data.inputs, problem.data.targets
    assert isinstance(x, torch.Tensor)
    rises = []
    for chosen in combinations(range(30), 29):
        part = from_objects(
            problem.module, (x[list(chosen)], y[list(chosen)]), "mse", dtype="float64"
        )
        hessian, slope = quadratic(part)
        step = 0.4 * slope / slope.norm()
        rises.append(float(step @ slope + step @ hessian @ step / 2))
    found = measured(problem, rho=0.4).m_sharpness
    assert found.low <= np.mean(rises) <= found.high
    assert min(rises) <= found.value <= max(rises)
    whole = measured(problem, rho=0.4, m=30)
    assert whole.m_sharpness.value == pytest.approx(
        measured(problem, rho=0.4).sam_order2.value, rel=1e-9
    )
    assert measured(regression()).m_sharpness.why.endswith("pass --m or --batch-size")


def test_what_cannot_be_said_says_why() -> None:
    def own(module: nn.Module, batch: Any) -> tuple[torch.Tensor, int]:
        return (module(batch.inputs) - batch.targets).square().sum(), len(batch.targets)

    data = (torch.randn(12, 3), torch.randn(12, 2))
    found = measured(from_objects(nn.Linear(3, 2), data, own))
    assert "fn(module, batch)" in found.fisher_rao.why
    assert "Hutchinson" in found.relative_flatness.method

    conv = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten())
    images = (torch.randn(12, 1, 3), torch.randn(12, 2))
    assert measured(from_objects(conv, images, "mse")).relative_flatness.why == (
        "the network calls no linear layer"
    )
    still = nn.Linear(3, 1, bias=False)
    still.weight.data.zero_()
    zero = measured(from_objects(still, (torch.randn(8, 3), torch.zeros(8, 1)), "mse"))
    assert "gradient is zero" in zero.sam_order2.why
    assert zero.sam.value > 0  # along the eigenvector
    assert zero.asam.value == 0  # |θ| = 0: nothing may move

    def wall(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return -(1 - outputs.square()).log().mean()

    steep = nn.Linear(3, 1)
    steep.weight.data.fill_(0.3)
    steep.bias.data.zero_()
    broken = measured(
        from_objects(steep, (torch.rand(8, 3), torch.zeros(8, 1)), wall), rho=50.0, sigma=9.0
    )
    assert "not finite" in broken.sam.why
    assert "not finite" in broken.average.why


def test_nothing_of_the_caller_is_changed() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
    module[0].weight.grad = torch.ones(5, 4)
    problem = from_objects(module.train(), (torch.randn(16, 4), torch.randint(0, 3, (16,))))
    kept = {name: value.clone() for name, value in problem.module.state_dict().items()}
    theta, state = problem.theta.clone(), torch.get_rng_state()
    measured(problem, m=4)
    with pytest.raises(ConfigurationError, match="no linear layer '9'") as error:
        measured(problem, layer="9")
    assert "choose among: 0, 3" in error.value.remedy
    assert torch.equal(problem.theta, theta)
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in problem.module.state_dict().items():
        assert torch.equal(value, kept[name]), name
    assert all(not part._forward_hooks for part in problem.module.modules())
    assert all(part.grad is None for part in problem.module.parameters())
    assert module.training
    assert torch.equal(module[0].weight.grad, torch.ones(5, 4))


def test_batch_statistics_and_samples_left_out() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
    data = (torch.randn(16, 4), torch.randint(0, 3, (16,)))
    coupled = measured(
        from_objects(module, data, batch_norm="batch", training=Training(batch_size=4))
    )
    assert "batch norm" in coupled.m_sharpness.why
    assert coupled.sam.exists
    assert coupled.relative_flatness.method == "closed form from features"

    part = measured(from_objects(module, data, training=Training(samples=100)))
    assert part.sam.sampling_stderr is None
    assert part.fisher_rao.sampling_stderr is not None
    assert part.fisher_rao.sampling_stderr > 0
    assert measured(from_objects(module, data)).sam.sampling_stderr == 0.0


def test_the_report_has_them(tmp_path: Any) -> None:
    torch.manual_seed(0)
    data = (torch.randn(16, 4), torch.randint(0, 3, (16,)))
    report = lla.analyze(nn.Linear(4, 3), data, LossSpec(name="cross_entropy"), only=["sharpness"])
    lla.write(report, tmp_path / "r.h5")
    found = lla.read(tmp_path / "r.h5")
    assert found.metrics["sharpness/sam"] == report.metrics["sharpness/sam"]
    assert found.results["sharpness"].measures.names == tuple(MEASURES)


@pytest.mark.long
def test_coverage_of_the_average_case() -> None:
    """Nominal 95 % over 200 seeds; the number of pairs is decided from the first ten."""
    problem = regression()
    hessian, _ = quadratic(problem)
    exact = 0.2**2 * float(torch.trace(hessian)) / 2
    settings = SharpnessConfig(sigma=0.2, max_pairs=200, share=0.1)
    from lla.analyses.sharpness.average import Noise, average_rise

    held = 0
    for seed in range(200):
        found = average_rise(
            problem, Noise(0.2, None, "average sharpness"), settings, Workspace({}, seed=seed)
        )
        held += found.low <= exact <= found.high
    assert 0.91 <= held / 200 <= 0.99
