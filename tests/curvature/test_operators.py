"""Hessian and gradient against dense float64 oracles and closed forms."""

import copy
import math

import pytest
import torch
from torch import nn

from lla.curvature import Hessian, Way, batch_curvature, gradient
from lla.curvature.operators import measured
from lla.curvature.ways import out_of_memory
from lla.errors import ProblemError
from lla.problem import from_objects
from tests.oracles import CASES, Case, columns, dense_hessian


@pytest.mark.parametrize("batch_size", [pytest.param(1, marks=pytest.mark.long), 3, 8, 10])
@pytest.mark.parametrize("memory", [0, 1 << 30])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_products_equal_the_dense_hessian(case: Case, batch_size: int, memory: int) -> None:
    problem = case.problem(batch_size)
    operator = Hessian(problem, memory=memory)
    expected = dense_hessian(case, problem)

    for _ in range(2):  # the second pass uses kept graphs
        found = columns(operator, operator.size)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
    assert bool(operator.kept_bytes) == bool(memory)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_gradient_is_the_loss_slope(case: Case) -> None:
    problem = case.problem(batch_size=3)
    direction = torch.randn(problem.space.size, dtype=torch.float64)
    step = 1e-5

    ahead = problem.evaluate(problem.theta + step * direction).loss
    behind = problem.evaluate(problem.theta - step * direction).loss

    assert float(gradient(problem) @ direction) == pytest.approx(
        (ahead - behind) / (2 * step), rel=1e-6, abs=1e-9
    )


def test_softmax_regression_in_closed_form() -> None:
    """H = (1/n) Σ (diag p − ppᵀ) ⊗ xxᵀ for a linear softmax layer without bias."""
    torch.manual_seed(0)
    x, y = torch.randn(11, 4, dtype=torch.float64), torch.randint(0, 3, (11,))
    module = nn.Linear(4, 3, bias=False)
    problem = from_objects(module, (x, y), batch_size=4, dtype="float64")

    p = (x @ module.weight.detach().double().T).softmax(1)
    expected = sum(
        torch.kron(torch.diag(row) - torch.outer(row, row), torch.outer(z, z))
        for row, z in zip(p, x, strict=True)
    ) / len(x)

    found = columns(Hessian(problem), problem.space.size)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)


def test_logistic_regression_in_closed_form() -> None:
    """H = (1/n) Σ σ(1 − σ) xxᵀ for one logit without bias."""
    torch.manual_seed(0)
    x, y = torch.randn(9, 4, dtype=torch.float64), torch.randint(0, 2, (9, 1)).double()
    module = nn.Linear(4, 1, bias=False)
    problem = from_objects(module, (x, y), "bce_with_logits", batch_size=4, dtype="float64")
    share = (x @ module.weight.detach().double().T).sigmoid()
    expected = x.T @ (share * (1 - share) * x) / len(x)
    found = columns(Hessian(problem), problem.space.size)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)


def test_linear_regression_in_closed_form() -> None:
    """Mean over n·K elements of squared errors: H = (2/(nK)) I_K ⊗ XᵀX."""
    torch.manual_seed(0)
    x, y = torch.randn(7, 3, dtype=torch.float64), torch.randn(7, 2, dtype=torch.float64)
    problem = from_objects(
        nn.Linear(3, 2, bias=False), (x, y), "mse", batch_size=2, dtype="float64"
    )
    expected = torch.kron(torch.eye(2, dtype=torch.float64), x.T @ x) * 2 / (7 * 2)
    found = columns(Hessian(problem), problem.space.size)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_loss_linear_in_the_parameters_has_no_curvature() -> None:
    x, y = torch.randn(5, 3), torch.zeros(5)
    problem = from_objects(
        nn.Linear(3, 1), (x, y), lambda output, target: output.mean(), dtype="float64"
    )
    product = Hessian(problem)(torch.ones(problem.space.size, dtype=torch.float64))
    assert not product.any()


def test_only_the_asked_parameters_are_in_the_space() -> None:
    case = CASES[0]
    whole = dense_hessian(case, case.problem())
    torch.manual_seed(3)
    module = case.module()
    torch.manual_seed(4)
    data = (case.inputs(), case.targets())
    part = from_objects(module, data, case.loss, params=["2.*"], dtype="float64")

    assert part.space.names == ("2.weight", "2.bias")
    found = columns(Hessian(part), part.space.size)
    torch.testing.assert_close(found, whole[-21:, -21:], rtol=1e-9, atol=1e-12)


def test_callers_module_is_untouched() -> None:
    case = CASES[1]
    torch.manual_seed(3)
    module = case.module().train()
    before = copy.deepcopy(module.state_dict())
    state = torch.get_rng_state()
    problem = from_objects(module, (case.inputs(), case.targets()), case.loss)
    torch.set_rng_state(state)

    Hessian(problem)(torch.ones(problem.space.size, dtype=torch.float64))
    batch_curvature(problem, problem.data.select(torch.arange(6)))

    assert module.training
    assert all(torch.equal(value, module.state_dict()[key]) for key, value in before.items())
    assert all(parameter.grad is None for parameter in module.parameters())
    assert torch.equal(state, torch.get_rng_state())


def test_batch_curvature_of_linear_regression() -> None:
    torch.manual_seed(1)
    x, y = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 1, dtype=torch.float64)
    problem = from_objects(
        nn.Linear(3, 1, bias=False), (x, y), "mse", batch_size=2, dtype="float64"
    )
    batch = problem.data.select(torch.tensor([0, 2, 3, 5]))

    part, errors = x[[0, 2, 3, 5]], None
    errors = part @ problem.theta - y[[0, 2, 3, 5], 0]
    slope, hessian = 2 * part.T @ errors / 4, 2 * part.T @ part / 4
    expected = float(slope @ hessian @ slope / (slope @ slope))
    assert batch_curvature(problem, batch) == pytest.approx(expected, rel=1e-10)


def test_batch_curvature_sees_batch_statistics() -> None:
    """With batch norm, the step's loss is that of training mode; buffers stay as they are."""
    case = CASES[1]
    problem = case.problem(batch_size=2)
    batch = problem.data.select(torch.arange(7))
    buffers = copy.deepcopy(dict(problem.module.named_buffers()))

    trained = copy.deepcopy(problem.module).train()
    parameters = list(trained.parameters())

    def loss(theta: torch.Tensor) -> torch.Tensor:
        named = problem.space.named(theta)
        out = torch.func.functional_call(trained, named, (batch.inputs,))
        return case.mean_loss(out, batch.targets)

    theta = problem.theta.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(loss(theta), theta)
    hessian = torch.autograd.functional.hessian(loss, problem.theta)
    expected = float(slope @ hessian @ slope / (slope @ slope))

    assert len(parameters) == len(problem.space.names)
    assert batch_curvature(problem, batch) == pytest.approx(expected, rel=1e-8)
    for name, buffer in problem.module.named_buffers():
        assert torch.equal(buffer, buffers[name])
    assert not any(part.training for part in problem.module.modules())


def block_of(size: int, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(count, size, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("way", [Way("reverse", 1), Way("reverse", 2), Way("forward", 2)], ids=str)
@pytest.mark.parametrize("batch_size", [3, 10])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_blocks_are_their_vectors_whatever_the_way(case: Case, batch_size: int, way: Way) -> None:
    problem = case.problem(batch_size)
    expected = dense_hessian(case, problem)
    vectors = block_of(problem.space.size, 5)
    counted: list[int] = []
    operator = Hessian(problem, way=way, on_products=counted.append)
    found = operator(vectors)
    torch.testing.assert_close(found, vectors @ expected, rtol=1e-9, atol=1e-11)
    # A last pass of as many vectors as go together, of fewer, and of one.
    torch.testing.assert_close(operator(vectors[:4]), found[:4], rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(operator(vectors[0]), found[0], rtol=1e-11, atol=1e-13)
    assert counted == [5, 4, 1]
    # The same way gives the same bits.
    assert torch.equal(Hessian(problem, way=way)(vectors), found)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_groups_of_samples_add_up(case: Case) -> None:
    problem = case.problem(batch_size=2)
    vectors = block_of(problem.space.size, 3)
    groups = [torch.tensor([0, 3, 5, 9]), torch.tensor([1, 2, 4, 6, 7, 8])]
    counted: list[int] = []
    operator = Hessian(problem, memory=1 << 30, on_products=counted.append)
    whole = operator(vectors)
    found, forms = operator.over_groups(vectors, groups)
    assert counted == [3, 3]
    torch.testing.assert_close(found, whole, rtol=1e-10, atol=1e-12)
    for group, form in zip(groups, forms, strict=True):
        alone = Hessian(problem, [problem.data.select(group)])(vectors)
        torch.testing.assert_close(form, vectors @ alone.T, rtol=1e-10, atol=1e-12)
    assert torch.equal(operator(vectors), whole)  # kept graphs are as they were


def test_batch_statistics_are_refused_in_chunks() -> None:
    problem = CASES[1].problem(batch_size=5)
    vector = block_of(problem.space.size, 1)[0]
    with problem.batch_statistics():
        with pytest.raises(ProblemError, match=r"^1 normalize by the statistics") as caught:
            Hessian(problem)(vector)
        assert "evaluation mode" in caught.value.remedy
        Hessian(problem, [problem.data.whole])(vector)
    Hessian(problem)(vector)


class Scarce(Hessian):
    """A Hessian on a machine where no more than so many samples fit, and no graph is kept."""

    most = 3

    def _build(self, batch):
        if batch.samples > self.most or self._kept:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super()._build(batch)


def test_out_of_memory_steps_down_and_goes_on() -> None:
    problem = CASES[0].problem(batch_size=10)
    vectors = block_of(problem.space.size, 4)
    given_up: list[str] = []
    operator = Scarce(problem, memory=1 << 30, way=Way("reverse", 4), on_step_down=given_up.append)
    found = operator(vectors)
    torch.testing.assert_close(found, Hessian(problem)(vectors), rtol=1e-10, atol=1e-13)
    assert given_up == [
        "graphs made anew",
        "2 vectors at once",
        "1 vectors at once",
        "chunks of 5",
        "chunks of 3",
    ]
    operator.most = 0
    with pytest.raises(torch.OutOfMemoryError):
        operator(vectors)


def test_statistics_of_the_batch_are_not_cut_where_memory_runs_out() -> None:
    problem = CASES[1].problem(batch_size=10)
    given_up: list[str] = []
    with problem.batch_statistics():
        operator = Scarce(problem, [problem.data.whole], on_step_down=given_up.append)
        with pytest.raises(torch.OutOfMemoryError):
            operator(block_of(problem.space.size, 1))
    assert given_up == []


def test_what_counts_as_out_of_memory() -> None:
    """The CPU's allocator says so in words, and any other error goes through at once."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50)
    assert out_of_memory(caught.value)
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not out_of_memory(RuntimeError("shapes differ"))

    class Broken(Hessian):
        def _build(self, batch):
            raise RuntimeError("shapes differ")

    problem = CASES[0].problem(batch_size=10)
    given_up: list[str] = []
    operator = Broken(problem, memory=1 << 30, on_step_down=given_up.append)
    with pytest.raises(RuntimeError, match="differ"):
        operator(block_of(problem.space.size, 1))
    assert given_up == []


def test_bytes_of_a_graph_are_those_of_what_it_holds() -> None:
    """Two factors of 50 numbers each, one of them seen twice, and nothing for a sum."""
    a, b = torch.ones(50, dtype=torch.float64, requires_grad=True), torch.ones(50).double()
    made, taken = measured(lambda: (a * b).sum() + (a[:7] * b[:7]).sum() + a.sum())
    assert made.item() == 107.0
    assert taken == 8 * 50  # b alone: a's slope needs it, and b has none
    assert measured(lambda: (a * a).sum())[1] == 8 * 50


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_graphs_are_kept_as_far_as_memory_goes(share: float) -> None:
    problem = CASES[0].problem(batch_size=2)
    vector = block_of(problem.space.size, 1)[0]
    whole = Hessian(problem, memory=1 << 30)
    expected = whole(vector)
    memory = int(share * whole.kept_bytes)
    part = Hessian(problem, memory=memory)
    for _ in range(2):
        torch.testing.assert_close(part(vector), expected, rtol=1e-12, atol=1e-14)
    least = memory if share in (0, 1) else memory - whole.kept_bytes // 4
    assert least <= part.kept_bytes <= memory
    part.release()
    assert part.kept_bytes == 0
    torch.testing.assert_close(part(vector), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("dtype", "eps"), [("float32", 2.0**-23), ("float64", 2.0**-52)])
def test_what_an_operator_says_of_itself(dtype: str, eps: float) -> None:
    case = CASES[3]
    torch.manual_seed(4)
    inputs, targets = case.inputs(), case.targets()
    problem = from_objects(case.module(), (inputs, targets), case.loss, batch_size=3, dtype=dtype)
    operator = Hessian(problem)
    product = operator(torch.ones(operator.size, dtype=torch.float64))
    assert (operator.eps, product.dtype) == (eps, torch.float64)
    assert operator.weight == float((targets >= 0).sum())


def test_no_slope_has_no_curvature_along_it() -> None:
    """At a minimum the quotient is 0 / 0."""
    x, y = torch.ones(4, 2), torch.zeros(4, 1)
    layer = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(layer.weight)
    problem = from_objects(layer, (x, y), "mse", dtype="float64")
    assert math.isnan(batch_curvature(problem, problem.data.whole))


def test_gradient_of_some_batches() -> None:
    """Squared errors of f = θᵀx: the slope is 2 xᵀ(f − y) over the samples that were given."""
    torch.manual_seed(0)
    x, y = torch.randn(7, 3, dtype=torch.float64), torch.randn(7, 1, dtype=torch.float64)
    problem = from_objects(nn.Linear(3, 1, bias=False), (x, y), "mse", dtype="float64")
    rest = x @ problem.theta - y[:, 0]
    batches = [problem.data.select(torch.tensor(places)) for places in ([0, 2], [5])]
    chosen = [0, 2, 5]
    expected = 2 * x[chosen].T @ rest[chosen] / 3
    torch.testing.assert_close(gradient(problem, batches), expected)
