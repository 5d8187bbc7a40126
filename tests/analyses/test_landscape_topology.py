"""Merge trees against counted components; curves and barriers against formulas."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from lla.analyses.landscape.adaptive import refined
from lla.analyses.landscape.evaluation import Linear, Surveyor
from lla.analyses.landscape.paths import Curve, barrier_of, trained
from lla.analyses.landscape.topology import topology_of
from lla.problem import from_objects

GRID = np.linspace(-1, 1, 40)
X, Y = np.meshgrid(GRID, GRID, indexing="ij")
GENERATOR = np.random.default_rng(0)

SURFACES = {
    "bowl": X**2 + 3 * Y**2,
    "two wells": (X**2 - 0.4) ** 2 + Y**2 + 0.05 * X,
    "ripples": X**2 + Y**2 + 0.3 * np.sin(9 * X) * np.cos(7 * Y),
    "noise": GENERATOR.random((40, 40)),
    "plateaus": np.round(4 * GENERATOR.random((40, 40))),
    "holes": np.where(GENERATOR.random((40, 40)) < 0.4, np.nan, GENERATOR.random((40, 40))),
}


@pytest.mark.parametrize("name", SURFACES)
def test_branches_count_the_components_at_every_level(name: str) -> None:
    """At each level as many branches live as {L ≤ level} has connected components."""
    loss = SURFACES[name]
    found = topology_of(GRID, GRID, loss, np.zeros_like(loss))
    ends = np.where(np.isnan(found.saddle_loss), np.inf, found.saddle_loss)
    for level in np.quantile(loss[np.isfinite(loss)], np.linspace(0, 1, 30)):
        living = int(((found.loss <= level) & (level < ends)).sum())
        count = ndimage.label(loss <= level, structure=np.ones((3, 3)))[1]
        assert living == count, level


def test_the_tree_of_two_wells() -> None:
    found = topology_of(GRID, GRID, SURFACES["two wells"], np.zeros((40, 40)))
    assert len(found.loss) == 2
    assert found.parent.tolist() == [-1, 0]
    assert found.alpha[0] < 0 < found.alpha[1]  # the deeper one first
    assert abs(found.saddle_alpha[1]) < 0.1
    assert found.persistence[1] == pytest.approx(0.16 - 0.0316 + 0.0, abs=5e-3)
    assert np.isnan(found.persistence[0])


def test_branches_within_the_error_are_left_out() -> None:
    loss = SURFACES["ripples"]
    exact = topology_of(GRID, GRID, loss, np.zeros_like(loss))
    rough = topology_of(GRID, GRID, loss, np.full_like(loss, 0.05))
    kept = exact.persistence > 0.2
    assert len(rough.loss) == kept.sum() + 1 < len(exact.loss)
    assert (rough.parent < len(rough.loss)).all()


FUNCTIONS = {
    "quadratic": lambda x, y: 2 * x**2 + 0.3 * y**2 + x * y,
    "valley": lambda x, y: (1 - 2 * x) ** 2 + 10 * (2 * y - 4 * x * x) ** 2,
    "ripples": lambda x, y: x * x + y * y + 0.2 * np.sin(6 * x) * np.cos(5 * y),
    "kinks": lambda x, y: np.abs(x + 0.3 * y) + 0.5 * np.abs(y),
    "steep": lambda x, y: np.exp(3 * x) + np.exp(-2 * y),
    "edge": lambda x, y: np.where(x + y > 1.2, np.nan, np.sqrt(np.maximum(1.2 - x - y, 0))),
    "flat": lambda x, y: np.full_like(x, 2.0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_filled_grid_is_as_exact_as_asked(name: str) -> None:
    function, accuracy = FUNCTIONS[name], 0.01
    truth = function(X, Y)
    finite = np.isfinite(truth)

    def evaluate(places: np.ndarray) -> np.ndarray:
        row = function(GRID[places[:, 0]], GRID[places[:, 1]])
        return np.stack([row, -row])

    found = refined(evaluate, truth.shape, accuracy)
    span = max(np.ptp(truth[finite]), 1e-9)
    off = np.abs(found.values[0] - truth)
    assert off[finite].max() <= accuracy * span
    assert off[found.evaluated & finite].max() == 0
    assert found.met
    assert found.evaluated.mean() < 0.6
    assert found.error[finite].max() <= accuracy * span
    assert (found.error[found.evaluated] == 0).all()
    assert off[finite].max() <= max(found.error[finite].max(), 1e-12)
    assert not np.isfinite(found.values[0][~finite & found.evaluated]).any()


def test_a_grid_that_nothing_predicts_is_evaluated_whole() -> None:
    noise = GENERATOR.random((20, 20))
    found = refined(lambda places: noise[tuple(places.T)][None], noise.shape, 0.01)
    assert found.evaluated.all()
    np.testing.assert_array_equal(found.values[0], noise)
    assert found.met  # nothing is left to predict


class Ring(nn.Module):
    """A loss of two parameters that is low on a circle: (|θ|² − 1)²."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.tensor([1.0, 0.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.place.square().sum() - 1).expand(len(x), 1) * x


def test_a_trained_curve_goes_around_the_barrier() -> None:
    """Between opposite points of the circle the line rises to 1; a curve need not."""
    data = (torch.ones(8, 1), torch.zeros(8, 1))
    problem = from_objects(Ring(), data, "mse", dtype="float64")
    start = problem.theta
    end = torch.tensor([-1.0, 1e-3], dtype=torch.float64)
    surveyor = Surveyor(problem, Linear(start, torch.zeros(1, 2)))
    t, loss, _, barrier = barrier_of(surveyor, lambda t: (1 - t) * start + t * end, 21)
    places = (1 - t)[:, None] * start.numpy() + t[:, None] * end.numpy()
    np.testing.assert_allclose(loss, ((places**2).sum(1) - 1) ** 2, rtol=1e-10)
    assert barrier.low <= 1.0 <= barrier.high + 1e-4
    for kind in ("bezier", "chain"):
        curve = trained(problem, end, kind, 400, seed=0, lr=0.05)
        lower = barrier_of(surveyor, curve, 21)[3]
        assert lower.value < 0.35, kind
        torch.testing.assert_close(curve(0.0), start)
        torch.testing.assert_close(curve(1.0), end)
        assert curve.length() > 2.2


def test_curves_are_those_of_their_formulas() -> None:
    a, w, b = (
        torch.randn(3, generator=torch.Generator().manual_seed(i)).double() for i in range(3)
    )
    for t in (0.0, 0.2, 0.5, 0.9, 1.0):
        expected = (1 - t) ** 2 * a + 2 * t * (1 - t) * w + t**2 * b
        torch.testing.assert_close(Curve("bezier", a, w, b)(t), expected)
        chain = a + 2 * t * (w - a) if t <= 0.5 else w + (2 * t - 1) * (b - w)
        torch.testing.assert_close(Curve("chain", a, w, b)(t), chain)
