"""Does a metric rise or fall over a run: Theil–Sen slopes and Kendall's τ, with the values' errors.

Each value is an interval, so a slope and an order are not known exactly either. Nothing is drawn at
random: the answer given holds for *every* choice of values within the intervals.

- Slope: the median of the slopes of all pairs (Theil 1950, Sen 1968). A pair's slope lies between
  (low_j − high_i)/(x_j − x_i) and (high_j − low_i)/(x_j − x_i), and order statistics are monotone:
  the ranks of Sen's confidence interval taken among the lower and among the upper slopes bound it.
- Order: Kendall's τ of the values. For the worst case every pair whose intervals touch counts
  against the trend; the p-value of an order with so many inversions is then the largest that any
  choice could have.
- Many metrics: Holm's correction (1979) of the worst-case p-values, over a run's headline metrics,
  and over the others.

p is the probability of so strict an order were all orders of the points equally likely.
Checkpoints of one training depend on each other, so it describes the order and proves no cause.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from lla.batch.gathering import FEW_TREND, Course, Gathered

__all__ = ["LEVEL", "Axis", "Trend", "axis_of", "holm", "kendall", "slope", "trends", "worst_p"]

LEVEL = 0.05
"""Largest corrected p-value of a trend."""

Verdict = Literal["rises", "falls", "open", "none", "constant", "few", "unordered"]


@dataclass(frozen=True)
class Axis:
    """What the checkpoints of a run are ordered by.

    Attributes:
        kind: "epoch", "step", another word in front of the number, or "" if there is no order.
        position: Of each row of the run; NaN where it is unknown.
        why: Why there is no order.
    """

    kind: str
    position: tuple[float, ...]
    why: str = ""


@dataclass(frozen=True)
class Trend:
    """A metric over a run.

    Attributes:
        path: The metric.
        run: The run.
        axis: What the run is ordered by.
        points: How many values there are.
        verdict: "rises" or "falls", whatever the values within their intervals; "open" where the
            values say so and their intervals do not; "none" shown; "constant"; "few" points;
            "unordered" where the run has no order.
        why: The reason in words.
        slope: Theil–Sen slope per unit of the axis, NaN if there is none.
        low: Lower end of its interval, for every choice of the values.
        high: Upper end.
        tau: Kendall's τ of the values.
        p: Its two-sided p-value, of the values alone.
        p_worst: The largest p-value of any choice within the intervals.
        p_holm: That, corrected for the number of metrics.
        family: How many metrics it was corrected for.
    """

    path: str
    run: str
    axis: str
    points: int
    verdict: Verdict
    why: str
    slope: float = math.nan
    low: float = math.nan
    high: float = math.nan
    tau: float = math.nan
    p: float = math.nan
    p_worst: float = math.nan
    p_holm: float = math.nan
    family: int = 0


def axis_of(table: Gathered, members: Sequence[int]) -> Axis:
    """What orders a run: the epochs that its checkpoints tell, or the number in their names."""
    done = [table.rows[index] for index in members if table.rows[index].status == "done"]
    told = [row.told for row in done]
    if _distinct(told):
        return Axis("epoch", tuple(table.rows[index].told for index in members))
    numbers = [row.place.number for row in done]
    if _distinct(numbers):
        return Axis(done[0].place.kind, tuple(table.rows[index].place.number for index in members))
    if len(done) < 2:
        why = "there is one checkpoint with values" if done else "no checkpoint has values"
    elif any(math.isnan(number) for number in numbers):
        why = "no epoch is told, and no one number in the names counts the run on"
    else:
        why = "several checkpoints have the same number"
    return Axis("", (math.nan,) * len(members), why)


def _distinct(values: Sequence[float]) -> bool:
    return len(values) > 1 and not np.isnan(values).any() and len(set(values)) == len(values)


def trends(table: Gathered) -> tuple[Trend, ...]:
    """The trend of each judged metric over each run of several checkpoints."""
    found: list[Trend] = []
    for run, members in table.runs.items():
        if len(members) < 2:
            continue
        axis = axis_of(table, members)
        courses = [course for course in table.courses if course.judged]
        for headline in (True, False):
            family = [
                _trend(course, run, members, axis)
                for course in courses
                if bool(course.title) == headline and _known(course, members)
            ]
            found += _corrected(family)
    order = {course.path: index for index, course in enumerate(table.courses)}
    runs = list(table.runs)
    return tuple(sorted(found, key=lambda one: (runs.index(one.run), order[one.path])))


def _known(course: Course, members: Sequence[int]) -> bool:
    return bool(np.isfinite(course.numbers("value")[list(members)]).any())


def _trend(course: Course, run: str, members: Sequence[int], axis: Axis) -> Trend:
    """A metric over a run, before it is corrected for the number of metrics."""
    x = np.array(axis.position, dtype=np.float64)
    value, low, high = (course.numbers(name)[list(members)] for name in ("value", "low", "high"))
    apart = np.array([bool(course.apart[index]) for index in members])
    usable = np.isfinite(value) & ~apart & (np.isfinite(x) if axis.kind else True)
    count = int(usable.sum())
    reason = next((course.apart[index] for index in members if course.apart[index]), "")
    note = f"; {int(apart.sum())} not comparable with the first ({reason})" if reason else ""
    plain = Trend(course.path, run, axis.kind, count, "few", "")
    if not axis.kind:
        return replace(plain, verdict="unordered", why=axis.why + note)
    if count < FEW_TREND:
        return replace(plain, why=f"{count} values, and a trend takes {FEW_TREND}{note}")
    x, value = x[usable], value[usable]
    low = np.where(np.isnan(low[usable]), -np.inf, low[usable])
    high = np.where(np.isnan(high[usable]), np.inf, high[usable])
    if value.min() == value.max():
        return replace(plain, verdict="constant", why=f"all {count} values are equal{note}")
    tau, p = kendall(x, value)
    middle, least, most = slope(x, value, low, high)
    return replace(
        plain, verdict="none", why=note, slope=middle, low=least, high=most, tau=tau, p=p,
        p_worst=max(p, worst_p(x, low, high, rising=tau >= 0)),
    )  # fmt: skip


def _corrected(family: Sequence[Trend]) -> list[Trend]:
    tested = [index for index, one in enumerate(family) if one.verdict == "none"]
    worst = holm([family[index].p_worst for index in tested])
    plain = holm([family[index].p for index in tested])
    found = list(family)
    for index, p_worst, p in zip(tested, worst, plain, strict=True):
        found[index] = _judged(replace(family[index], p_holm=p_worst, family=len(tested)), p)
    return found


def _judged(one: Trend, p: float) -> Trend:
    way = "rises" if one.tau > 0 else "falls"
    # 2/n!: the p-value of a strict order.
    least = one.family * 2 / math.factorial(min(one.points, 20))
    if one.p_holm <= LEVEL:
        said, why = way, f"{way} whatever the values within their intervals"
    elif p <= LEVEL:
        plain = {"rises": "rise", "falls": "fall"}[way]
        said, why = "open", f"the values {plain}, but not whatever they are within their intervals"
    elif least > LEVEL:
        said, why = (
            "few",
            f"not even a strict order of {one.points} values tells, among {one.family} metrics",
        )
    else:
        said, why = "none", "no trend is shown"
    return replace(one, verdict=said, why=why + one.why)  # type: ignore[arg-type]


def slope(
    x: np.ndarray, value: np.ndarray, low: np.ndarray, high: np.ndarray, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Theil–Sen slope and an interval that holds Sen's for every choice within the intervals.

    Args:
        x: Distinct positions, shape (n,).
        value: Values, shape (n,).
        low: Lower ends of their intervals, shape (n,); may be -inf.
        high: Upper ends.
        confidence: Of Sen's interval; where the values are exact it is just that one. Of few points
            it is the range of the pairs' slopes, whose confidence is lower (92 % for 4 points).
    """
    from scipy.special import ndtri

    order = np.argsort(x)
    x, value, low, high = x[order], value[order], low[order], high[order]
    first, second = np.triu_indices(len(x), 1)
    run = x[second] - x[first]
    pairs = len(run)
    sigma = math.sqrt(_kendall_variance(value))
    reach = float(ndtri(0.5 + confidence / 2)) * sigma
    below = max(round((pairs - reach) / 2) - 1, 0)
    above = min(round((pairs + reach) / 2), pairs - 1)
    least = np.partition((low[second] - high[first]) / run, below)[below]
    most = np.partition((high[second] - low[first]) / run, above)[above]
    return float(np.median((value[second] - value[first]) / run)), float(least), float(most)


def _kendall_variance(value: np.ndarray) -> float:
    """Variance of Kendall's S with ties among the values (Sen 1968, eq. 2.6)."""
    count = len(value)
    _, ties = np.unique(value, return_counts=True)
    plain = count * (count - 1) * (2 * count + 5)
    return float(plain - (ties * (ties - 1) * (2 * ties + 5)).sum()) / 18


def kendall(x: np.ndarray, value: np.ndarray) -> tuple[float, float]:
    """Kendall's τ-b and its two-sided p-value: exact for few values without ties."""
    from scipy.stats import kendalltau

    found = kendalltau(x, value)
    return float(found.statistic), float(found.pvalue)


def worst_p(x: np.ndarray, low: np.ndarray, high: np.ndarray, *, rising: bool) -> float:
    """The largest p-value that values within the intervals could have for a trend.

    Every pair whose intervals touch counts as an inversion of the trend; one of two exact and
    equal values as none and no step either, as in Kendall's S. The order with so many inversions
    and no ties has the p-value, which ties would make smaller.
    """
    order = np.argsort(x)
    low, high = low[order], high[order]
    first, second = np.triu_indices(len(x), 1)
    sure = low[second] > high[first] if rising else high[second] < low[first]
    tied = (low[first] == high[first]) & (low[second] == high[second]) & (low[first] == low[second])
    # S counts a pair that is surely equal as 0, any other that is not sure as -1.
    score = int(sure.sum()) - int((~sure & ~tied).sum())
    if score <= 0:
        return 1.0
    return kendall(np.arange(len(x)), _permutation(len(x), -(-(len(first) - score) // 2)))[1]


def _permutation(count: int, inversions: int) -> np.ndarray:
    """An order of ``count`` numbers with so many inversions, by its Lehmer code."""
    left, found = list(range(count)), []
    for place in range(count):
        taken = min(inversions, count - 1 - place)
        inversions -= taken
        found.append(left.pop(taken))
    return np.array(found)


def holm(values: Sequence[float]) -> list[float]:
    """p-values corrected by Holm's step-down: the chance of any false one is kept."""
    order = np.argsort(values, kind="stable")
    found, running = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(values) - rank) * float(values[index])))
        found[index] = running
    return found
