"""Batch norm by the statistics of all samples: against torch's own training mode, in float64."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call

import lla
from lla.curvature import EmpiricalFisher, GaussNewton, Hessian, MonteCarloFisher, Way, gradient
from lla.curvature.names import Needs
from lla.curvature.plan import make_plan, planned
from lla.errors import ConfigurationError, ProblemError
from lla.problem import Problem, from_objects
from tests.oracles import CASES, columns

CASE = next(case for case in CASES if case.name == "conv")
NEEDS = Needs(rows=60, least_rows=10, vectors=10)


def made() -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(3)
    module = CASE.module()
    torch.manual_seed(4)
    data = CASE.inputs(), CASE.targets()
    with torch.no_grad():
        module.double().train()(data[0].double() + 3)  # running statistics unlike the data's
    return module, data


def batch_problem(**options: object) -> Problem:
    return from_objects(*made(), CASE.loss, dtype="float64", batch_norm="batch", **options)


def training_loss(problem: Problem):
    """The case's own loss of a copy in torch's training mode, over all samples at once."""
    trained = copy.deepcopy(made()[0]).double().train()
    inputs, targets = problem.data.inputs, problem.data.targets

    def loss(theta: torch.Tensor) -> torch.Tensor:
        out = functional_call(trained, problem.space.named(theta), (inputs,))
        return CASE.mean_loss(out, targets)

    return loss


def state(module: nn.Module) -> tuple[dict[str, torch.Tensor], list[object]]:
    modes = [(part.training, getattr(part, "track_running_stats", 0)) for part in module.modules()]
    return copy.deepcopy(module.state_dict()), modes


def assert_same(module: nn.Module, before: tuple[dict[str, torch.Tensor], list[object]]) -> None:
    values, modes = state(module)
    assert modes == before[1]
    assert all(torch.equal(value, before[0][key]) for key, value in values.items())


@pytest.mark.parametrize("way", [Way("reverse", 1), Way("reverse", 3), Way("forward", 3)], ids=str)
@pytest.mark.parametrize("memory", [0, 1 << 30])
def test_loss_gradient_and_hessian_are_those_of_training_mode(way: Way, memory: int) -> None:
    problem = batch_problem()
    buffers = state(problem.module)
    loss = training_loss(problem)
    assert problem.evaluate(problem.theta).loss == pytest.approx(
        float(loss(problem.theta)), rel=1e-13
    )
    (slope,) = torch.autograd.functional.jacobian(loss, (problem.theta,))
    torch.testing.assert_close(gradient(problem), slope, rtol=1e-9, atol=1e-12)
    expected = torch.autograd.functional.hessian(loss, problem.theta)
    operator = Hessian(problem, memory=memory, way=way)
    for _ in range(2):
        found = operator(torch.eye(operator.size, dtype=torch.float64))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
    assert_same(problem.module, buffers)
    running = from_objects(*made(), CASE.loss, dtype="float64")
    other = float(loss(problem.theta))
    assert running.evaluate(running.theta).loss != pytest.approx(other, rel=1e-3)


def test_gauss_newton_and_fisher_matrices_see_the_batch() -> None:
    """JᵀMJ by the dense Jacobian of all outputs, which the statistics couple."""
    problem = batch_problem()
    trained = copy.deepcopy(made()[0]).double().train()
    inputs, targets = problem.data.inputs, problem.data.targets

    def network(theta: torch.Tensor) -> torch.Tensor:
        return functional_call(trained, problem.space.named(theta), (inputs,))

    jacobian = torch.autograd.functional.jacobian(network, problem.theta)
    shares = network(problem.theta).detach().softmax(1)
    weighed = torch.diag_embed(shares) - shares[:, :, None] * shares[:, None, :]
    expected = torch.einsum("ikp,ikl,ilq->pq", jacobian, weighed, jacobian) / len(inputs)
    found = columns(GaussNewton(problem), problem.space.size)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
    rest = shares - nn.functional.one_hot(targets, 3)
    slopes = torch.einsum("ikp,ik->ip", jacobian, rest)
    found = columns(EmpiricalFisher(problem), problem.space.size)
    torch.testing.assert_close(found, slopes.T @ slopes / len(inputs), rtol=1e-9, atol=1e-11)
    # Several draws repeat the batch; on average they give the Gauss–Newton matrix.
    drawn = columns(MonteCarloFisher(problem, draws=100), problem.space.size)
    assert float((drawn - expected).norm() / expected.norm()) < 0.2


def test_a_chunk_that_does_not_hold_all_samples_is_refused() -> None:
    for call in (from_objects, lla.Problem):
        with pytest.raises(ConfigurationError, match="batch_size = 4 cuts the 10 samples") as seen:
            call(*made(), CASE.loss, batch_size=4, batch_norm="batch")
        assert "lets 1 normalize" in seen.value.reason
        assert "leave batch_size out" in seen.value.remedy
        assert "analyse fewer" in seen.value.remedy
    assert batch_problem(batch_size=10).data.chunk == 10
    assert batch_problem().data.chunk == 10


def test_nothing_sums_over_several_batches() -> None:
    problem = batch_problem()
    plan = make_plan(problem, 8 << 30, NEEDS)
    assert plan.chunk == 10
    other = planned(problem, plan.__class__(chunk=4))
    vectors = torch.ones(2, problem.space.size, dtype=torch.float64)
    groups = [torch.arange(5), torch.arange(5, 10)]
    for action in (
        lambda: other.evaluate(other.theta),
        lambda: gradient(other),
        lambda: Hessian(other)(vectors),
        lambda: GaussNewton(other)(vectors),
        lambda: MonteCarloFisher(other),
        lambda: gradient(problem, [problem.data.select(group) for group in groups]),
        lambda: Hessian(problem).over_groups(vectors, groups),
    ):
        with pytest.raises(ProblemError, match=r"^1 normalize by the statistics of the batch"):
            action()
    Hessian(problem).over_groups(vectors, [torch.arange(10)])


def test_memory_for_all_samples_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lla.curvature.plan.memory_in_use", lambda device: 0)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 400), nn.BatchNorm1d(400), nn.Linear(400, 2))
    data = (torch.randn(4000, 8), torch.randint(0, 2, (4000,)))
    problem = from_objects(module, data, batch_norm="batch")
    small = 210 << 20
    with pytest.raises(ConfigurationError, match="too small for all samples as one") as seen:
        make_plan(problem, small, NEEDS)
    asked = int(seen.value.remedy.split("--memory ")[1].split("MiB")[0]) << 20
    assert make_plan(problem, asked, NEEDS).chunk == 4000
    # By running statistics, chunks fit where the batch does not.
    assert make_plan(from_objects(module, data), small, NEEDS).chunk < 4000


def test_the_callers_module_is_untouched() -> None:
    module, data = made()
    module.train()
    before = state(module)
    problem = lla.Problem(module, data, CASE.loss, batch_norm="batch")
    Hessian(problem)(torch.ones(problem.space.size, dtype=torch.float64))
    lla.analyze(module, data, only=["baseline", "saliency"], batch_norm="batch")
    with pytest.raises(ConfigurationError):
        lla.Problem(module, data, CASE.loss, batch_norm="batch", batch_size=3)
    with pytest.raises(ProblemError):
        lla.Problem(module, (data[0][:, :, 0], data[1]), CASE.loss, batch_norm="batch")
    assert_same(module, before)


def test_statistics_are_restored_after_an_error() -> None:
    for problem in (batch_problem(), from_objects(*made(), CASE.loss)):
        before = state(problem.module)
        for context in (problem.running_statistics, problem.batch_statistics):
            with pytest.raises(KeyError), context():
                raise KeyError
            assert_same(problem.module, before)
        with problem.running_statistics():
            assert problem.batch_norm == "running"
            with problem.batch_statistics():
                assert problem.batch_norm == "batch"
            assert problem.batch_norm == "running"


def test_dropout_stays_off() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))
    data = (torch.randn(8, 4), torch.randint(0, 3, (8,)))
    problem = from_objects(module, data, batch_norm="batch")
    assert [part.training for part in problem.module] == [False, True, False, False]
    assert problem.evaluate(problem.theta) == problem.evaluate(problem.theta)


class Stubborn(nn.BatchNorm1d):
    """Updates its running statistics whenever it is in training mode."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.running_mean.mul_(0.9).add_(0.1 * x.detach().mean(0))
        return super().forward(x)


@pytest.mark.parametrize(
    ("layer", "error", "words"),
    [
        (nn.Tanh(), ConfigurationError, "has no batch norm layer"),
        (Stubborn(3), ProblemError, r"changed 1\.running_mean"),
    ],
)
def test_networks_that_cannot_be_switched(layer: nn.Module, error: type, words: str) -> None:
    data = (torch.randn(9, 3), torch.randint(0, 3, (9,)))
    with pytest.raises(error, match=words) as seen:
        from_objects(nn.Sequential(nn.Linear(3, 3), layer), data, batch_norm="batch")
    assert "leave batch_norm out" in seen.value.remedy


def test_exported_programs_cannot_be_switched() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).eval()
    data = (torch.randn(9, 3), torch.randint(0, 3, (9,)))
    dynamic = {"input": {0: torch.export.Dim.AUTO}}
    exported = torch.export.export(module, (data[0],), dynamic_shapes=dynamic).module()
    with pytest.raises(ConfigurationError, match="1 cannot be switched"):
        from_objects(exported, data, batch_norm="batch")


def test_layers_without_running_statistics_need_the_batch() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=False))
    data = (torch.randn(9, 3), torch.randint(0, 4, (9,)))
    with pytest.raises(ProblemError, match="1 keep no running statistics") as seen:
        from_objects(module, data)
    assert "--batch-norm batch" in seen.value.remedy
    problem = from_objects(module, data, batch_norm="batch")
    expected = nn.functional.cross_entropy(module(data[0]), data[1]).detach()
    assert problem.evaluate(problem.theta).loss == pytest.approx(float(expected), rel=1e-6)


def test_one_sample_has_no_statistics() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    data = (torch.randn(1, 3), torch.tensor([1]))
    with pytest.raises(ProblemError, match="a single value has none") as seen:
        from_objects(module, data, batch_norm="batch")
    assert "leave batch_norm out" in seen.value.remedy
    for count in (2, 3):  # the plan measures on fewer samples than there are
        data = (torch.randn(count, 3), torch.randint(0, 4, (count,)))
        make_plan(from_objects(module, data, batch_norm="batch"), 8 << 30, NEEDS)


def test_losses_that_depend_on_the_cut_are_still_found() -> None:
    def summed(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(output, target, reduction="sum")

    with pytest.raises(ProblemError, match="depends on how the data is cut"):
        from_objects(*made(), summed, dtype="float64", batch_norm="batch")
