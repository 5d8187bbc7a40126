"""Metrics over two runs of a batch, by hand: what the figure of a batch draws."""

import math

from lla_plots import courses

from lla.batch.gathering import Course
from lla.batch.outliers import Outlier
from lla.estimate import Estimate

_EPOCHS = 8
CAPTION = "16 checkpoints · 14,458 parameters · 1437 samples of digits.npz (train)"


def course(path, title, values, halves, units=""):
    """A metric: values of both runs, one after the other, with half-widths; None: no value."""
    found = tuple(
        Estimate.missing("not analysed") if value is None else
        Estimate(value, value - half, value + half, 0.95)
        for value, half in zip(values, halves, strict=True)
    )  # fmt: skip
    none = ("",) * len(found)
    return Course(path, title, units, path, title, True, found, none, none)


def drawn():
    """Four panels: exact values; wide intervals and an outlier; a gap; over decades."""
    epochs = range(_EPOCHS)
    falling = [1 / (1 + at) for at in epochs] + [0.8 * math.exp(-at / 3) for at in epochs]
    sharp = [20 + 3 * at for at in epochs] + [18 + 2 * at for at in epochs]
    sharp[5] = 70
    gap = [0.5, 0.6, 0.7, None, None, 0.9, 0.92, 0.93, *(0.4 + 0.05 * at for at in epochs)]
    decades = [10.0 ** (at / 2 - 1) for at in epochs] + [10.0 ** (2 - at / 3) for at in epochs]
    shown = [
        course("loss/value", "loss", falling, [0.0] * 16),
        course("hessian/lambda_max", "λ_max", sharp, [1.0 + 0.5 * (at % 8) for at in range(16)]),
        course("loss/accuracy", "accuracy", gap, [0.01] * 16),
        # Half as wide as the value is large, and below zero at one place: a log scale ends there.
        course("hessian/trace", "trace of the Hessian", decades,
               [0.5 * x if x < 50 else 2 * x for x in decades], "loss"),
    ]  # fmt: skip
    runs = [
        courses.Line(f"lr{lr}/epoch_*", "epoch", tuple(range(first, first + _EPOCHS)),
                     tuple(float(at) for at in range(1, _EPOCHS + 1)))
        for lr, first in (("0.1", 0), ("0.2", _EPOCHS))
    ]  # fmt: skip
    odd = [Outlier(5, "hessian/lambda_max", 9.0, 8.0, 10.0, 25.0, 8, "far above")]
    return shown, runs, odd, CAPTION
