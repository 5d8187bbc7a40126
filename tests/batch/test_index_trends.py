"""Slopes, orders, corrections and outliers against scipy, direct formulas and hand counts."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from lla.analyses.checkpoints import natural
from lla.batch.entry import Entry
from lla.batch.outliers import scale_of
from lla.batch.runs import places
from lla.batch.trends import holm, slope, worst_p


def named(*paths):
    return [Entry(path.rpartition(".")[0], path, f"{path}.h5", "done") for path in paths]


@pytest.mark.parametrize("count", [4, 7, 25])
def test_exact_values_have_sens_interval(count):
    rng = np.random.default_rng(count)
    x = np.sort(rng.choice(100, count, replace=False)).astype(float)
    y = np.round(3 - 0.2 * x + rng.normal(size=count), 1)
    y[1] = y[0]  # a tie
    found = stats.theilslopes(y, x, alpha=0.95)
    assert slope(x, y, y, y) == pytest.approx((found.slope, found.low_slope, found.high_slope))
    # In any order of the points.
    mixed = rng.permutation(count)
    assert slope(x[mixed], y[mixed], y[mixed], y[mixed])[0] == pytest.approx(found.slope)


def test_ties_narrow_sens_interval_as_scipy_has_it():
    x = np.arange(30.0)
    y = np.repeat([0.0, 3.0, 1.0, 5.0, 4.0], [9, 3, 8, 2, 8])
    found = stats.theilslopes(y, x, alpha=0.95)
    assert slope(x, y, y, y) == pytest.approx((found.slope, found.low_slope, found.high_slope))


def test_the_slopes_interval_holds_for_every_choice_of_values():
    rng = np.random.default_rng(1)
    x, y = np.arange(8.0), np.arange(8.0) ** 1.5
    low, high = y - rng.uniform(0, 2, 8), y + rng.uniform(0, 2, 8)
    _, least, most = slope(x, y, low, high)
    ends = []
    for choice in itertools.product((0, 1), repeat=8):
        found = stats.theilslopes(np.where(choice, high, low), x, alpha=0.95)
        ends += [found.low_slope, found.high_slope]
    assert least <= min(ends) < max(ends) <= most
    assert most - least < 3 * (max(ends) - min(ends))


def test_the_worst_p_is_that_of_the_worst_order():
    x, y = np.arange(7.0), np.array([0.0, 1, 2, 3, 4, 5, 6])
    assert worst_p(x, y, y, rising=True) == pytest.approx(2 / math.factorial(7))
    assert worst_p(x, y, y, rising=False) == 1.0
    assert worst_p(x, -y, -y, rising=False) == pytest.approx(2 / math.factorial(7))
    # Neighbours overlap: of the 21 pairs 6 may be inverted, all at once in the worst case.
    p = worst_p(x, y - 0.6, y + 0.6, rising=True)
    orders = [
        sum(a > b for a, b in itertools.combinations(order, 2))
        for order in itertools.permutations(range(7))
    ]
    assert p == pytest.approx(2 * np.mean(np.array(orders) <= 6))
    chosen = np.random.default_rng(0).uniform(-0.6, 0.6, (200, 7)) + y
    assert max(stats.kendalltau(x, one).pvalue for one in chosen) <= p
    # Two that are exact and equal are no step and no inversion: S = 20, of the orders the next.
    tied = np.array([0.0, 1, 2, 3, 4, 5, 5])
    assert worst_p(x, tied, tied, rising=True) == pytest.approx(2 * 7 / math.factorial(7))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_scale_by_hand():
    values = np.array([1.0, 2.0, 3.0, 4.0, 100.0])
    assert scale_of(values) == pytest.approx((3.0, 1.0 / 0.6745))
    assert scale_of(values)[1] == pytest.approx(
        stats.median_abs_deviation(values, scale="normal"), rel=1e-4
    )
    assert scale_of(np.array([2.0, 2.0, 2.0, 2.0, 7.0])) == pytest.approx(
        (2.0, math.sqrt(math.pi / 2))
    )
    assert scale_of(np.full(5, 0.1)) == (0.1, 0.0)
    assert scale_of(np.array([1, 1 + 2e-16, 1 - 1e-16, 1, 1])) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("paths", "runs", "numbers", "kind"),
    [
        (("r/ckpt_010.pt", "r/ckpt_002.pt"), ["r/ckpt_*"], [10, 2], "ckpt"),
        (("a/epoch_1.pt", "a/epoch_2.pt", "b/epoch_1.pt"),
         ["a/epoch_*", "b/epoch_1"], [1, 2], "epoch"),
        (("lr0.1/e_1.pt", "lr0.2/e_1.pt", "lr0.1/e_2.pt", "lr0.2/e_2.pt"),
         ["lr0.1/e_*", "lr0.2/e_*"], [1, 1, 2, 2], "epoch"),
        (("r/epoch=1-loss=0.71.ckpt", "r/epoch=2-loss=0.52.ckpt"),
         ["r/epoch=*-loss=0.*"], [1, 2], "epoch"),
        (("r/step-500/model.pt", "r/step-1000/model.pt"), ["r/step-*/model"], [500, 1000], "step"),
        (("n_seed1_epoch1.pt", "n_seed2_epoch1.pt", "n_seed1_epoch2.pt", "n_seed2_epoch2.pt"),
         ["n_seed1_epoch*", "n_seed2_epoch*"], [1, 1, 2, 2], "epoch"),
        (("seed_1.pt", "seed_2.pt"), ["seed_*"], [math.nan] * 2, ""),
        (("a1b2.pt", "a2b3.pt"), ["a*b*"], [math.nan] * 2, ""),
    ],
)  # fmt: skip
def test_runs_by_names(paths, runs, numbers, kind):
    found = places(named(*paths))
    assert sorted({one.run for one in found}) == runs
    np.testing.assert_array_equal([one.number for one in found][: len(numbers)], numbers)
    assert found[0].kind == kind


def test_runs_of_the_same_names_in_two_folders_are_two():
    entries = [
        Entry(f"e{i}{folder}", f"{path}/e{i}.pt", "", "done")
        for i in (1, 2) for folder, path in (("x", "p"), ("x", "q"))
    ]  # fmt: skip
    assert len({one.run for one in places(entries)}) == 2
    assert sorted(["e10", "e9", "e1"], key=natural) == ["e1", "e9", "e10"]
