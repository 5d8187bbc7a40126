import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lla.analyses.spectral import quotient, spectral
from lla.analyses.spectrum import SpectrumConfig
from lla.analyses.spectrum.criteria import (
    effective_rank,
    extreme_ratio,
    mass_ratio,
    negative_ratio,
    spectrum_type,
)
from lla.analyses.spectrum.layers import layer_traces
from lla.analyses.workspace import Workspace
from lla.api import analyze
from lla.curvature import EmpiricalFisher, GaussNewton, Hessian, MonteCarloFisher
from lla.estimate import Estimate, samples_needed, student_quantile
from lla.krylov import Probes, Quadrature, TraceSample
from lla.problem import Problem, Training, from_objects
from tests.oracles import columns


def test_criteria_of_a_three_point_spectrum() -> None:
    """Spectrum {−1, 0, 4}, equal weights: r_e = K_H1 = 0.25, K_H0.5 = 0.5."""
    third = np.full((2, 3), 1 / 3)
    quadrature = Quadrature(np.tile([-1.0, 0.0, 4.0], (2, 1)), third)
    low, high = Estimate.exact(-1.0, method=""), Estimate.exact(4.0, method="")
    assert extreme_ratio(low, high).value == 0.25
    assert negative_ratio(low, high).value == -0.25
    assert mass_ratio((quadrature,), 1.0, 0.95).value == pytest.approx(0.25)
    assert mass_ratio((quadrature,), 0.5, 0.95).value == pytest.approx(0.5)


def test_ratios_carry_the_residual_intervals() -> None:
    low = Estimate(-1.0, -1.1, -0.9)
    high = Estimate(4.0, 3.9, 4.1)
    found = extreme_ratio(low, high)
    assert (found.low, found.high) == pytest.approx((0.9 / 4.1, 1.1 / 3.9))
    assert extreme_ratio(Estimate(0.0, -0.1, 0.1), high).low == 0.0


def test_spectrum_types() -> None:
    low, high = Estimate.exact(-1.0, method=""), Estimate.exact(4.0, method="")
    sparse, dense = Estimate(0.995, 0.991, 1.0, 0.95), Estimate(0.5, 0.4, 0.6, 0.95)
    open_ = Estimate(0.9, 0.5, 1.0, 0.95)
    mild, strong = Estimate.exact(-0.2, method=""), Estimate.exact(-0.6, method="")
    missing = Estimate.missing("λ_min ≥ 0")
    assert spectrum_type(low, high, mild, dense).value == "mainly_positive"
    assert spectrum_type(high, high, missing, dense).value == "mainly_positive"
    assert spectrum_type(low, high, strong, sparse).value == "mainly_negative"
    assert spectrum_type(low, high, mild, sparse).value == "quasi_singular"
    assert "not decided" in spectrum_type(low, high, mild, open_).why
    # No positive eigenvalue at all: C_t does not exist, and λ_min / λ_max would be positive.
    assert not negative_ratio(low, Estimate.exact(-0.5, method="")).exists
    for top in (Estimate.exact(-0.5, method=""), Estimate(0.0, -1e-9, 1e-9)):
        assert spectrum_type(low, top, missing, dense).value == "mainly_negative"


@pytest.fixture(scope="module")
def small() -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    return module, (torch.randn(40, 6), torch.randint(0, 3, (40,)))


@pytest.mark.parametrize("seed", range(4))
def test_every_metric_holds_the_dense_answer(small, seed: int) -> None:
    module, data = small
    problem = from_objects(module, data, dtype="float64")
    matrix = columns(Hessian(problem), problem.space.size).numpy()
    values = np.linalg.eigvalsh(matrix)
    settings = {
        "run": {"dtype": "float64", "seed": seed, "tolerance": 0.1, "confidence": 0.999},
        "spectrum": {"steps": 80, "largest": 5, "smallest": 2},
    }
    report = analyze(module, data, only=["spectrum"], settings=settings)
    result = report.results["spectrum"]

    np.testing.assert_allclose(result.eigenvalues[:5], values[::-1][:5], rtol=1e-8)
    np.testing.assert_allclose(result.eigenvalues[5:], values[1::-1], rtol=1e-8)
    positive, negative = values[values > 0].sum(), -values[values < 0].sum()
    truths = {
        "hessian/lambda_max": values[-1],
        "hessian/lambda_min": values[0],
        "hessian/trace": values.sum(),
        "hessian/frobenius": np.linalg.norm(values),
        "hessian/effective_rank": values.sum() ** 2 / (values**2).sum(),
        "hessian/r_e": abs(values[0] / values[-1]),
        "hessian/C_t": values[0] / values[-1],
        "hessian/K_H1": negative / positive,
    }
    for path, truth in truths.items():
        found = report.metrics[path]
        slack = 1e-9 * abs(truth)
        assert found.low - slack <= truth <= found.high + slack, path
    start = 0
    for index, size in enumerate(result.layers.parameters):
        block = float(np.trace(matrix[start : start + size, start : start + size]))
        assert result.layers.low[index] - 1e-9 <= block <= result.layers.high[index] + 1e-9
        start += size
    assert result.layers.names == ("0", "2")
    assert result.layers.share.sum() == pytest.approx(1.0)


def test_density_counts_eigenvalues(small) -> None:
    module, data = small
    problem = from_objects(module, data, dtype="float64")
    values = np.linalg.eigvalsh(columns(Hessian(problem), problem.space.size).numpy())
    settings = {
        "run": {"dtype": "float64"},
        "spectrum": {"probes": 400, "steps": 400 * 40, "max_probes": 400},
    }
    report = analyze(module, data, only=["spectrum"], settings=settings)
    density = report.results["spectrum"].density
    cell = np.diff(density.eigenvalue)[0]
    assert density.density.sum() * cell == pytest.approx(1.0, abs=1e-6)
    middle = 0.3 * values[-1]
    share = (density.density[density.eigenvalue > middle]).sum() * cell
    assert share == pytest.approx((values > middle).mean(), abs=0.02)


def test_results_depend_on_the_seed_alone(small) -> None:
    module, data = small
    alone = analyze(module, data, only=["spectrum"], batch_size=16).metrics
    torch.rand(7)
    whole = analyze(module, data, skip=["saliency"], batch_size=16).metrics
    other = analyze(module, data, only=["spectrum"], settings={"run": {"seed": 1}}).metrics
    assert {path: whole[path] for path in alone} == alone
    assert other["hessian/trace"] != alone["hessian/trace"]


def test_a_dense_lanczos_limit_is_told(small) -> None:
    module, data = small
    report = analyze(module, data, only=["spectrum"], settings={"spectrum": {"max_steps": 6}})
    assert not report.metrics["hessian/lambda_min"].converged


@pytest.mark.long
def test_pairs_found_in_float32_are_certified_in_float64(samples: Path) -> None:
    """A residual measured with float32 products is too small, here for the second eigenvalue.

    Measured in float64 it bounds the error; the Rayleigh quotient's own error is quadratic in it.
    """
    from lla import checkpoint
    from lla.analyses.workspace import Workspace
    from lla.problem import build
    from lla.settings import gather

    path = samples / "digits_cnn.pt"
    settings = gather(path, flags={"data": {"limit": 200}})
    facts = {name: getattr(settings, name) for name in ("model", "data", "loss", "training")}
    single, double = (
        Workspace(configs={"spectrum": SpectrumConfig(residual_tolerance=tolerance)})
        .get(
            spectral().spectrum,
            build(checkpoint.load(path), folder=Path(), dtype=dtype, **facts),
        )
        .pairs
        for dtype, tolerance in (("float32", 1e-6), ("float64", 1e-8))
    )
    errors = np.abs(single.values - double.values)
    assert (errors <= single.residuals + double.residuals).all()
    assert errors[0] < 1e-8 * double.values[0]
    assert 1e-7 < single.residuals[0] / double.values[0] < 1e-5  # what float32 vectors allow


def probes_with(samples: tuple[TraceSample, ...], pilot: int) -> Probes:
    """Probes of a matrix of one row, of which only the samples matter."""
    rule = Quadrature(np.zeros((2, 1)), np.ones((2, 1)))
    return Probes(
        samples=samples,
        quadrature=rule,
        below=rule,
        above=rule,
        rules=rule,
        rest=rule,
        outer=np.zeros(0),
        coupled=0,
        size=1,
        pilot=pilot,
        reach=(0.0, 0.0),
        diagonal=(torch.zeros(1), torch.zeros(1)),
        groups=np.empty((0, 0)),
    )


def test_effective_rank_interval_by_hand():
    t, q = np.array([1.0, 2.0, 3.0, 5.0]), np.array([2.0, 3.0, 7.0, 9.0])
    made = tuple(TraceSample(a, b, np.zeros(1)) for a, b in zip(t, q, strict=True))
    found = effective_rank(probes_with(made, 4), 0.95)
    m, s = t.mean(), q.mean()
    gradient = np.array([2 * m / s, -(m**2) / s**2])
    err = math.sqrt(gradient @ np.cov(t, q) @ gradient / 4)
    assert found.value == pytest.approx(m**2 / s)
    assert found.stderr == pytest.approx(err)


@pytest.fixture
def one() -> Problem:
    data = (torch.ones(2, 1), torch.ones(2, 1))
    return from_objects(nn.Linear(1, 1, bias=False), data, "mse")


def fake(samples, pilot, tolerance=0.02):
    ws = Workspace(configs={}, tolerance=tolerance)
    made = tuple(TraceSample(v, v, np.array([v])) for v in samples)
    ws._shared[spectral().probes.name] = probes_with(made, pilot)
    return ws, made


def test_trace_and_norm_use_the_pilots_variance_and_say_when_too_wide(one):
    ws, _ = fake([9.0, 11.0, 10.0, 10.0], 2)
    trace, norm = ws.get(spectral().trace, one), ws.get(spectral().frobenius, one)
    assert trace.stderr == pytest.approx(math.sqrt(2) / 2)
    assert norm.high**2 - norm.value**2 == pytest.approx(trace.high - trace.value)
    assert not trace.converged
    assert not norm.converged
    ws, _ = fake([10.0, 10.001, 10.0, 10.0], 2)
    assert ws.get(spectral().trace, one).converged


def test_number_of_probes_is_steins():
    ws, made = fake([9.0, 11.0, 10.0], 3, tolerance=0.1)
    traces = [sample.trace for sample in made]
    found = samples_needed(traces, ws.tolerance, ws.confidence)
    assert found == math.ceil((student_quantile(0.95, 2) * 1.0 / 1.0) ** 2)


def test_layer_intervals_use_the_pilot(one):
    ws, _made = fake([9.0, 11.0, 10.0, 10.0], 2)
    (trace,) = layer_traces(ws._shared[spectral().probes.name], np.ones((1, 1)), 0.95)
    assert trace.high - trace.value == pytest.approx(12.706 * math.sqrt(2) / 2, rel=1e-3)


def test_ratio_corners_for_one_sided_sign():
    found = extreme_ratio(Estimate(1.0, 0.8, 1.2), Estimate(4.0, 2.0, 5.0))
    assert (found.low, found.high) == pytest.approx((0.8 / 5.0, 1.2 / 2.0))


def test_near_zero_is_relative():
    torch.manual_seed(0)
    module, data = (
        nn.Linear(6, 1, bias=False),
        (1e4 * torch.eye(6) * torch.tensor([1.0, 1, 1, 1e-3, 1e-3, 1e-3]), torch.zeros(6, 1)),
    )
    report = analyze(
        module,
        data,
        "mse",
        only=["spectrum"],
        settings={"run": {"dtype": "float64"}, "spectrum": {"probes": 40, "steps": 240}},
    )
    e = report.metrics["hessian/near_zero"]
    assert e.low - 1e-9 <= 0.5 <= e.high + 1e-9
    assert e.value > 0.1


@pytest.mark.parametrize("seed", range(3))
def test_near_zero_lies_between_its_bounds(seed: int) -> None:
    """Many eigenvalues near zero, few nodes there: the bounds hold the truth all the same."""
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    data = (torch.randn(30, 4), torch.randint(0, 3, (30,)))
    problem = from_objects(module, data, dtype="float64")
    values = np.linalg.eigvalsh(columns(Hessian(problem), problem.space.size).numpy())
    truth = (np.abs(values) <= 1e-3 * np.abs(values).max()).mean()
    settings = {"run": {"dtype": "float64", "seed": seed}}
    found = analyze(module, data, only=["spectrum"], settings=settings).metrics
    assert found["hessian/near_zero"].low <= truth <= found["hessian/near_zero"].high


def test_rounding_is_no_negative_mass() -> None:
    """A negative-definite Hessian with a null space: K_H would be a ratio to rounding noise."""
    torch.manual_seed(0)

    def gain(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return -((output - target) ** 2).mean()

    data = (torch.randn(6, 30), torch.randn(6, 1))
    settings = {"run": {"dtype": "float64"}}
    found = analyze(nn.Linear(30, 1), data, gain, only=["spectrum"], settings=settings).metrics
    assert found["hessian/type"].value == "mainly_negative"
    assert not found["hessian/K_H1"].exists
    assert not found["hessian/C_t"].exists


class Curved(nn.Module):
    """A quadratic whose Hessian is diagonal: with random signs, quadrature sees each entry."""

    def __init__(self, entries: torch.Tensor) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.randn(len(entries)))
        self.register_buffer("entries", entries)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * (self.entries * self.theta.square()).sum() + 0.0 * x.sum(1)


def quadratic(module, batch):
    values = module(batch[0])
    return values.sum(), len(values)


@pytest.mark.parametrize("scale", [1e-5, 1e-4])
def test_the_bulk_near_zero_counts_in_float32(scale: float) -> None:
    """20,000 eigenvalues of 1e-6 to 1e-5 of the largest hold a part of the mass, or most of it."""
    bulk = scale * np.random.default_rng(1).laplace(0.3, 1.0, 20_000)
    entries = np.concatenate([bulk, [10.0, 8.0, 3.0, 1.5, -1.0, -0.7]])
    truth = -entries[entries < 0].sum() / entries[entries > 0].sum()
    module = Curved(torch.tensor(entries, dtype=torch.float32))
    data = (torch.zeros(2, 1), torch.zeros(2))
    found = analyze(module, data, quadratic, only=["spectrum"]).metrics["hessian/K_H1"]
    assert found.low <= truth <= found.high
    assert found.value == pytest.approx(truth, rel=0.05)


def test_rounding_is_in_the_intervals_where_nothing_is_left_to_chance() -> None:
    """Krylov spaces of small networks are whole: what is left is that products are in float32."""
    for seed in range(6):
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3))
        data = (3 * torch.randn(50, 3), torch.randint(0, 3, (50,)))
        problem = from_objects(module, data, dtype="float64")
        matrix = columns(Hessian(problem), problem.space.size).numpy()
        values = np.linalg.eigvalsh(matrix)
        report = analyze(module, data, only=["spectrum"], batch_size=20)
        truths = {
            "trace": values.sum(),
            "frobenius": np.linalg.norm(values),
            "effective_rank": values.sum() ** 2 / (values**2).sum(),
            "K_H1": -values[values < 0].sum() / values[values > 0].sum(),
        }
        for name, truth in truths.items():
            found = report.metrics[f"hessian/{name}"]
            assert found.low <= truth <= found.high, (seed, name)
            assert found.high - found.low < 1e-4 * np.abs(values).sum()
        layers = report.results["spectrum"].layers
        for index, block in enumerate((matrix[:20, :20], matrix[20:, 20:])):
            assert layers.low[index] <= np.trace(block) <= layers.high[index]
            top = np.linalg.eigvalsh(block)[-1]
            assert layers.lambda_max_low[index] <= top <= layers.lambda_max_high[index]


def test_a_layer_of_negative_curvature_has_no_zero_among_its_eigenvalues() -> None:
    """Blocks smaller than the Krylov space, every eigenvalue of which is negative."""
    torch.manual_seed(0)

    class Parts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.straight, self.square = nn.Linear(3, 2), nn.Linear(3, 2, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.straight(x) + self.square(x * x)

    def gain(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return -((output - target) ** 2).sum(dim=1).mean()

    x = torch.randn(30, 3, dtype=torch.float64)
    settings = {"run": {"dtype": "float64"}}
    report = analyze(Parts(), (x, torch.randn(30, 2)), gain, only=["spectrum"], settings=settings)
    layers = report.results["spectrum"].layers
    features = (torch.cat([x, torch.ones_like(x[:, :1])], dim=1), x * x)
    for index, phi in enumerate(features):
        top = float(torch.linalg.eigvalsh(-2 * phi.T @ phi / 30)[-1])
        assert layers.lambda_max[index] == pytest.approx(top, rel=1e-6)
        assert layers.lambda_max_low[index] <= top <= layers.lambda_max_high[index]


@pytest.mark.parametrize("name", ["ggn", "fisher", "empirical_fisher"])
def test_other_matrices_have_a_spectrum_too(small, name: str) -> None:
    module, data = small
    problem = from_objects(module, data, dtype="float64")
    makers = {"ggn": GaussNewton, "fisher": MonteCarloFisher, "empirical_fisher": EmpiricalFisher}
    values = np.linalg.eigvalsh(columns(makers[name](problem), problem.space.size).numpy())
    settings = {"run": {"dtype": "float64"}, "spectrum": {"operator": name}}
    report = analyze(module, data, settings=settings, only=["spectrum", "stability"])
    found = report.metrics
    assert found["hessian/operator"].value == name
    assert found["hessian/lambda_max"].value == pytest.approx(values[-1], rel=1e-8)
    assert found["hessian/trace"].low <= values.sum() <= found["hessian/trace"].high
    # Stability speaks of the Hessian, whatever the spectrum is of.
    hessian = np.linalg.eigvalsh(columns(Hessian(problem), problem.space.size).numpy())
    assert found["stability/gd_max_lr"].value == pytest.approx(2 / hessian[-1], rel=1e-8)


@pytest.mark.parametrize("steps", [0, 40])
def test_layers_sharpness_and_what_is_stored(small, steps: int) -> None:
    module, data = small
    problem = from_objects(module, data, dtype="float64")
    matrix = columns(Hessian(problem), problem.space.size).numpy()
    wanted = {"layer_steps": steps, "eigenvectors": True, "diagonal": True, "max_steps": 12}
    settings = {"run": {"dtype": "float64"}, "spectrum": wanted}
    result = analyze(module, data, only=["spectrum"], settings=settings).results["spectrum"]
    start = 0
    for index, size in enumerate(result.layers.parameters):
        block = matrix[start : start + size, start : start + size]
        top = np.linalg.eigvalsh(block)[-1]
        low, high = result.layers.lambda_max_low[index], result.layers.lambda_max_high[index]
        assert low - 1e-10 <= top <= high + 1e-10
        assert low <= result.layers.lambda_max[index] <= high
        if steps:
            assert result.layers.lambda_max[index] == pytest.approx(top, rel=1e-6)
        start += size
    vectors = result.eigenvectors.values
    images = vectors @ matrix
    rest = np.linalg.norm(images - result.eigenvalues[:, None] * vectors, axis=1)
    np.testing.assert_allclose(rest, result.residuals, rtol=1e-6, atol=1e-10)
    assert result.eigenvectors.names == problem.space.names
    off = np.abs(result.diagonal.value - np.diag(matrix))
    assert (off <= 6 * result.diagonal.stderr + 1e-8).all()


def test_a_subset_has_a_sampling_error_and_the_whole_has_none(small) -> None:
    module, (x, y) = small
    training = {"optimizer": "sgd", "samples": 4000}
    quick = {"run": {"dtype": "float64"}}
    part = analyze(module, (x, y), only=["spectrum"], training=training, settings=quick).metrics
    whole = analyze(module, (x, y), only=["spectrum"], settings=quick).metrics
    assert whole["hessian/lambda_max"].sampling_stderr == 0.0
    assert whole["hessian/trace"].sampling_stderr == 0.0
    # From the groups' own Rayleigh quotients, by other means: one product on each group.
    problem = from_objects(module, (x, y), dtype="float64")
    _, vectors = np.linalg.eigh(columns(Hessian(problem), problem.space.size).numpy())
    top = torch.from_numpy(vectors[:, -1].copy())
    quotients = [
        float(top @ Hessian(problem, [problem.data.select(torch.arange(k, 40, 10))])(top))
        for k in range(10)
    ]
    expected = np.std(quotients, ddof=1) / np.sqrt(10) * np.sqrt(1 - 40 / 4000)
    assert part["hessian/lambda_max"].sampling_stderr == pytest.approx(expected, rel=1e-3)
    assert part["hessian/trace"].sampling_stderr > 0


def test_groups_of_samples_whose_targets_are_all_ignored(small) -> None:
    """Four of 24 samples have a target, and there are six groups."""
    module, (x, y) = small
    data = (x[:24], torch.cat([y[:4], torch.full((20,), -100)]))
    truth = columns(Hessian(from_objects(module, (x[:4], y[:4]), dtype="float64")), 53)
    settings = {"run": {"dtype": "float64"}}
    training = Training(samples=1000)
    found = analyze(module, data, only=["spectrum"], settings=settings, training=training).metrics
    top = float(torch.linalg.eigvalsh(truth)[-1])
    assert found["hessian/lambda_max"].value == pytest.approx(top, rel=1e-9)
    assert found["hessian/trace"].value == pytest.approx(float(truth.trace()), rel=1e-9)
    assert 0 < found["hessian/lambda_max"].sampling_stderr < top


def test_sketched_traces(small) -> None:
    module, data = small
    problem = from_objects(module, data, dtype="float64")
    truth = float(columns(Hessian(problem), problem.space.size).trace())
    for name in ("hutchpp", "xtrace"):
        settings = {
            "run": {"dtype": "float64", "tolerance": 0.05},
            "spectrum": {"trace_method": name},
        }
        found = analyze(module, data, only=["spectrum"], settings=settings).metrics["hessian/trace"]
        assert found.low <= truth <= found.high
        assert found.converged
        # XTrace's intervals held the trace for 80 % of seeds on another network, where 95 % was
        # asked: they indicate the error.
        assert math.isnan(found.confidence) == (name == "xtrace")


def test_curvature_along_a_direction(small) -> None:
    """vᵀHv / ‖v‖² by a float32 network, against the dense matrix of the float64 one."""
    module, data = small
    problem = from_objects(module, data)
    matrix = columns(Hessian(problem.in_float64()), problem.space.size)
    vector = torch.randn(problem.space.size, dtype=torch.float64)
    truth = float(vector @ matrix @ vector / (vector @ vector))
    workspace = Workspace(configs={})
    found = quotient(vector, "hessian", problem, workspace)
    assert found.value == pytest.approx(truth, rel=1e-10)
    assert found.low <= truth <= found.high
    assert found.sampling_stderr == 0.0
    assert not quotient(0 * vector, "hessian", problem, workspace).exists
    part = from_objects(module, data, training=Training(samples=4000))
    assert quotient(vector, "hessian", part, Workspace(configs={})).sampling_stderr > 0
