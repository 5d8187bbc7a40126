"""Products by differences of gradients, against the dense Hessian of ordinary operations."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd.function import once_differentiable

from lla.api import analyze
from lla.curvature import GaussNewton, Hessian, Way
from lla.curvature.names import Needs
from lla.curvature.plan import make_plan
from lla.errors import NoSecondDerivativeError
from lla.problem import Problem, from_objects
from tests.oracles import columns


class _OnceTanh(torch.autograd.Function):
    """tanh with a first derivative only, as kernels of one's own often are."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        y = x.tanh()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: torch.Tensor) -> torch.Tensor:
        (y,) = ctx.saved_tensors
        return slope * (1 - y * y)


class Network(nn.Module):
    def __init__(self, bend: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.bend = nn.Linear(6, 5), nn.Linear(5, 3), bend

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.bend(self.first(x)))


def once(x: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = _OnceTanh.apply(x)
    return found


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = 2 * torch.randn(40, 6, generator=generator)
    return x, torch.randint(0, 3, (40,), generator=generator)


def problem(bend: Callable[[torch.Tensor], torch.Tensor], dtype: str = "float64") -> Problem:
    return from_objects(Network(bend), data(), dtype=dtype, batch_size=16)


@pytest.fixture(scope="module")
def dense() -> torch.Tensor:
    twice = problem(torch.tanh)
    theta = twice.theta.clone()

    def loss(vector: torch.Tensor) -> torch.Tensor:
        terms = twice.terms(vector, twice.data.whole)
        return terms.total / terms.weight

    return torch.autograd.functional.hessian(loss, theta)


@pytest.mark.parametrize("bend", [once, torch.tanh], ids=["once", "twice"])
@pytest.mark.parametrize(("dtype", "error"), [("float64", 3e-9), ("float32", 1e-3)])
def test_differences_are_near_the_dense_hessian(dense, bend, dtype: str, error: float) -> None:
    operator = Hessian(problem(bend, dtype), way=Way("difference", 2))
    found = columns(operator, operator.size)
    norm = float(torch.linalg.matrix_norm(dense, 2))
    assert float(torch.linalg.matrix_norm(found - dense, 2)) < error * norm
    # Length and sign of a vector do not matter, and blocks are their vectors.
    block = torch.stack([dense[0], -1e-3 * dense[1], 0 * dense[2]])
    torch.testing.assert_close(operator(block), block @ found, rtol=0, atol=10 * error * norm)
    assert not operator(block)[2].any()


def test_doubling_the_step_shows_the_error(dense) -> None:
    """The true error is at most what changes, and not many times smaller."""
    for dtype in ("float64", "float32"):
        operator = Hessian(problem(once, dtype), way=Way("difference"))
        coarser = operator.coarser()
        top = torch.linalg.eigh(dense).eigenvectors[:, -1]
        true = float(torch.linalg.vector_norm(operator(top) - dense @ top))
        told = float(torch.linalg.vector_norm(coarser(top) - operator(top)))
        assert true < 2 * told
        assert told < 30 * true
    assert Hessian(problem(torch.tanh)).coarser() is None


def test_without_a_second_derivative_matrices_say_so() -> None:
    vector = torch.ones(problem(once).space.size, dtype=torch.float64)
    with pytest.raises(NoSecondDerivativeError, match="second derivative") as caught:
        Hessian(problem(once))(vector)
    assert "--method difference" in caught.value.remedy
    with pytest.raises(NoSecondDerivativeError) as caught:
        GaussNewton(problem(once))(vector)
    assert "--operator hessian" in caught.value.remedy


def test_the_plan_falls_back_where_it_has_to() -> None:
    needs = Needs(rows=60, least_rows=10, vectors=10)
    plan = make_plan(problem(once), 8 << 30, needs)
    facts = plan.facts()
    assert (facts["method"], facts["approximate"]) == ("difference", True)
    assert 0 < facts["difference_error"] < 1e-6
    other = make_plan(problem(torch.tanh), 8 << 30, needs).facts()
    assert (other["approximate"], other["difference_error"]) == (False, 0.0)
    with pytest.raises(NoSecondDerivativeError):
        make_plan(problem(once), 8 << 30, needs, method="reverse")
    asked = make_plan(problem(torch.tanh), 8 << 30, needs, method="difference")
    assert asked.way.approximate


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("bend", "method"), [(once, "auto"), (torch.tanh, "difference")])
def test_a_report_by_differences_holds_the_dense_answers(dense, bend, method, dtype) -> None:
    settings = {"run": {"dtype": dtype, "method": method, "confidence": 0.999}}
    report = analyze(
        Network(bend),
        data(),
        only=["spectrum", "stability"],
        training={"optimizer": "sgd", "lr": 0.1, "batch_size": 10},
        settings=settings,
    )
    values = np.linalg.eigvalsh(dense.numpy())
    truths = {
        "lambda_max": values[-1],
        "lambda_min": values[0],
        "trace": values.sum(),
        "frobenius": np.linalg.norm(values),
        "effective_rank": values.sum() ** 2 / (values**2).sum(),
    }
    for name, truth in truths.items():
        found = report.metrics[f"hessian/{name}"]
        assert found.low <= truth <= found.high, name
        # In the interval for its error, and not for its width.
        assert found.value == pytest.approx(truth, rel=0.02 if name != "lambda_min" else 0.05)
    for name in ("lambda_max", "lambda_min", "trace", "frobenius"):
        assert "by central differences" in report.metrics[f"hessian/{name}"].method
    assert report.plan["approximate"] is True
    assert report.plan["difference_error"] > 0
    assert report.metrics["stability/batch_sharpness"].exists
