import math
import subprocess
import sys

import numpy as np
import pytest

from lla.estimate import Estimate, Label
from lla.numbers import confidence, interval, metric, number, outcome, seconds, spread


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (97.3322873678128, "97.33"),
        (0.0205481660, "0.02055"),
        (14458, "14,458"),
        (0.0, "0"),
        (-0.7155, "-0.7155"),
        (1.25e-7, "1.25e-7"),
        (3.14159e12, "3.142e12"),
        (math.nan, "—"),
        (None, "—"),
        (math.inf, "∞"),
        (-math.inf, "-∞"),
    ],
)
def test_numbers(x, text):
    assert number(x) == text


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (97.33, 97.31, 97.35, "97.33 [97.31, 97.35]"),
        (84.812, 64.670, 104.954, "84.81 [64.67, 104.95]"),
        (0.028960, -0.001429, 0.059349, "0.02896 [-0.00143, 0.05935]"),
        (97.3322873, 97.3322647, 97.3323099, "97.3323 ± 2.3e-5"),
        (138.2651, 138.25681, 138.27339, "138.27 [138.26, 138.27]"),
        (2.0, 2.0, 2.0, "2"),
        (0.0, -0.5, 0.5, "0.0000 [-0.5000, 0.5000]"),
        (0.02, 0.015, math.inf, "0.02000 [0.01500, ∞]"),
        (0.02, -math.inf, math.inf, "0.02000 [-∞, ∞]"),
        (2e-9, 1e-9, 3e-9, "2e-9 [1e-9, 3e-9]"),
        (5.0, math.nan, math.nan, "5"),
    ],
)
def test_intervals(value, low, high, text):
    assert interval(Estimate(value, low, high)) == text


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (97.3322, 97.3318, 97.3327, "97.332 ± 0.001"),
        (394.18, 390.64, 397.72, "394.2 ± 3.6"),
        (17.24, 17.05, 17.43, "17.24 ± 0.19"),
        (-0.0073512, -0.0073547, -0.0073477, "-0.0073512 ± 3.5e-6"),
        (0.9454, 0.0002, 0.9758, "0.95 [0.00, 0.98]"),
        (5.0, 5.0, 5.0, "5"),
        (1437.0, 1400.0, 1474.0, "1,437 ± 37"),
        (0.001, -4.0, 4.0, "0 ± 4.1"),
        (-1e-9, -4.0, 4.0, "0 ± 4.0"),
        (1.5e9, 1.4e9, 1.6e9, "1.5e9 ± 1e8"),
        (2.0, 1.0, math.inf, "2.000 [1.000, ∞]"),
    ],
)
def test_spreads(value, low, high, text):
    assert spread(Estimate(value, low, high)) == text


def test_spreads_hold_the_interval():
    """What is shown, taken at its word, holds what it stands for; at any size and width."""
    random = np.random.default_rng(0)
    for _ in range(2000):
        value = random.normal() * 10 ** random.uniform(-7, 7)
        below, above = abs(value) * 10 ** random.uniform(-8, 1, 2)
        text = spread(Estimate(value, value - below, value + above), int(random.integers(3, 7)))
        numbers = [
            float(word.strip("[],").replace(",", "")) for word in text.split() if word != "±"
        ]
        if "±" in text:
            shown, half = numbers
            low, high = shown - half, shown + half
        else:
            shown, low, high = numbers
        slack = 1e-5 * max(below, above)
        assert low <= value - below + slack, text
        assert value + above <= high + slack, text
    assert spread(Estimate.missing("none")) == "—"


def test_missing_values_say_why():
    assert interval(Estimate.missing("no classes")) == "—, because no classes"
    assert interval(Estimate.missing("")) == "—"
    assert confidence(Estimate.missing("no classes")) == ""


def test_confidence_in_words():
    assert confidence(Estimate(1.0, 0.9, 1.1, 0.95)) == "95 %"
    assert confidence(Estimate(1.0, 0.9, 1.1, 0.999)) == "99.9 %"
    assert confidence(Estimate(1.0, 0.9, 1.1)) == "certified"
    assert confidence(Estimate(1.0, 1.0, 1.0)) == "exact"
    assert confidence(Estimate(1.0, 0.9, 1.1, 0.95, converged=False)) == "95 %, not converged"
    assert confidence(Estimate(1.0, 0.9, 1.1, converged=False)) == "not converged"


def test_labels_outcomes_durations():
    assert metric(Label("mainly_positive", "C_t = 1")) == "mainly positive (C_t = 1)"
    assert metric(Label("hessian", "Hessian")) == "hessian"
    assert metric(Estimate(1.5, 1.5, 1.5)) == "1.5"
    assert outcome("at_edge") == "at the edge"
    assert outcome("of_another_kind") == "of another kind"
    assert [seconds(s) for s in (0.5812, 172.14, 1500.0, 7500.0)] == [
        "0.58 s",
        "172 s",
        "25 min",
        "2 h 5 min",
    ]


def test_numbers_load_no_matplotlib():
    code = "import sys, lla.numbers; assert not {'matplotlib', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
