"""Spectral products as estimates: values with intervals that hold what rounding moved."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from lla.analyses.accuracy import widened
from lla.analyses.spectrum import SpectrumConfig
from lla.curvature import SummedOperator
from lla.curvature.sampling import population, sampling_error
from lla.estimate import Estimate, mean_of
from lla.krylov import Eigenpairs, LinearOperator, Probes, certified, hutchpp, xtrace
from lla.problem import Problem

__all__ = [
    "Spectrum",
    "certified_over_groups",
    "extreme_estimate",
    "frobenius_estimate",
    "rounding_of_sums",
    "sketched_trace",
    "trace_estimate",
    "with_sampling",
]


@dataclass(frozen=True)
class Spectrum:
    """Eigenpairs with the error of having used only these samples.

    Attributes:
        pairs: The eigenpairs.
        rounding: What the rounding of products may have moved a value by.
        product_error: How far products that were not certified may be off, for a unit vector.
        note: What is to be said of the products, after the word.
        sampling: Standard error of each value from the samples, shape (k,); NaN where unknown.
    """

    pairs: Eigenpairs
    rounding: float
    sampling: np.ndarray
    product_error: float
    note: str = ""


def certified_over_groups(
    pairs: Eigenpairs,
    precise: SummedOperator[Any],
    groups: list[torch.Tensor],
    problem: Problem,
    *,
    singly: bool = False,
) -> tuple[Eigenpairs, np.ndarray]:
    """The pairs by precise products, and each value's standard error from its groups of samples.

    ``singly``: one vector at a time, as :func:`lla.krylov.certified` says.
    """
    if singly:
        return _certified_singly(pairs, precise, groups, problem)
    asked: list[torch.Tensor] = []

    def multiply(vectors: torch.Tensor) -> torch.Tensor:
        products, forms = precise.over_groups(vectors, groups)
        asked.extend((vectors, forms))
        return products

    pairs = certified(pairs, multiply)
    vectors, forms = asked
    turn = pairs.vectors @ vectors.T
    quotients = torch.einsum("ki,gij,kj->gk", turn, forms, turn).cpu().numpy()
    error = sampling_error(quotients, len(problem.data), population(problem))
    return pairs, error


def _certified_singly(
    pairs: Eigenpairs, precise: SummedOperator[Any], groups: list[torch.Tensor], problem: Problem
) -> tuple[Eigenpairs, np.ndarray]:
    quotients: list[np.ndarray] = []
    values: list[float] = []

    def multiply(vectors: torch.Tensor) -> torch.Tensor:
        products, forms = precise.over_groups(vectors, groups)
        quotients.append(forms[:, 0, 0].cpu().numpy())
        values.append(float(vectors[0] @ products[0]))
        return products

    made = certified(pairs, multiply, one_by_one=True)
    error = sampling_error(np.stack(quotients, axis=1), len(problem.data), population(problem))
    return made, error[np.argsort(-np.array(values), kind="stable")]  # in the order of the pairs


def extreme_estimate(found: Spectrum, index: int, reach: float) -> Estimate:
    """A Rayleigh quotient bounds its end of the spectrum from inside, its residual from outside.

    Args:
        found: The eigenpairs.
        index: 0 for the largest eigenvalue, -1 for the smallest.
        reach: The outermost Ritz value at that end of an independent iteration, or NaN. Any Ritz
            value lies inside the spectrum: one beyond the interval shows that the run has missed
            an eigenvalue.
    """
    pairs, rounding, slack = found.pairs, found.rounding, found.product_error
    value, residual = float(pairs.values[index]), float(pairs.residuals[index])
    inside, outside = rounding, residual + rounding
    below, above = (inside, outside) if index == 0 else (outside, inside)
    missed = reach > value + above + slack if index == 0 else reach < value - below - slack
    sampling = float(found.sampling[index])
    return Estimate(
        value,
        min(value - below, reach) if missed else value - below,
        max(value + above, reach) if missed else value + above,
        sampling_stderr=None if math.isnan(sampling) else sampling,
        converged=bool(pairs.converged[index]) and not missed,
        method=f"Lanczos, {pairs.krylov.products} products{found.note}, interval from the residual",
        units="loss",
    )


def trace_estimate(probes: Probes, confidence: float) -> Estimate:
    """The trace by Hutchinson's estimator on what the Krylov spaces left."""
    return mean_of(
        [sample.trace for sample in probes.samples],
        confidence,
        pilot=probes.pilot,
        method=f"Hutchinson, {len(probes.samples)} probes, deflated by the Lanczos basis",
        units="loss",
    )


def sketched_trace(
    operator: LinearOperator,
    config: SpectrumConfig,
    draw: Callable[[str, int], torch.Tensor],
    confidence: float,
    tolerance: float,
) -> Estimate:
    """The trace by Hutch++ or XTrace, with more probes until the interval meets the tolerance.

    Args:
        operator: The matrix.
        config: Which of the two, and how many probes.
        draw: Rademacher vector by stage and index, shape (P,).
        confidence: Of the interval.
        tolerance: Largest relative half-width.
    """
    estimate, label = (
        (hutchpp, "Hutch++") if config.trace_method == "hutchpp" else (xtrace, "XTrace")
    )
    probes, attempt = config.probes, 0
    while True:
        stage = f"{config.trace_method} {attempt}"  # what was drawn decided to go on: draw anew
        samples = estimate(operator, partial(draw, stage), min(probes, operator.size))
        found = mean_of(
            samples, confidence, method=f"{label}, {probes} probes", units="loss"
        ).within(tolerance)
        if config.trace_method == "xtrace":
            # Its estimates share a sketch, and their scatter says less than their error.
            found = replace(found, confidence=math.nan)
        if found.converged or probes >= min(config.max_probes, operator.size):
            return found
        probes, attempt = min(2 * probes, config.max_probes), attempt + 1


def rounding_of_sums(probes: Probes, eps: float) -> tuple[float, float]:
    """What the rounding of products may move a probe's trace and square by.

    A product Hz of |z_i| = 1 is off by about eps·‖H‖ in each of P entries, of either sign. It is
    all that is left where Krylov spaces leave nothing to chance.
    """
    square = float(np.mean([sample.square for sample in probes.samples]))
    trace = eps * math.sqrt(probes.size * max(square, 0.0))
    return trace, 2 * trace * math.sqrt(max(square, 0.0))


def frobenius_estimate(probes: Probes, confidence: float, slack: float, note: str) -> Estimate:
    """The Frobenius norm by the mean of ‖Hz‖² on what the Krylov spaces left.

    Args:
        probes: The samples.
        confidence: Of the interval.
        slack: How far the square may be off by the error of products.
        note: What is to be said of the products.
    """
    square = mean_of(
        [sample.square for sample in probes.samples], confidence, pilot=probes.pilot, method=""
    )
    method = f"root of the mean of ‖Hz‖², {len(probes.samples)} probes{note}, deflated"
    return widened(square, slack).map(
        lambda value: math.sqrt(max(value, 0.0)), method=method, units="loss"
    )


def with_sampling(
    found: Estimate, quotients: Sequence[float] | np.ndarray, problem: Problem
) -> Estimate:
    """The estimate with the error of having analysed only some samples.

    Args:
        found: The estimate.
        quotients: The same quantity on each of :func:`lla.curvature.sampling.sampled_groups`,
            shape (groups,); empty if there are none.
        problem: What was analysed.
    """
    analysed, meant = len(problem.data), population(problem)
    if not len(quotients):
        return replace(found, sampling_stderr=0.0 if meant == analysed else None)
    (error,) = sampling_error(np.asarray(quotients)[:, None], analysed, meant)
    return replace(found, sampling_stderr=None if math.isnan(error) else float(error))
