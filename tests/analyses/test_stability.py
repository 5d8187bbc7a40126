"""Stability conditions on toys with known thresholds, and by running SGD itself."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import lla.analyses.stability.batches as stability_run
from lla.analyses import sampling
from lla.analyses.stability.condition import (
    Condition,
    Curvature,
    TrainingRun,
    noise_share,
    smallest_limit,
)
from lla.analyses.stability.conditions import (
    gradient_descent_rule,
    trace_frobenius_rule,
    trace_rule,
)
from lla.analyses.stability.verdicts import judge
from lla.api import analyze
from lla.estimate import Estimate
from lla.problem import LossSpec, Training
from tests.oracles import second_moment_limit


def exact(value: float) -> Estimate:
    return Estimate.exact(value, method="")


def curvature(hessian: np.ndarray) -> Curvature:
    values = np.linalg.eigvalsh(hessian)
    return Curvature(exact(values[-1]), exact(values.sum()), exact(float(np.linalg.norm(values))))


def orthogonal(count: int = 4, c: float = 3.0) -> np.ndarray:
    """Samples of curvature c in orthogonal directions."""
    return np.stack([c * np.diag(row) for row in np.eye(count)])


def run_of(batch: int, samples: int, **more: object) -> TrainingRun:
    facts = {"square_loss": True, "interpolates": True, "outputs": 1, **more}
    return TrainingRun(batch_size=batch, samples=samples, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(("batch", "limit"), [(1, 2 / 3), (2, 4 / 3)])
def test_trace_and_frobenius_of_orthogonal_samples(batch: int, limit: float) -> None:
    """η* = 2/(c[(1−p)/n + p]): exact, and the batch-blind rule stays at 2/3."""
    hessians = orthogonal()
    p = noise_share(batch, 4)
    assert limit == pytest.approx(2 / (3 * ((1 - p) / 4 + p)))
    assert limit == pytest.approx(second_moment_limit(hessians, p))
    rule = trace_frobenius_rule(run_of(batch, 4), curvature(hessians.mean(axis=0)))
    assert rule.max_lr.value == pytest.approx(limit)
    blind = trace_rule(run_of(batch, 4), curvature(hessians.mean(axis=0)))
    assert blind.max_lr.value == pytest.approx(2 / 3)
    assert bool(blind.excluded) == (batch > 1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_conditions_are_necessary_on_random_rank_one_problems(seed: int, batch: int) -> None:
    """No condition may forbid a learning rate that the exact second-moment operator allows."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(6, 3))
    hessians = np.stack([np.outer(row, row) for row in rows])
    known = curvature(hessians.mean(axis=0))
    allowed = second_moment_limit(hessians, noise_share(batch, 6))
    for rule in (gradient_descent_rule, trace_frobenius_rule):
        assert rule(run_of(batch, 6), known).max_lr.value >= allowed * (1 - 1e-9)


def test_rank_k_samples_with_k_outputs() -> None:
    generator = np.random.default_rng(0)
    factors = generator.normal(size=(6, 4, 2))
    hessians = np.stack([part @ part.T for part in factors])
    run = run_of(2, 6, outputs=2)
    found = trace_frobenius_rule(run, curvature(hessians.mean(axis=0))).max_lr.value
    assert found >= second_moment_limit(hessians, noise_share(2, 6))
    too_tight = trace_frobenius_rule(run_of(2, 6), curvature(hessians.mean(axis=0)))
    assert found > too_tight.max_lr.value


def test_intervals_of_the_trace_rule_hold_all_corners_and_the_peak() -> None:
    run = run_of(2, 4)
    p = noise_share(2, 4)
    known = Curvature(exact(3.0), Estimate(1.0, 0.2, 9.0, 0.95), Estimate(1.5, 1.4, 1.6, 0.95))
    found = trace_frobenius_rule(run, known).max_lr
    grid = [
        2 * t / ((1 - p) * f**2 + p * t**2)
        for t in np.linspace(0.2, 9.0, 400)
        for f in np.linspace(1.4, 1.6, 20)
    ]
    assert found.low <= min(grid)
    assert max(grid) <= found.high <= max(grid) * 1.001
    assert found.confidence == pytest.approx(0.90)


@pytest.mark.parametrize(
    ("more", "factor"),
    [
        ({}, 2.0),
        ({"momentum": 0.9}, 3.8),
        ({"momentum": 0.9, "nesterov": True}, 3.8 / 2.8),
    ],
)
def test_momentum_in_gradient_descent(more: dict[str, object], factor: float) -> None:
    """The thresholds, and a run of the optimizer itself just below and just above them."""
    sharpness = 5.0
    rule = gradient_descent_rule(TrainingRun(**more), curvature(np.diag([sharpness, 1.0])))  # type: ignore[arg-type]
    limit = rule.max_lr.value
    assert limit == pytest.approx(factor / sharpness)
    for share, stays in ((0.98, True), (1.02, False)):
        x = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.SGD([x], lr=share * limit, **more)  # type: ignore[arg-type]
        for _ in range(600):
            optimizer.zero_grad()
            (sharpness * x.square().sum() / 2).backward()
            optimizer.step()
        assert (abs(x.item()) < 1.0) == stays


def test_weight_decay_shifts_the_hessian() -> None:
    run = TrainingRun(weight_decay=0.5)
    assert gradient_descent_rule(run, curvature(np.diag([1.5]))).max_lr.value == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("run", "word"),
    [
        (run_of(1, 4, optimizer="adam"), "preconditioned"),
        (run_of(1, 4, momentum=0.9, nesterov=True), "momentum"),
        (run_of(1, 4, weight_decay=0.1), "rank"),
        (run_of(1, 4, elsewhere="this is split 'test'"), "split"),
        (run_of(1, 4, frozen="batch norm"), "batch norm"),
        (run_of(1, 4, interpolates=False), "not fitted"),
        (run_of(4, 4), "full batches"),
        (run_of(1, 4, square_loss=False), "square loss"),
    ],
)
def test_what_does_not_apply_says_why(run: TrainingRun, word: str) -> None:
    rule = trace_frobenius_rule(run, curvature(np.eye(2)))
    assert word in rule.excluded
    verdict = judge(rule, 0.1, 0.05)
    assert verdict.verdict == "not_applicable"
    assert word in verdict.why


@pytest.mark.parametrize(
    ("lr", "verdict"),
    [
        (0.5, "consistent"),
        (0.97, "at_edge"),
        (1.04, "at_edge"),
        (1.15, "inconclusive"),
        (1.3, "violated"),
        (None, "not_applicable"),
    ],
)
def test_verdicts(lr: float | None, verdict: str) -> None:
    condition = Condition("id", "title", Estimate(1.0, 0.8, 1.2, 0.95))
    assert judge(condition, lr, 0.05).verdict == verdict


def test_an_open_interval_is_never_violated() -> None:
    condition = Condition("id", "title", Estimate(1.0, 0.5, math.inf, 0.95))
    assert judge(condition, 100.0, 0.05).verdict == "inconclusive"


def test_smallest_limit_leaves_out_what_does_not_apply() -> None:
    conditions = [
        Condition("a", "a", Estimate(1.0, 0.9, 1.1, 0.95)),
        Condition("b", "b", Estimate(0.5, 0.4, 1.3, 0.95)),
        Condition("c", "c", exact(0.1), excluded="no"),
    ]
    found = smallest_limit(conditions)
    assert (found.value, found.low, found.high) == (0.5, 0.4, 1.1)
    assert found.confidence == pytest.approx(0.90)
    assert not smallest_limit(conditions[2:]).exists


def test_linear_regression_end_to_end_against_running_gradient_descent() -> None:
    """The rule's learning rate, from data to verdict, is where full-batch descent turns over."""
    torch.manual_seed(0)
    x = torch.randn(30, 4)
    solution = torch.randn(4, 1)
    module = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        module.weight.copy_(solution.T)
    loss = LossSpec(name="mse")
    training = Training(optimizer="sgd", lr=0.1, batch_size=30, samples=30)
    report = analyze(
        module,
        (x, x @ solution),
        loss,
        training=training,
        only=["stability"],
        settings={"run": {"dtype": "float64"}},
    )
    limit = report.metrics["stability/gd_max_lr"].value
    for share, stays in ((0.98, True), (1.02, False)):
        weight = solution + 1e-3
        for _ in range(400):
            weight = weight - share * limit * 2 * x.T @ (x @ weight - x @ solution) / 30
        assert (float((weight - solution).norm()) < 1e-2) == stays
    assert report.metrics["stability/interpolates"].value == 1.0
    assert report.metrics["stability/sgd_max_lr"].value <= limit


def test_unknown_learning_rate_still_gives_thresholds() -> None:
    torch.manual_seed(0)
    data = (torch.randn(12, 3), torch.randint(0, 2, (12,)))
    report = analyze(nn.Linear(3, 2), data, only=["stability"])
    assert report.metrics["stability/gd_max_lr"].exists
    assert {verdict.verdict for verdict in report.verdicts} == {"not_applicable"}
    assert any("--lr" in verdict.why for verdict in report.verdicts)


@pytest.mark.long
@pytest.mark.parametrize("replacement", [False, True])
def test_batch_sharpness_is_the_mean_over_batches(replacement: bool) -> None:
    """Linear regression, B = 2: the mean over all pairs as they are drawn, by enumeration."""
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(3, 3)), generator.normal(size=(3, 1))
    weight = np.array([[0.3], [-0.2], [0.1]])
    quotients = []
    for first in range(3):
        for second in range(3) if replacement else range(first + 1, 3):
            part = x[[first, second]]
            slope = part.T @ (part @ weight - y[[first, second]])
            quotients.append(((part @ slope) ** 2).sum() / (slope**2).sum())
    module = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(weight.T))
    report = analyze(
        module,
        (torch.from_numpy(x), torch.from_numpy(y)),
        LossSpec(name="mse"),
        training=Training(optimizer="sgd", lr=0.1, batch_size=2, samples=3),
        only=["stability"],
        settings={
            "run": {"dtype": "float64", "confidence": 0.999},
            "stability": {"max_batches": 2000, "batch_tolerance": 0.03, "replacement": replacement},
        },
    )
    found = report.metrics["stability/batch_sharpness"]
    assert found.low <= np.mean(quotients) <= found.high
    assert found.high - found.low < 0.4 * found.value


def test_with_replacement_a_batch_of_all_samples_is_not_the_whole_set() -> None:
    """One output, one weight: every batch's quotient is 2 mean x², whose mean is exact."""
    x = torch.arange(1.0, 5.0, dtype=torch.float64)[:, None]
    report = analyze(
        nn.Linear(1, 1, bias=False),
        (x, 3 * x),
        LossSpec(name="mse"),
        training=Training(optimizer="sgd", lr=0.01, batch_size=4, samples=4),
        only=["stability"],
        settings={"run": {"dtype": "float64"}, "stability": {"replacement": True}},
    )
    found = report.metrics["stability/batch_sharpness"]
    assert found.low < 2 * float(x.square().mean()) < found.high
    assert found.confidence < 1.0
    assert "with replacement" in found.method


def test_peak_of_rule_3_with_outputs():
    run = TrainingRun(batch_size=2, samples=4, square_loss=True, interpolates=True, outputs=5)
    p = noise_share(2, 4)
    known = Curvature(
        Estimate.exact(3.0, method=""),
        Estimate(2.0, 0.5, 9.0, 0.95),
        Estimate.exact(1.5, method=""),
    )
    t = np.linspace(0.5, 9.0, 4000)
    assert trace_frobenius_rule(run, known).max_lr.high == pytest.approx(
        (2 * t / ((1 - p) * 2.25 + p * t**2 / 5)).max(), rel=1e-5
    )


def test_facts_of_the_run_reach_the_rules():
    torch.manual_seed(0)
    x, w = torch.randn(20, 3), torch.randn(4, 3)
    module = nn.Linear(3, 4, bias=False)
    module.weight.data.copy_(w)

    def run(y, m=module):
        return analyze(
            m,
            (x, y),
            "mse",
            only=["stability"],
            training=Training(optimizer="sgd", lr=0.1, batch_size=2),
            settings={"run": {"dtype": "float64"}},
        )

    assert "K = 4" in run(x @ w.T).metrics["stability/trace_frobenius_max_lr"].method
    half = run(x @ w.T + 0.5 * (x @ w.T).std() * torch.randn(20, 4))
    assert half.metrics["stability/interpolates"].value == 0.0


def test_batch_norm_excludes_the_rules_on_the_running_statistics():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
    report = analyze(
        module,
        (torch.randn(20, 4), torch.randint(0, 2, (20,))),
        only=["stability"],
        training=Training(optimizer="sgd", lr=0.1, batch_size=5),
    )
    verdict = {v.id: v for v in report.verdicts}["stability.gd"]
    assert verdict.verdict == "not_applicable"
    assert "batch norm" in verdict.why


def test_product_with_the_learning_rate_and_batch_pilot(monkeypatch):
    torch.manual_seed(0)
    data = (torch.randn(20, 3), torch.randn(20, 1))
    values = iter([1.0, 3.0] + [2.0] * 200)
    for module in (stability_run, sampling):
        monkeypatch.setattr(module, "PILOT", 2)
    monkeypatch.setattr(stability_run, "batch_curvature", lambda *_, **_options: next(values))
    m = analyze(
        nn.Linear(3, 1),
        data,
        "mse",
        only=["stability"],
        training=Training(optimizer="sgd", lr=0.3, batch_size=4),
        settings={"stability": {"max_batches": 4}},
    ).metrics
    assert m["stability/sharpness_times_lr"].value == pytest.approx(
        0.3 / m["stability/gd_max_lr"].value
    )
    assert m["stability/batch_sharpness"].stderr == pytest.approx(math.sqrt(2) / 2)


def test_the_trace_rule_counts_outputs() -> None:
    """Eight outputs, B = 1: 2K/tr; SGD at half of it stays, far above 2/tr."""
    torch.manual_seed(0)
    x, weight = torch.randn(12, 3), torch.randn(8, 3)
    module = nn.Linear(3, 8, bias=False)
    module.weight.data.copy_(weight)
    training = Training(optimizer="sgd", lr=0.1, batch_size=1, samples=12)
    settings = {"run": {"dtype": "float64"}}
    found = analyze(
        module, (x, x @ weight.T), "mse", only=["stability"], training=training, settings=settings
    ).metrics
    limit = found["stability/trace_max_lr"].value
    assert limit == pytest.approx(16 / (2 * float(x.square().sum(1).mean())), rel=0.03)
    moved = weight + 1e-3
    for step in range(600):
        row = x[step % 12]
        moved = moved - limit / 4 * 2 / 8 * torch.outer((moved - weight) @ row, row)
    assert float((moved - weight).norm()) < 1e-4


def test_a_constant_predictor_does_not_interpolate() -> None:
    targets = torch.tensor([[10.0, -10.0]] * 20) + 0.1 * torch.randn(20, 2)
    module = nn.Linear(3, 2)
    module.weight.data.zero_()
    module.bias.data.copy_(targets.mean(0))
    found = analyze(module, (torch.randn(20, 3), targets), "mse", only=["stability"]).metrics
    assert found["stability/interpolates"].value == 0.0


def test_an_eigenvalue_that_has_not_converged_decides_nothing() -> None:
    condition = Condition("id", "title", Estimate(1.0, 0.9, 1.1, converged=False))
    assert judge(condition, 5.0, 0.05).verdict == "inconclusive"


def test_batches_without_a_gradient_have_no_sharpness() -> None:
    x = torch.randn(12, 3)
    module = nn.Linear(3, 1, bias=False)
    training = Training(optimizer="sgd", lr=0.1, batch_size=2, samples=12)
    settings = {"run": {"dtype": "float64"}}
    y = (x.double() @ module.weight.data.double().T).detach()
    found = analyze(
        module, (x, y), "mse", only=["stability"], training=training, settings=settings
    ).metrics["stability/batch_sharpness"]
    assert not found.exists
    assert "gradient" in found.why


def test_a_limit_far_above_the_smallest_does_not_weaken_it() -> None:
    conditions = [
        Condition("a", "a", exact(1.0)),
        Condition("b", "b", Estimate(5.0, 4.0, 6.0, 0.95, converged=False)),
    ]
    found = smallest_limit(conditions)
    assert (found.value, found.confidence, found.converged) == (1.0, 1.0, True)
