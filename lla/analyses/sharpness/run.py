"""All sharpness measures of a checkpoint."""

from __future__ import annotations

import math

from lla.analyses.estimates import with_sampling
from lla.analyses.sampling import PILOT, draws_until
from lla.analyses.shared import DOUBLE
from lla.analyses.sharpness import (
    ANALYSIS,
    DEPENDS,
    MEASURES,
    Measures,
    SharpnessConfig,
    SharpnessResult,
)
from lla.analyses.sharpness.average import Noise, average_rise, second_order
from lla.analyses.sharpness.norms import fisher_rao, relative_flatness
from lla.analyses.sharpness.worst import Ball, along_eigenvectors, one_step, worst_of
from lla.analyses.workspace import Workspace
from lla.estimate import Estimate, mean_of
from lla.problem import Problem
from lla.seeding import permutation

__all__ = ["run"]


def run(problem: Problem, config: SharpnessConfig, workspace: Workspace) -> SharpnessResult:
    """Every measure with its forms of first and second order."""
    theta = problem.theta.double().abs()
    sam = worst_of(
        problem,
        Ball(config.rho),
        config.ascent,
        along_eigenvectors(problem, workspace),
        workspace,
    )
    # No eigenvectors here: what ReLU's rescaling makes of θ has others.
    adaptive = Ball(config.adaptive_rho, theta + config.eta)
    asam = worst_of(problem, adaptive, config.ascent, (), workspace)
    plain = Noise(config.sigma, None, "average sharpness")
    relative = Noise(config.scaled_sigma, theta, "relative average sharpness")
    flatness, layer = relative_flatness(problem, config, workspace)
    return SharpnessResult(
        sam=sam.rise,
        sam_order1=sam.first_order,
        sam_order2=sam.second_order,
        m_sharpness=_of_batches(problem, config, workspace),
        asam=asam.rise,
        asam_order1=asam.first_order,
        asam_order2=asam.second_order,
        average=average_rise(problem, plain, config, workspace),
        average_order2=second_order(problem, plain, workspace),
        scaled_average=average_rise(problem, relative, config, workspace),
        scaled_average_order2=second_order(problem, relative, workspace),
        fisher_rao=fisher_rao(problem, workspace),
        relative_flatness=flatness,
        layer=layer,
        measures=Measures(
            names=tuple(MEASURES),
            invariant=tuple(invariant for invariant, _ in MEASURES.values()),
            source=tuple(source for _, source in MEASURES.values()),
        ),
    )


def _of_batches(problem: Problem, config: SharpnessConfig, workspace: Workspace) -> Estimate:
    """Mean over random batches of m samples of the rise after each one's own step."""
    size, count = config.m or problem.training.batch_size or 0, len(problem.data)
    why = ""
    if not size:
        why = "the batch size is unknown; pass --m or --batch-size"
    elif size > count:
        why = f"a batch of {size} is larger than the {count} samples analysed"
    elif problem.coupled_layers:
        why = "batch norm is analysed with the statistics of all samples, which a batch has not"
    if why:
        return Estimate.missing(why, units="loss")
    double = workspace.get(DOUBLE, problem)
    rise = one_step(double, config.rho)
    stage = "m-sharpness"

    def of_batch(index: int) -> float:
        return rise(permutation(count, workspace.seed, stage, index)[:size])

    found = draws_until(
        of_batch,
        workspace,
        name=stage,
        depends=(ANALYSIS.name, *DEPENDS),
        tolerance=config.share,
        most=1 if size == count else config.max_batches,
    )
    defined = [value for value in found if not math.isnan(value)]
    if not defined:
        return Estimate.missing("no batch has a gradient", units="loss")
    if size == count:
        exact = Estimate.exact(defined[0], method="the batch is the whole set", units="loss")
        return with_sampling(exact, (), problem)
    if len(defined) < 2:
        return Estimate.missing("all but one of the batches have no gradient", units="loss")
    estimate = mean_of(
        defined,
        workspace.confidence,
        pilot=min(PILOT, len(defined)),
        method=f"mean over {len(defined)} random batches of {size}",
        units="loss",
    )
    return estimate.within(config.share)
