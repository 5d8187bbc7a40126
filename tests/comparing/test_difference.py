"""Differences of estimates: by hand, and how often their intervals hold what they claim to."""

import math

import numpy as np
import pytest

from lla.comparing import Circumstances, difference, relative_change
from lla.estimate import Estimate, mean_of, student_quantile

SHARED = Circumstances(shared=True)
APART = Circumstances(shared=False)


def certified(value, below, above):
    return Estimate(value, value - below, value + above)


def student(value, half, confidence=0.95, **more):
    return Estimate(value, value - half, value + half, confidence, stderr=half / 2, **more)


def interval(value, low, high, confidence=0.95):
    return Estimate(value, low, high, confidence)


@pytest.mark.parametrize(
    ("reference", "other", "given", "expected", "confidence"),
    [
        # Bounds add: [4 − 0.5 − (1 + 0.2), 4 + 0.25 − (1 − 0.1)].
        (certified(1, 0.1, 0.2), certified(4, 0.5, 0.25), APART, (2.3, 3.35), 1.0),
        # 3-4-5.
        (student(1, 3), student(11, 4), APART, (5, 15), 0.95),
        (student(1, 3), student(11, 4), SHARED, (3, 17), 0.95),
        (student(1, 3, 0.9), student(11, 4, 0.99), SHARED, (3, 17), 0.9),
        # A bound adds to a half-width whether or not the draws are shared.
        (certified(1, 1, 1), student(11, 4), APART, (5, 15), 0.95),
        (interval(1, 0, 3), interval(11, 9, 12), SHARED, (6, 12), 0.9),
        (interval(1, 0, 3), interval(11, 9, 12), APART, (6, 12), 0.9025),
        (interval(1, 0, 3), certified(11, 1, 1), SHARED, (7, 12), 0.95),
        (interval(1, 0, 3), interval(11, 9, 12, math.nan), SHARED, (6, 12), math.nan),
    ],
)
def test_by_hand(reference, other, given, expected, confidence) -> None:
    found = difference(reference, other, given)
    assert found.value == other.value - reference.value
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)
    assert found.confidence == pytest.approx(confidence, nan_ok=True)


def test_half_widths_of_different_sides() -> None:
    """Upward the other's upper side and the reference's lower one: 3-4-5 and 5-12-13."""
    reference = Estimate(0, -4, 12, 0.95, stderr=2.0)
    other = Estimate(100, 95, 103, 0.95, stderr=2.0)
    found = difference(reference, other, APART)
    assert (found.low, found.high) == pytest.approx((87, 105))
    # A factor below zero turns the reference round: 100 + 0 − hypot(5, 4), + hypot(3, 12).
    turned = difference(reference, other, APART, times=-1)
    assert turned.low == pytest.approx(100 - math.hypot(5, 4))
    assert turned.high == pytest.approx(100 + math.hypot(3, 12))


def test_the_sample_counts_across_data_only() -> None:
    reference = student(1, 3, sampling_stderr=0.6)
    other = certified(11, 2, 2)
    sampled = Estimate(11, 9, 13, sampling_stderr=0.8)
    z = 1.959963984540054
    across = Circumstances(shared=True, sampled=True)
    found = difference(reference, sampled, across)
    # hypot(0.6, 0.8) = 1; the bound of 2 adds.
    assert found.high - found.value == pytest.approx(math.hypot(3, z) + 2)
    assert found.confidence == 0.95
    assert difference(reference, sampled, SHARED) == difference(student(1, 3), other, SHARED)


def test_exact_values_differ_beyond_rounding_only() -> None:
    eps = 2.0**-23
    given = Circumstances(eps=eps)
    one = Estimate.exact(1.0, method="", units="loss")
    near, far = (Estimate.exact(1 + k * eps, method="", units="loss") for k in (100, 200))
    assert difference(one, near, given).low < 0 < difference(one, far, given).low
    setting = Estimate.exact(0.1, method="as given")
    found = difference(setting, Estimate.exact(0.1 + 1e-9, method="as given"), given)
    assert found.low == found.high == pytest.approx(1e-9)


def test_missing_and_infinite_values() -> None:
    gone = Estimate.missing("no classes")
    for pair in ((gone, certified(1, 0, 0)), (certified(1, 0, 0), gone)):
        assert difference(*pair, SHARED).why == "no classes"
        assert relative_change(*pair, SHARED).why == "no classes"
    endless = Estimate(math.inf, 1, math.inf)
    assert not difference(endless, endless, SHARED).exists
    open_above = Estimate(2.0, 1.0, math.inf, 0.95)
    assert difference(certified(1, 0, 0), open_above, SHARED).high == math.inf


def test_relative_change_is_fiellers() -> None:
    """Factors k with (b − ka)² ≤ h_b² + k²h_a², by the quadratic formula."""
    a, b, ha, hb = 10.0, 15.0, 2.0, 3.0
    roots = np.roots([a**2 - ha**2, -2 * a * b, b**2 - hb**2])
    found = relative_change(student(a, ha), student(b, hb), APART)
    assert found.value == pytest.approx(0.5)
    assert sorted((found.low + 1, found.high + 1)) == pytest.approx(sorted(roots))
    # Of shared draws: (b ± h_b) / (a ∓ h_a).
    shared = relative_change(student(a, ha), student(b, hb), SHARED)
    assert (shared.low, shared.high) == pytest.approx((12 / 12 - 1, 18 / 8 - 1))


def test_relative_change_of_negative_values() -> None:
    """From −10 to −15 is a fall by a half; to 5, a rise by one and a half."""
    fall = relative_change(certified(-10, 1, 1), certified(-15, 1, 1), SHARED)
    assert fall.value == pytest.approx(-0.5)
    assert (fall.low, fall.high) == pytest.approx((1 - 16 / 9, 1 - 14 / 11))
    rise = relative_change(certified(-10, 1, 1), certified(5, 1, 1), SHARED)
    assert rise.value == pytest.approx(1.5)
    assert (rise.low, rise.high) == pytest.approx((1 + 4 / 9 * 9 / 11, 1 + 6 / 9))
    assert not relative_change(certified(0.5, 1, 1), certified(5, 1, 1), SHARED).exists


def covered(draws_a, draws_b, truth, given, confidence=0.95) -> float:
    """How often the interval of a difference of means holds the true one."""
    hits = 0
    for one, other in zip(draws_a, draws_b, strict=True):
        found = difference(
            mean_of(one, confidence, method=""), mean_of(other, confidence, method=""), given
        )
        hits += found.low <= truth <= found.high
    return hits / len(draws_a)


RUNS = 2000
# Three standard errors of a share of 0.95 over the runs.
SLACK = 3 * math.sqrt(0.05 * 0.95 / RUNS)


@pytest.mark.parametrize(("sizes", "ratio"), [((10, 10), 1.0), ((10, 40), 0.2), ((4, 12), 3.0)])
def test_independent_draws_cover_at_the_stated_level(sizes, ratio) -> None:
    """In quadrature at least 95 %, and not by adding: that would be 99 % and more."""
    random = np.random.default_rng(1)
    a = random.normal(5, 1, (RUNS, sizes[0]))
    b = random.normal(7, ratio, (RUNS, sizes[1]))
    level = covered(a, b, 2.0, APART)
    assert 0.95 - SLACK <= level <= 0.98
    assert covered(a, b, 2.0, SHARED) > level


@pytest.mark.parametrize("correlation", [1.0, 0.5, -0.5, -1.0])
def test_shared_draws_cover_whatever_the_correlation(correlation: float) -> None:
    """Probes shared by two matrices: their quadratic forms go together, or against each other."""
    random = np.random.default_rng(2)
    z, other = random.normal(size=(2, RUNS, 10))
    b = correlation * z + math.sqrt(1 - correlation**2) * other
    assert covered(5 + z, 7 + 1.5 * b, 2.0, SHARED) >= 0.95 - SLACK


def test_quadrature_would_not_cover_shared_draws() -> None:
    """Why the rule asks for the seed: errors that oppose each other fall out of the quadrature."""
    random = np.random.default_rng(3)
    z = random.normal(size=(RUNS, 10))
    assert covered(5 + z, 7 - z, 2.0, APART) < 0.88
    assert covered(5 + z, 7 - z, 2.0, SHARED) >= 0.95 - SLACK


def test_traces_of_two_matrices_by_shared_and_by_own_probes() -> None:
    """Hutchinson's estimates of two rotated matrices: the difference of traces is known."""
    random = np.random.default_rng(4)
    size, probes, runs = 24, 12, 1000
    turn = np.linalg.qr(random.normal(size=(size, size)))[0]
    first = turn @ np.diag(np.linspace(-1, 5, size)) @ turn.T
    # Off the diagonal the other way round: with shared probes the errors oppose each other.
    second = 1.4 * np.diag(np.diag(first)) - 0.8 * (first - np.diag(np.diag(first)))
    truth = float(np.trace(second) - np.trace(first))

    def forms(matrix, z):
        return np.einsum("rpi,ij,rpj->rp", z, matrix, z)

    z, own = random.choice([-1.0, 1.0], size=(2, runs, probes, size))
    slack = 3 * math.sqrt(0.05 * 0.95 / runs) + 0.005
    assert covered(forms(first, z), forms(second, z), truth, SHARED) >= 0.95 - slack
    assert covered(forms(first, z), forms(second, own), truth, APART) >= 0.95 - slack
    assert covered(forms(first, z), forms(second, z), truth, APART) < 0.9


def test_the_ratio_covers_as_the_difference_does() -> None:
    random = np.random.default_rng(5)
    runs = 400
    a, b = random.normal(5, 2, (runs, 10)), random.normal(7, 2, (runs, 10))
    hits = 0
    for one, other in zip(a, b, strict=True):
        found = relative_change(
            mean_of(one, 0.95, method=""), mean_of(other, 0.95, method=""), APART
        )
        hits += not found.exists or found.low <= 0.4 <= found.high
    assert hits / runs >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / runs)


def test_the_half_width_is_no_wider_than_it_has_to_be() -> None:
    """Equal variances and sizes: at most t(n−1)/t(2n−2) times as wide as the pooled interval."""
    n = 10
    ratio = student_quantile(0.95, n - 1) / student_quantile(0.95, 2 * n - 2)
    assert ratio < 1.08
    stderr = 0.1
    half = student_quantile(0.95, n - 1) * stderr
    one = Estimate(1, 1 - half, 1 + half, 0.95, stderr=stderr)
    found = difference(one, one, APART)
    pooled = student_quantile(0.95, 2 * n - 2) * math.sqrt(2) * stderr
    assert found.high == pytest.approx(ratio * pooled)
