"""Gauss rules, and what is read from nodes and weights."""

import numpy as np
import pytest

from lla.krylov import Quadrature, gauss_rule, smoothed_density
from lla.seeding import gaussian
from tests.krylov.runs import SPECTRUM
from tests.oracles import rotated


def test_quadrature_integrates_polynomials_exactly() -> None:
    """m nodes of Gauss quadrature are exact up to degree 2m − 1, and not beyond."""
    matrix = rotated(SPECTRUM)
    start = gaussian(len(matrix), 0, "start", 0)
    unit = start / start.norm()
    nodes, weights = gauss_rule(matrix.numpy(), start.numpy(), 5)
    moment = unit.clone()
    for degree in range(11):
        expected = float(unit @ moment)
        found = float((weights * nodes**degree).sum())
        if degree <= 9:
            assert found == pytest.approx(expected, rel=1e-9)
        else:
            assert found != pytest.approx(expected, rel=1e-9)
        moment = matrix @ moment


def test_density_keeps_its_mass_and_place() -> None:
    quadrature = Quadrature(np.array([[0.0, 2.0]]), np.array([[0.75, 0.25]]))
    edges = np.linspace(-1, 3, 401)
    (curve,) = smoothed_density(quadrature, edges, 0.05)
    centres, cell = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
    assert curve.sum() * cell == pytest.approx(1.0)
    assert curve[centres > 1].sum() * cell == pytest.approx(0.25)
    assert centres[curve.argmax()] == pytest.approx(0.0, abs=cell)
    peak = 0.75 / (0.05 * np.sqrt(2 * np.pi))
    assert curve.max() == pytest.approx(peak, rel=1e-2)


RULES = Quadrature.of(
    [
        (np.array([-2.0, -0.25, 0.5, 4.0]), np.array([0.1, 0.2, 0.3, 0.4])),
        (np.array([3.0, -1.0]), np.array([0.25, 0.75])),  # two steps, in no order
    ]
)


def test_shorter_rules_are_filled_up() -> None:
    assert RULES.nodes.shape == RULES.weights.shape == (2, 4)
    assert np.isnan(RULES.nodes[1, 2:]).all()
    assert RULES.weights.sum(axis=1).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("power", "sign", "floor", "expected"),
    [
        (1.0, 1, 0.0, [0.15 + 1.6, 0.75]),
        (1.0, -1, 0.0, [0.2 + 0.05, 0.75]),
        (0.5, 1, 0.0, [0.15**0.5 + 1.6**0.5, 0.75**0.5]),
        (1.0, 1, 0.5, [1.6, 0.75]),
        (1.0, -1, 0.5, [0.2, 0.75]),
        (1.0, -1, 1.5, [0.2, 0.0]),
    ],
)
def test_sums_of_powers_by_hand(power: float, sign: int, floor: float, expected: list) -> None:
    np.testing.assert_allclose(RULES.power_sums(power, sign, floor), expected)


@pytest.mark.parametrize(
    ("radius", "inside", "low", "high"),
    [
        (0.3, [0.2, 0.0], [0.0, 0.0], [0.6, 1.0]),
        (1.0, [0.5, 0.75], [0.0, 0.0], [1.0, 1.0]),
        (2.5, [0.6, 0.75], [0.2, 0.0], [1.0, 1.0]),
        (9.0, [1.0, 1.0], [0.5, 0.0], [1.0, 1.0]),
    ],
)
def test_the_share_near_zero_by_hand(radius: float, inside: list, low: list, high: list) -> None:
    """Inside weights; those less the first and the last; those with the next ones outside."""
    found = RULES.share_within(radius)
    np.testing.assert_allclose(found, [inside, low, high], atol=1e-15)


def test_both_ends_count_as_within() -> None:
    rule = Quadrature(np.array([[-1.0, 0.0, 1.0]]), np.array([[0.2, 0.5, 0.3]]))
    assert rule.share_within(1.0)[0] == pytest.approx([1.0])
    assert rule.share_within(0.99)[0] == pytest.approx([0.5])


def test_the_bounds_are_those_of_chebyshev_markov_and_stieltjes() -> None:
    """They hold the share of any measure with the same moments: here of the matrix itself."""
    values = np.sort(np.random.default_rng(0).normal(size=60))
    start = np.random.default_rng(1).normal(size=60)
    shares = start**2 / (start @ start)
    rules = [gauss_rule(np.diag(values), start, steps) for steps in (3, 6, 12, 24)]
    for radius in (0.05, 0.3, 1.0, 2.0):
        truth = shares[np.abs(values) <= radius].sum()
        _, low, high = Quadrature.of(rules).share_within(radius)
        assert (low <= truth).all()
        assert (truth <= high).all()


def test_a_rule_ends_where_its_space_does() -> None:
    """A vector of two eigenvectors has two nodes, however many are asked for; nothing has none."""
    matrix = rotated([3.0, 3.0, -1.0, 0.5, 0.0]).numpy()
    values, vectors = np.linalg.eigh(matrix)
    vector = 2 * (0.6 * vectors[:, 0] + 0.8 * vectors[:, 4])
    nodes, weights = gauss_rule(matrix, vector, 5)
    np.testing.assert_allclose(nodes, [values[0], values[4]])
    np.testing.assert_allclose(weights, [0.36, 0.64])
    assert [len(part) for part in gauss_rule(np.zeros((0, 0)), np.zeros(0), 3)] == [0, 0]
    assert gauss_rule(np.zeros((2, 2)), np.ones(2), 3)[0].tolist() == [0.0]
    # All nodes there are: the eigenvalues, with the squares of the vector's coordinates.
    whole = gauss_rule(np.diag([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 2.0]), 9)
    np.testing.assert_allclose(whole, [[1.0, 2.0, 4.0], [1 / 9, 4 / 9, 4 / 9]])


@pytest.mark.parametrize("scale", [1e-13, 1.0, 1e9])
def test_rules_scale_with_the_matrix_and_not_with_the_vector(scale: float) -> None:
    matrix = rotated(SPECTRUM).numpy()
    vector = np.random.default_rng(0).normal(size=len(matrix))
    nodes, weights = gauss_rule(matrix, vector, 20)
    found = gauss_rule(scale * matrix, vector / scale, 20)
    np.testing.assert_allclose(found[0], scale * nodes, rtol=1e-8, atol=1e-10 * scale)
    np.testing.assert_allclose(found[1], weights, rtol=1e-6, atol=1e-12)
