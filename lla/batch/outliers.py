"""Which checkpoints are unlike the others of their kind: robust z, with the values' intervals.

z = 0.6745 (x − median) / MAD, and an outlier lies beyond 3.5 (Iglewicz & Hoaglin 1993), here with
its whole interval. Where more than half of the values are equal, so that the MAD is 0, the mean
absolute deviation takes its place, as they propose: z = (x − median) / (1.2533 · mean).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lla.batch.gathering import FEW_OUTLIERS, Gathered
from lla.numbers import number

__all__ = ["BEYOND", "Outlier", "outliers", "scale_of"]

BEYOND = 3.5
"""The robust z from which on a value is an outlier."""
_MAD = 0.6745  # the upper quartile of the normal distribution
_MEAN = 1.253314  # √(π/2): its standard deviation over its mean absolute deviation
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Outlier:
    """A value that is unlike the others.

    Attributes:
        row: Row of the checkpoint.
        path: The metric.
        z: Robust z of the value.
        z_low: Of the interval's lower end.
        z_high: Of its upper end.
        median: Median of the values it is held against.
        count: How many these are, itself among them.
        why: In words.
    """

    row: int
    path: str
    z: float
    z_low: float
    z_high: float
    median: float
    count: int
    why: str


def outliers(table: Gathered) -> tuple[Outlier, ...]:
    """The outliers of each judged metric, among the checkpoints of a run or of all small runs."""
    peers: dict[str, list[int]] = {}
    for index, row in enumerate(table.rows):
        peers.setdefault(row.peers, []).append(index)
    found = []
    for course in (one for one in table.courses if one.judged):
        value, low, high = (course.numbers(name) for name in ("value", "low", "high"))
        apart = np.array([bool(text) for text in course.apart_peers], dtype=bool)
        for name, members in peers.items():
            chosen = [i for i in members if math.isfinite(value[i]) and not apart[i]]
            if len(chosen) < FEW_OUTLIERS:
                continue
            median, scale = scale_of(value[chosen])
            if not scale:
                continue
            for index in chosen:
                z, least, most = (
                    float((part[index] - median) / scale) for part in (value, low, high)
                )
                if least > BEYOND or most < -BEYOND:
                    among = f"of the run {name}" if name else "of runs of fewer than 5"
                    why = (
                        f"{number(abs(z), 3)} robust standard deviations "
                        f"{'above' if z > 0 else 'below'} the median {number(median)} of the "
                        f"{len(chosen)} checkpoints {among}"
                    )
                    found.append(
                        Outlier(index, course.path, z, least, most, median, len(chosen), why)
                    )
    return tuple(sorted(found, key=lambda one: one.row))


def scale_of(values: np.ndarray) -> tuple[float, float]:
    """Median and robust standard deviation; 0 where the values do not differ beyond rounding.

    Args:
        values: Finite values, shape (n,).
    """
    median = float(np.median(values))
    away = np.abs(values - median)
    rounding = _ROUNDING * float(np.abs(values).max(initial=0.0))
    mad, mean = float(np.median(away)), float(away.mean())
    if mad > rounding:
        return median, mad / _MAD
    return median, _MEAN * mean if mean > rounding else 0.0
