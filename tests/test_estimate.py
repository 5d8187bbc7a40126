import math

import numpy as np
import pytest

from lla.estimate import Estimate, Verdict, alike, mean_of, ratio_of_means, student_quantile


def test_student_quantiles_are_those_of_the_tables() -> None:
    assert student_quantile(0.95, 9) == pytest.approx(2.262, abs=1e-3)
    assert student_quantile(0.99, 4) == pytest.approx(4.604, abs=1e-3)


def test_mean_and_its_interval_by_hand() -> None:
    found = mean_of([1.0, 2.0, 3.0, 6.0], 0.95, method="m")
    deviation = math.sqrt((4 + 1 + 0 + 9) / 3)
    assert found.value == 3.0
    assert found.stderr == pytest.approx(deviation / 2)
    assert found.high - found.value == pytest.approx(3.182 * deviation / 2, rel=1e-3)


def test_a_pilot_gives_variance_and_degrees_of_freedom() -> None:
    found = mean_of([1.0, 3.0, 2.0, 2.0], 0.95, pilot=2, method="m")
    assert found.stderr == pytest.approx(math.sqrt(2.0) / 2)
    assert found.high - found.value == pytest.approx(12.706 * found.stderr, rel=1e-3)
    # A pilot that happened to agree does not hide the spread of the others.
    wide = mean_of([2.0, 2.0, 0.0, 8.0], 0.95, pilot=2, method="m")
    assert wide == mean_of([2.0, 2.0, 0.0, 8.0], 0.95, method="m")


@pytest.mark.long
def test_stopping_by_a_pilot_keeps_the_level() -> None:
    """Two stages (Stein): the number of samples follows from the pilot's variance."""
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        pilot = generator.normal(1.0, 1.0, 10)
        wanted = max(10, math.ceil((2.262 * pilot.std(ddof=1) / 0.3) ** 2))
        samples = np.concatenate([pilot, generator.normal(1.0, 1.0, wanted - 10)])
        found = mean_of(samples, 0.95, pilot=10, method="")
        covered += found.low <= 1.0 <= found.high
    assert 0.94 <= covered / 2000 <= 0.97


def test_ratio_of_means_is_not_the_mean_of_ratios() -> None:
    found = ratio_of_means([1.0, 3.0], [1.0, 1.5], 0.95, method="")
    assert found.value == pytest.approx(4.0 / 2.5)


@pytest.mark.long
def test_ratio_intervals_cover() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(1000):
        under = generator.normal(5.0, 1.0, 20)
        over = 0.4 * under + generator.normal(1.0, 0.5, 20)
        found = ratio_of_means(over, under, 0.95, method="")
        covered += found.low <= 3.0 / 5.0 <= found.high
    assert covered / 1000 >= 0.92


def test_a_falling_function_turns_the_interval_round() -> None:
    found = Estimate(4.0, 2.0, 8.0).map(lambda value: 1 / value, method="inverse")
    assert (found.value, found.low, found.high) == (0.25, 0.125, 0.5)


def test_missing_values_say_why() -> None:
    found = Estimate.missing("no classes").map(abs, method="")
    assert not found.exists
    assert found.why == "no classes"


def test_verdicts_are_one_of_five() -> None:
    with pytest.raises(ValueError, match="maybe"):
        Verdict("id", "maybe", "")  # type: ignore[arg-type]


def test_delta_method_by_hand():
    over, under = np.array([1.0, 3.0, 2.0]), np.array([1.0, 1.5, 2.5])
    found = ratio_of_means(over, under, 0.95, method="")
    err = ((over - 1.2 * under) / (5 / 3)).std(ddof=1) / math.sqrt(3)
    assert found.stderr == pytest.approx(err)
    assert ratio_of_means(2 * under, under, 0.95, method="").stderr == pytest.approx(0, abs=1e-15)


def test_verdicts_alike_come_together_the_gravest_first() -> None:
    said = [
        Verdict("a", "consistent", "below"),
        Verdict("b", "not_applicable", "batch norm"),
        Verdict("c", "violated", "above"),
        Verdict("d", "not_applicable", "no sample"),
        Verdict("e", "not_applicable", "batch norm"),
    ]
    found = [(outcome, why, [one.id for one in those]) for outcome, why, those in alike(said)]
    assert found == [
        ("violated", "above", ["c"]),
        ("consistent", "below", ["a"]),
        ("not_applicable", "batch norm", ["b", "e"]),
        ("not_applicable", "no sample", ["d"]),
    ]
