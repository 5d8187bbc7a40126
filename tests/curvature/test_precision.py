"""Products in lower precision: faster, and what they are off by is in the intervals."""

import numpy as np
import pytest
import torch
from torch import nn

from lla.api import analyze
from lla.curvature import GaussNewton, Hessian, Way
from lla.curvature.names import Needs
from lla.curvature.plan import make_plan
from lla.curvature.ways import in_precision, kernels_of
from lla.errors import ConfigurationError
from lla.problem import from_objects
from tests.oracles import CASES, Case, columns, dense_hessian

HALF = Way(precision="bfloat16")
NEEDS = Needs(rows=60, least_rows=10, vectors=10)


@pytest.mark.parametrize("way", [HALF, Way("forward", 2, precision="bfloat16")], ids=str)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_products_in_bfloat16_are_near_the_dense_hessian(case: Case, way: Way) -> None:
    problem = case.problem(4)
    expected = dense_hessian(case, problem)
    operator = Hessian(problem, way=way)
    assert operator.eps == 2.0**-7
    error = columns(operator, operator.size) - expected
    norm = torch.linalg.matrix_norm(expected, 2)
    off = float(torch.linalg.matrix_norm(error, 2) / norm)
    assert 1e-5 < off < 0.1  # as coarse as bfloat16 is, and no coarser
    assert problem.theta.dtype == torch.float64  # the problem itself stays as it is
    batches = [problem.data.select(torch.arange(3))]
    Hessian(problem, batches, way=way)(torch.ones(operator.size, dtype=torch.float64))


def test_other_matrices_take_it_too() -> None:
    problem = CASES[0].problem()
    exact = columns(GaussNewton(problem), problem.space.size)
    error = columns(GaussNewton(problem, way=HALF), problem.space.size) - exact
    assert 1e-5 < float(torch.linalg.matrix_norm(error, 2) / exact.norm()) < 0.05


@pytest.fixture(scope="module")
def small() -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 3))
    return module, (torch.randn(60, 6), torch.randint(0, 3, (60,)))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["hessian", "ggn"])
def test_intervals_hold_the_dense_answers(small, name: str, seed: int) -> None:
    module, data = small
    problem = from_objects(module, data, dtype="float64")
    make = {"hessian": Hessian, "ggn": GaussNewton}[name]
    matrix = columns(make(problem), problem.space.size).numpy()
    values = np.linalg.eigvalsh(matrix)
    run = {"products": "bfloat16", "seed": seed, "confidence": 0.999}
    report = analyze(
        module, data, only=["spectrum"], settings={"run": run, "spectrum": {"operator": name}}
    )
    truths = {
        "lambda_max": values[-1],
        "lambda_min": values[0],
        "trace": values.sum(),
        "frobenius": np.linalg.norm(values),
        "effective_rank": values.sum() ** 2 / (values**2).sum(),
        "near_zero": (np.abs(values) <= 1e-3 * np.abs(values).max()).mean(),
    }
    for metric, truth in truths.items():
        found = report.metrics[f"hessian/{metric}"]
        assert found.low <= truth <= found.high, metric
    top = report.metrics["hessian/lambda_max"]
    # A quotient's error is the square of its vector's: far below the products' own.
    assert top.value == pytest.approx(values[-1], rel=1e-3)
    assert report.metrics["hessian/trace"].value == pytest.approx(values.sum(), rel=0.02)
    assert "in bfloat16" in top.method
    assert "in bfloat16" in report.metrics["hessian/trace"].method
    assert "in bfloat16" in report.metrics["hessian/K_H1"].method or name == "ggn"
    assert report.plan["products"] == "bfloat16"
    layers, start = report.results["spectrum"].layers, 0
    for index, size in enumerate(layers.parameters):
        block = matrix[start : start + size, start : start + size]
        assert layers.low[index] <= np.trace(block) <= layers.high[index]
        top_of_block = np.linalg.eigvalsh(block)[-1]
        assert layers.lambda_max_low[index] <= top_of_block <= layers.lambda_max_high[index]
        start += size


def test_a_hidden_bias_is_found_and_taken_out() -> None:
    """All inputs round upwards: H = (2/n) XᵀX in bfloat16 has a trace that is too large."""
    torch.manual_seed(0)
    signs = torch.randn(200, 30).sign()
    x = signs * (1 + 0.6 * 2.0**-7) * 2.0 ** torch.randint(-2, 1, (200, 30))
    data, module = (x, torch.randn(200, 1)), nn.Linear(30, 1, bias=False)
    truth = 2 / 200 * float(x.double().square().sum())
    problem = from_objects(module, data, "mse", dtype="float64")
    rounded = float(columns(Hessian(problem, way=HALF), 30).trace())
    assert rounded > 1.004 * truth
    for method in ("hutchinson", "hutchpp"):
        settings = {
            "run": {"products": "bfloat16", "tolerance": 0.002},
            "spectrum": {"trace_method": method},
        }
        found = analyze(module, data, "mse", only=["spectrum"], settings=settings).metrics
        trace = found["hessian/trace"]
        assert trace.low <= truth <= trace.high
        assert method == "hutchpp" or rounded > trace.high
        # What stays unknown of the products' error is wider than was asked for, and says so.
        assert trace.converged == (trace.high - trace.low <= 2.1 * 0.002 * trace.value)
        assert trace.units == "loss"


def test_tf32_is_refused_where_it_does_not_exist() -> None:
    problem = CASES[0].problem()
    with pytest.raises(ConfigurationError, match="the device is cpu") as caught:
        in_precision(problem, "tf32")
    assert "bfloat16" in caught.value.remedy
    with pytest.raises(ConfigurationError, match="the device is cpu"):
        make_plan(problem, 8 << 30, NEEDS, precision="tf32")
    with pytest.raises(ConfigurationError, match="nothing but rounding"):
        make_plan(problem, 8 << 30, NEEDS, method="difference", precision="bfloat16")
    assert Way(precision="tf32").eps(torch.float32) == 2.0**-10


def test_the_kernels_of_a_precision_are_left_as_they_were() -> None:
    conv, matmul = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    before = (conv.fp32_precision, matmul.fp32_precision)
    for precision, expected in (("tf32", "tf32"), ("same", "ieee")):
        with kernels_of(precision):
            assert (conv.fp32_precision, matmul.fp32_precision) == (expected, expected)
        assert (conv.fp32_precision, matmul.fp32_precision) == before


def test_recurrent_layers_where_a_precision_is_set() -> None:
    """torch's own way of switching cuDNN off refuses where TF32 was set for each operation."""

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.GRU(2, 3, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x)[0]

    torch.manual_seed(0)
    problem = from_objects(Recurrent(), (torch.randn(4, 5, 2), torch.randn(4, 5, 3)), "mse")
    before = torch.backends.cudnn.enabled
    with kernels_of("same"):
        product = Hessian(problem)(torch.ones(problem.space.size, dtype=torch.float64))
    assert product.norm() > 0
    assert torch.backends.cudnn.enabled == before
