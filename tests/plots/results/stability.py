"""Results of stability: one checkpoint, a series."""

import math
from dataclasses import replace

import numpy as np

from lla.analyses.stability import BatchSizes, Conditions, StabilityResult, TrainingSeries
from lla.estimate import Estimate, Label, Verdict
from tests.plots.results.values import certified, exact, sampled


def batch_sizes():
    """A sharpness that no batch size changes, noise that larger batches have less of, one point."""
    sizes = np.array([1.0, 8.0, 64.0, 1437.0])
    noise = 0.2 / (1 + 192 / sizes)
    point = np.array([np.nan, np.nan, 0.07, np.nan])
    limits = np.stack([np.full(4, 0.2), noise, point], axis=1)
    least = np.minimum(noise, 0.2)
    return BatchSizes(
        sizes, ("λ_max (GD)", "norms of samples' H", "batch sharpness"), limits, 0.9 * limits,
        1.2 * limits, least, 0.9 * least, 1.2 * least,
    )  # fmt: skip


def stability(lr=0.1, **changes):
    nan = math.nan
    outcomes = ("consistent", "violated", "not_applicable", "inconclusive", "at_edge")
    result = StabilityResult(
        lr=exact(lr) if lr else Estimate.missing("the learning rate is unknown; pass --lr"),
        batch_size=exact(64.0),
        momentum=exact(0.0),
        samples=exact(1437.0),
        optimizer=Label("sgd", "without momentum"),
        sharpness_times_lr=certified(0.5),
        lr_over_max_lr=sampled(2.0, 0.4),
        gd_max_lr=certified(0.2),
        preconditioned_lambda_max=Estimate.missing("sgd has no preconditioner"),
        preconditioned_max_lr=Estimate.missing("sgd has no preconditioner"),
        nonuniformity=sampled(3.0),
        nonuniformity_max_lr=sampled(0.15, 0.02),
        alignment=Estimate.missing("it is of the square loss"),
        alignment_max_lr=Estimate.missing("it is of the square loss"),
        eigenvector_max_lr=certified(0.15),
        norms_max_lr=sampled(0.12, 0.02),
        directions_max_lr=certified(0.14),
        exact_max_lr=Estimate.missing("for networks of up to 300 parameters"),
        trace_max_lr=certified(0.05),
        trace_frobenius_max_lr=Estimate.missing("it holds for the square loss only"),
        batch_sharpness=sampled(20.0, converged=False),
        batch_sharpness_max_lr=sampled(0.1, 0.02),
        sgd_max_lr=sampled(0.05, 0.01),
        interpolates=exact(1.0),
        conditions=Conditions(
            ("λ_max (GD)", "tr H", "tr H and ‖H‖", "batch sharpness", "another"),
            np.array([0.2, 0.05, nan, 0.1, np.inf]),
            np.array([0.19, 0.04, nan, 0.08, 0.1]),
            np.array([0.21, 0.06, nan, np.inf, np.inf]),
            outcomes,
        ),
        batch_sizes=batch_sizes(),
        verdicts=tuple(
            Verdict(f"stability.{name}", outcome, f"why {name}")
            for name, outcome in zip("abcde", outcomes, strict=True)
        ),
        series=None,
    )
    return replace(result, **changes)


def series(count=6, **changes):
    """A training at learning rate 0.1, lowered to 0.05 at the end, that sharpens to its edge."""
    rate = np.full(count, 0.1)
    rate[-1] = 0.05
    top = 2.2 / rate * (1 - 0.9 * np.exp(-np.arange(count)))
    found = TrainingSeries(
        names=tuple(f"epoch_{index + 1:02d}.pt" for index in range(count)),
        epoch=np.arange(1.0, count + 1),
        lr=rate,
        edge=2 / rate,
        two_over_lr=2 / rate,
        loss=np.exp(-np.arange(count) / 2),
        accuracy=np.full(count, 0.9),
        lambda_max=top,
        lambda_max_low=top * 0.999,
        lambda_max_high=top * 1.001,
        trace=5 * top,
        trace_low=4.8 * top,
        trace_high=5.2 * top,
        batch_sharpness=0.8 * top,
        batch_sharpness_low=0.7 * top,
        batch_sharpness_high=0.9 * top,
        converged=np.ones(count, dtype=bool),
        note=("",) * count,
    )
    return replace(found, **changes)


def calm():
    """Changes to a stability result after which nothing is left to do."""
    judged = (Verdict("stability.gd", "consistent", "below it"),)
    return {"verdicts": judged, "batch_sharpness": sampled(20.0)}
