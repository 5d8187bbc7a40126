"""The mean rise of the loss under Gaussian noise on the weights, and its second-order form.

Each draw is an antithetic pair, ½(L(θ+σTz) + L(θ−σTz)) − L(θ): the first order cancels, and with
it nearly all of the variance that is not the curvature's own. T is 1, or |θ| element by element.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from lla.analyses.accuracy import scaled, widened
from lla.analyses.estimates import with_sampling
from lla.analyses.sampling import PILOT, draws_until
from lla.analyses.shared import BASE_EVALUATION, DOUBLE
from lla.analyses.sharpness import ANALYSIS, DEPENDS, SharpnessConfig
from lla.analyses.sharpness.worst import moved
from lla.analyses.spectral import spectral
from lla.analyses.workspace import Workspace
from lla.estimate import Estimate, mean_of
from lla.problem import Problem
from lla.seeding import gaussian, rademacher

__all__ = ["Noise", "average_rise", "second_order"]

_COMPARED = 3  # pairs that are evaluated in float64 too
_SAFETY = 3.0  # between the rounding of these and that of any


@dataclass(frozen=True)
class Noise:
    """θ + σ T z with z standard normal.

    Attributes:
        sigma: σ.
        scale: T, the diagonal as a vector of shape (P,), float64; None for 1.
        stage: Name of the draws.
    """

    sigma: float
    scale: torch.Tensor | None
    stage: str

    def drawn(self, problem: Problem, seed: int, index: int) -> torch.Tensor:
        """σ T z of a draw, shape (P,), float64."""
        z = gaussian(problem.space.size, seed, self.stage, index).to(problem.device)
        return self.sigma * (z if self.scale is None else self.scale * z)


def average_rise(
    problem: Problem, noise: Noise, config: SharpnessConfig, workspace: Workspace
) -> Estimate:
    """E[L(θ+σTz)] − L(θ) by antithetic pairs, with Student's interval and the losses' rounding."""
    here = workspace.get(BASE_EVALUATION, problem).loss
    precise = _Precise(problem, workspace)

    def rise(problem: Problem, here: float, index: int) -> float:
        move = noise.drawn(problem, workspace.seed, index)
        losses = [problem.evaluate(moved(problem, way * move).theta).loss for way in (1, -1)]
        return sum(losses) / 2 - here

    def pair(index: int) -> float:
        return rise(problem, here, index)

    found = draws_until(
        pair,
        workspace,
        name=noise.stage,
        depends=(ANALYSIS.name, *DEPENDS),
        tolerance=config.share,
        most=config.max_pairs,
    )
    if not all(map(math.isfinite, found)):
        lost = sum(not math.isfinite(value) for value in found)
        why = f"the loss is not finite at {lost} of {len(found)} random pairs of points"
        return Estimate.missing(why, units="loss")
    estimate = mean_of(
        found,
        workspace.confidence,
        pilot=min(PILOT, len(found)),
        method=f"mean over {len(found)} antithetic pairs",
        units="loss",
    )
    slack = 0.0
    if precise.problem is not problem:
        compared = range(min(_COMPARED, len(found)))
        off = [abs(rise(precise.problem, precise.here, i) - found[i]) for i in compared]
        slack = _SAFETY * max(off)
    return with_sampling(widened(estimate, slack).within(config.share), (), problem)


@dataclass
class _Precise:
    """The problem in float64, and its loss there."""

    original: Problem
    workspace: Workspace

    @cached_property
    def problem(self) -> Problem:
        return self.workspace.get(DOUBLE, self.original)

    @cached_property
    def here(self) -> float:
        return self.problem.evaluate(self.problem.theta).loss


def second_order(problem: Problem, noise: Noise, workspace: Workspace) -> Estimate:
    """½σ² tr(T H T): the trace of the spectrum, or for T ≠ 1 Hutchinson's with ten probes."""
    half = noise.sigma**2 / 2
    if noise.scale is None:
        trace = workspace.get(spectral("hessian").trace, problem)
    else:
        trace = _scaled_trace(problem, noise.scale, workspace)
    return replace(scaled(trace, half), method=f"½σ² times a trace: {trace.method}")


def _scaled_trace(problem: Problem, scale: torch.Tensor, workspace: Workspace) -> Estimate:
    """tr(T H T) by Hutchinson's estimator."""
    products = spectral("hessian")
    operator = workspace.get(products.operator, problem)
    if operator.note:  # approximate products would need a correction
        operator = workspace.get(products.precise, problem)
    signs = [
        rademacher(operator.size, workspace.seed, "relative curvature", index)
        for index in range(PILOT)
    ]
    probes = scale * torch.stack(signs).to(scale)
    forms = (probes * operator(probes)).sum(dim=1).cpu().numpy()
    found = mean_of(
        np.asarray(forms),
        workspace.confidence,
        method=f"Hutchinson, {PILOT} probes{operator.note}",
        units="loss",
    )
    rounding = math.sqrt(operator.size) * operator.eps * abs(found.value)
    return with_sampling(widened(found, rounding), (), problem)
