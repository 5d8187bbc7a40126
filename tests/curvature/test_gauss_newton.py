"""Gauss–Newton and Fisher matrices against dense float64 oracles."""

import pytest
import torch
from torch import nn

from lla.curvature import EmpiricalFisher, GaussNewton, Hessian, MonteCarloFisher
from lla.curvature.fisher import drawn_targets
from lla.errors import ProblemError
from lla.problem import LossSpec, from_objects
from tests.oracles import CASES, Case, columns, dense_gauss_newton


@pytest.mark.parametrize("batch_size", [pytest.param(1, marks=pytest.mark.long), 3, 10])
@pytest.mark.parametrize("memory", [0, 1 << 30])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_products_equal_the_dense_matrices(case: Case, batch_size: int, memory: int) -> None:
    problem = case.problem(batch_size)
    curvature, moments = dense_gauss_newton(case, problem)
    # Means over W terms: gradients of sums are W times those of the mean.
    weight = problem.evaluate(problem.theta).weight
    for made, expected in ((GaussNewton, curvature), (EmpiricalFisher, weight * moments)):
        operator = made(problem, memory=memory)
        for _ in range(2):  # the second pass uses kept graphs
            found = columns(operator, operator.size)
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
        block = torch.randn(4, operator.size, dtype=torch.float64)
        torch.testing.assert_close(operator(block), block @ expected, rtol=1e-9, atol=1e-10)
        assert bool(operator.kept_bytes) == bool(memory)


def test_a_linear_network_has_one_curvature() -> None:
    torch.manual_seed(0)
    data = (torch.randn(9, 4), torch.randint(0, 3, (9,)))
    problem = from_objects(nn.Linear(4, 3), data, batch_size=4, dtype="float64")
    torch.testing.assert_close(
        columns(GaussNewton(problem), 15), columns(Hessian(problem), 15), rtol=1e-10, atol=1e-13
    )


def test_outputs_of_one_number_per_sample() -> None:
    """For f = θᵀx and the squared error: g gᵀ = 4 (f − y)² x xᵀ, and the GGN is 2 x xᵀ."""
    torch.manual_seed(0)
    x, y = torch.randn(7, 3, dtype=torch.float64), torch.randn(7, dtype=torch.float64)

    class Line(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.weight

    problem = from_objects(Line(), (x, y), "mse", batch_size=2, dtype="float64")
    rest = x @ problem.theta - y
    fisher = 4 * (x * rest[:, None]).T @ (x * rest[:, None]) / 7
    torch.testing.assert_close(columns(EmpiricalFisher(problem), 3), fisher)
    torch.testing.assert_close(columns(GaussNewton(problem), 3), 2 * x.T @ x / 7)


def test_losses_that_hide_their_outputs() -> None:
    def energy(module: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]):
        return module(batch[0]).square().sum(), len(batch[0])

    problem = from_objects(nn.Linear(3, 1), (torch.randn(5, 3), torch.zeros(5)), energy)
    for made in (GaussNewton, EmpiricalFisher):
        with pytest.raises(ProblemError, match="what of it is the network") as seen:
            made(problem)
        assert "fn(output, target)" in seen.value.remedy


@pytest.mark.parametrize("name", ["cross_entropy", "mse", "bce_with_logits", "text"])
def test_the_fisher_matrix_of_many_draws_is_the_gauss_newton_matrix(name: str) -> None:
    torch.manual_seed(0)
    if name == "text":
        problem, draws = CASES[3].problem(batch_size=1000), 100
    else:
        module = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))
        x = torch.randn(6, 2)
        y = torch.randint(0, 2, (6,)) if name == "cross_entropy" else torch.rand(6, 2).round()
        problem = from_objects(module, (x, y), name, batch_size=5000, dtype="float64")
        draws = 500
    expected = columns(GaussNewton(problem), problem.space.size)
    found = columns(MonteCarloFisher(problem, draws=draws), problem.space.size)
    # Each entry is a mean over draws × samples of products of gradients.
    error = (found - expected).norm() / expected.norm()
    assert float(error) < 4 / (draws * len(problem.data)) ** 0.5 * problem.space.size**0.5
    other = columns(MonteCarloFisher(problem, draws=1, seed=1), problem.space.size)
    assert float((other - expected).norm()) > float((found - expected).norm())


def test_drawn_targets_depend_on_seed_and_sample_alone() -> None:
    whole, cut = CASES[3].problem(batch_size=10), CASES[3].problem(batch_size=3)
    state = torch.get_rng_state()
    drawn = drawn_targets(whole, seed=5)
    assert torch.equal(drawn, drawn_targets(cut, seed=5))
    assert not torch.equal(drawn, drawn_targets(whole, seed=6))
    assert torch.equal((drawn == -100), (whole.data.targets == -100))
    assert torch.equal(torch.get_rng_state(), state)


class Given(nn.Module):
    """Outputs that are the inputs, but for a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.offset


def test_draws_have_the_models_shares() -> None:
    """Frequencies within four standard errors, and no class of share zero is ever drawn."""
    count = 4000
    shares = torch.tensor([0.5, 0.0, 0.2, 0.3], dtype=torch.float64)
    logits = shares.log().clamp(min=-1e4).expand(count, 4)
    problem = from_objects(Given(), (logits, torch.zeros(count).long()), dtype="float64")
    found = torch.bincount(drawn_targets(problem, seed=0), minlength=4) / count
    assert ((found - shares).abs() <= 4 * (shares * (1 - shares) / count).sqrt()).all()

    flags = torch.logit(shares).clamp(-1e4, 1e4).expand(count, 4)
    coins = from_objects(
        Given(), (flags, torch.zeros(count, 4)), "bce_with_logits", dtype="float64"
    )
    found = drawn_targets(coins, seed=0).mean(dim=0)
    assert ((found - shares).abs() <= 4 * (shares * (1 - shares) / count).sqrt()).all()

    means = torch.tensor([0.0, 3.0], dtype=torch.float64).expand(count, 2)
    normal = from_objects(Given(), (means, torch.zeros(count, 2)), "mse", dtype="float64")
    first, second = drawn_targets(normal, seed=0), drawn_targets(normal, seed=0, index=1)
    for drawn in (first, second):
        assert ((drawn.mean(dim=0) - means[0]).abs() <= 4 * (0.5 / count) ** 0.5).all()
        # The variance of a normal's variance is 2σ⁴/n.
        assert ((drawn.var(dim=0) - 0.5).abs() <= 4 * 0.5 * (2 / count) ** 0.5).all()
    both = torch.cat([first, second], dim=1).T
    assert (torch.corrcoef(both) - torch.eye(4)).abs().max() < 4 / count**0.5


@pytest.mark.parametrize(
    ("axis", "args"), [(1, {"class_dim": 1}), (-1, {"class_dim": -1}), (-1, {"shift": True})]
)
def test_draws_are_of_the_prediction_they_stand_for(axis: int, args: dict[str, object]) -> None:
    """Networks that are certain draw their own choice, wherever the classes are."""
    torch.manual_seed(0)
    choice, targets = torch.randint(0, 4, (5, 6)), torch.randint(0, 4, (5, 6))
    targets[1, 2:], targets[4, 1] = -7, -7
    logits = 1e3 * nn.functional.one_hot(choice, 4).double().movedim(-1, axis)
    loss = LossSpec(name="cross_entropy", args={"ignore_index": -7, **args})
    problem = from_objects(Given(), (logits, targets), loss, batch_size=2, dtype="float64")
    expected = choice
    if "shift" in args:  # each position predicts the next, and the first token is given
        expected = torch.cat([targets[:, :1], choice[:, :-1]], dim=1)
    expected = torch.where(targets == -7, targets, expected)
    assert torch.equal(drawn_targets(problem, seed=0), expected)
    assert torch.equal(problem.data.targets, targets)


def test_an_ignored_target_changes_no_other_draw() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(50, 4), torch.randint(0, 4, (50,))
    whole = drawn_targets(from_objects(Given(), (logits, targets)), seed=3)
    targets[::3] = -100
    drawn = drawn_targets(from_objects(Given(), (logits, targets)), seed=3)
    assert torch.equal(drawn[1::3], whole[1::3])
    assert (drawn[::3] == -100).all()


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        (LossSpec(name="huber"), "'huber' with no options is not the −log p"),
        (
            LossSpec(name="cross_entropy", args={"label_smoothing": 0.1}),
            "'cross_entropy' with {'lab",
        ),
        (LossSpec(name="mse", args={"one_hot": True}), "'mse' with {'one_hot': True} is not"),
    ],
)
def test_a_loss_without_a_distribution_has_no_fisher_matrix(loss: LossSpec, told: str) -> None:
    targets = torch.ones(3, 2) if loss.name == "huber" else torch.ones(3).long()
    problem = from_objects(nn.Linear(2, 2), (torch.ones(3, 2), targets), loss)
    with pytest.raises(ProblemError, match=told):
        MonteCarloFisher(problem)
