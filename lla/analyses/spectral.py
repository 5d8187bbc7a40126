"""What several analyses need of a curvature matrix, each computed once in a run.

One Lanczos run serves eigenvalues, landscape axes, stability and the deflation of the probes; one
set of probes serves density, trace, norm, diagonal and layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch

from lla.analyses.estimates import (
    Spectrum,
    extreme_estimate,
    frobenius_estimate,
    sketched_trace,
    trace_estimate,
    with_sampling,
)
from lla.analyses.spectrum import SpectrumConfig
from lla.analyses.workspace import Shared, Workspace
from lla.curvature import OperatorName, SummedOperator, operator_of
from lla.curvature.sampling import population, sampled_groups, sampling_error
from lla.estimate import Estimate, samples_needed
from lla.krylov import (
    Eigenpairs,
    ProbePlan,
    Probes,
    Search,
    TraceSample,
    certified,
    draw_probes,
    extreme_eigenpairs,
)
from lla.problem import Problem
from lla.seeding import gaussian, rademacher

__all__ = ["SpectralProducts", "quotient", "spectral"]

_ROUNDING = 100.0  # a product's error in units of eps·‖H‖, generously
_SAFETY = 10.0  # between one product's error and what any may have
_NEGLIGIBLE = 0.01  # of the tolerance: a rounding that needs no float64 products
_LEAST_STEPS = 5

AnyOperator = SummedOperator[Any]


@dataclass(frozen=True)
class SpectralProducts:
    """The shared products of one curvature matrix.

    Attributes:
        operator: The matrix as it is multiplied.
        precise: The same in float64, for certifying.
        spectrum: Eigenpairs of both ends.
        probes: Random probes, deflated.
        lambda_max: Largest eigenvalue.
        lambda_min: Smallest eigenvalue.
        trace: Trace.
        frobenius: Frobenius norm.
    """

    operator: Shared[AnyOperator]
    precise: Shared[AnyOperator]
    spectrum: Shared[Spectrum]
    probes: Shared[Probes]
    lambda_max: Shared[Estimate]
    lambda_min: Shared[Estimate]
    trace: Shared[Estimate]
    frobenius: Shared[Estimate]


@cache
def spectral(name: OperatorName = "hessian") -> SpectralProducts:
    """The shared products of a curvature matrix by its name."""

    def shared(what: str, compute: Callable[..., Any]) -> Shared[Any]:
        return Shared(f"{name}: {what}", partial(compute, name))

    return SpectralProducts(
        operator=shared("operator", _operator),
        precise=shared("precise operator", _precise),
        spectrum=shared("eigenpairs", _spectrum),
        probes=shared("probes", _probes),
        lambda_max=shared("lambda_max", partial(_extreme, index=0)),
        lambda_min=shared("lambda_min", partial(_extreme, index=-1)),
        trace=shared("trace", _trace),
        frobenius=shared("frobenius", _frobenius),
    )


def _operator(name: OperatorName, problem: Problem, workspace: Workspace) -> AnyOperator:
    plan = workspace.plan(problem)
    way = plan.way if name == "hessian" else replace(plan.way, method="reverse")
    return _made(name, problem, workspace, memory=plan.keep, way=way)


def _made(
    name: OperatorName, problem: Problem, workspace: Workspace, **options: Any
) -> AnyOperator:
    return operator_of(
        name,
        problem,
        seed=workspace.seed,
        on_products=workspace.tally("matvecs"),
        on_step_down=workspace.steps_down.append,
        **options,
    )


def _precise(name: OperatorName, problem: Problem, workspace: Workspace) -> AnyOperator:
    """The matrix in float64, for certifying what products in a lower precision found.

    Networks that fix a lower precision in their code cannot be computed in float64: for them it
    is the working operator, and intervals allow for its rounding.
    """
    working = workspace.get(spectral(name).operator, problem)
    if problem.theta.dtype == torch.float64:
        return working
    double = problem.in_float64()
    try:
        with torch.no_grad():
            double.terms(double.theta, next(double.data.chunks()))
    except RuntimeError:
        return working
    return _made(name, double, workspace)


def _spectrum(name: OperatorName, problem: Problem, workspace: Workspace) -> Spectrum:
    config = workspace.config("spectrum", SpectrumConfig)
    operator = workspace.get(spectral(name).operator, problem)
    precise = workspace.get(spectral(name).precise, problem)
    plan = workspace.plan(problem)
    search = Search(
        config.largest,
        config.smallest,
        config.residual_tolerance or (1e-6 if problem.theta.dtype == torch.float64 else 1e-3),
        min(config.max_steps, 2 * operator.size),
        rows=plan.rows,
        least=min(config.max_steps, config.steps - _LEAST_STEPS * config.probes),
        block=config.block,
        on_host=plan.on_host,
    )
    pairs = extreme_eigenpairs(
        operator,
        lambda index: gaussian(operator.size, workspace.seed, "eigenpairs", index),
        search,
        on_products=lambda done: workspace.progress.update(
            done, search.products, "Lanczos products at most"
        ),
    )
    rounding = _rounding(pairs, operator, precise)
    groups = sampled_groups(problem)
    if not groups and rounding < _NEGLIGIBLE * pairs.tolerance:
        return Spectrum(pairs, rounding, np.zeros(len(pairs.values)))
    # Values and residuals by float64 products, where rounding matters or the groups are asked.
    if not groups:
        pairs = certified(pairs, precise)
        return Spectrum(pairs, _ROUNDING * precise.eps * pairs.norm, np.zeros(len(pairs.values)))
    return _over_groups(pairs, precise, groups, problem)


def _over_groups(
    pairs: Eigenpairs, precise: AnyOperator, groups: list[torch.Tensor], problem: Problem
) -> Spectrum:
    """The pairs by float64 products, whose groups of samples tell the error of the sample."""
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
    return Spectrum(pairs, _ROUNDING * precise.eps * pairs.norm, error)


def _rounding(pairs: Eigenpairs, operator: AnyOperator, precise: AnyOperator) -> float:
    """What the rounding of products moves an eigenvalue by, at most: measured on one product.

    The vector is a mixture of all pairs, so that no direction of theirs is left out.
    """
    if precise is operator:
        return _ROUNDING * operator.eps * pairs.norm
    mixed = pairs.vectors.sum(dim=0)
    mixed /= torch.linalg.vector_norm(mixed)
    error = torch.linalg.vector_norm(operator(mixed) - precise(mixed))
    return _SAFETY * float(error) + operator.eps * pairs.norm


def _probes(name: OperatorName, problem: Problem, workspace: Workspace) -> Probes:
    config = workspace.config("spectrum", SpectrumConfig)
    operator = workspace.get(spectral(name).operator, problem)
    known = workspace.get(spectral(name).spectrum, problem).pairs.krylov
    rows = max(2, workspace.plan(problem).rows - known.basis.rows)
    left = config.steps - known.basis.rows
    steps = max(_LEAST_STEPS, math.ceil(left / config.probes))
    together = max(1, min(config.probes, rows // (steps + 3)))
    groups = sampled_groups(problem)

    def enough(samples: tuple[TraceSample, ...]) -> int:
        traces = [sample.trace for sample in samples]
        if config.trace_method != "hutchinson":
            return len(traces)
        needed = samples_needed(traces, workspace.tolerance, workspace.confidence)
        return min(config.max_probes, needed)

    return draw_probes(
        operator,
        lambda index: rademacher(operator.size, workspace.seed, "probes", index),
        known,
        ProbePlan(config.probes, steps, together, config.nodes),
        blocks=tuple(place for _, place in problem.space.slices()),
        enough=enough,
        grouped=(lambda vectors: operator.over_groups(vectors, groups)) if groups else None,
        on_products=lambda done, total: workspace.progress.update(done, total, "products"),
    )


def _extreme(name: OperatorName, problem: Problem, workspace: Workspace, index: int) -> Estimate:
    found = workspace.get(spectral(name).spectrum, problem)
    operator = workspace.get(spectral(name).operator, problem)
    reach = workspace.get(spectral(name).probes, problem).reach[1 if index == 0 else 0]
    return extreme_estimate(found, index, reach, _ROUNDING * operator.eps * found.pairs.norm)


def _trace(name: OperatorName, problem: Problem, workspace: Workspace) -> Estimate:
    probes = workspace.get(spectral(name).probes, problem)
    config = workspace.config("spectrum", SpectrumConfig)
    if config.trace_method == "hutchinson":
        found = trace_estimate(probes, workspace.confidence, workspace.tolerance)
    else:
        found = sketched_trace(
            workspace.get(spectral(name).operator, problem),
            config,
            partial(rademacher, problem.space.size, workspace.seed),
            workspace.confidence,
            workspace.tolerance,
        )
    # Where nothing is left to chance, rounding is.
    operator = workspace.get(spectral(name).operator, problem)
    slack = math.sqrt(operator.size) * operator.eps * abs(found.value)
    found = replace(found, low=found.low - slack, high=found.high + slack)
    return with_sampling(found, probes.groups.mean(axis=1) if probes.groups.size else (), problem)


def _frobenius(name: OperatorName, problem: Problem, workspace: Workspace) -> Estimate:
    probes = workspace.get(spectral(name).probes, problem)
    return frobenius_estimate(probes, workspace.confidence, workspace.tolerance)


def quotient(
    vector: torch.Tensor, name: OperatorName, problem: Problem, workspace: Workspace
) -> Estimate:
    """The curvature vᵀAv / ‖v‖² along a direction, by one product in float64.

    Args:
        vector: v, float64, shape (P,), on the problem's device.
        name: Which matrix A is.
        problem: Network, parameters, data and loss.
        workspace: Of the run; A's largest eigenvalue, which bounds the rounding, is shared.

    Returns:
        The quotient with its rounding and, where samples were left out, their error; missing for
        a vector of zeros.
    """
    length = torch.linalg.vector_norm(vector)
    if not length:
        return Estimate.missing("the direction is zero", units="loss")
    unit = (vector / length)[None]
    precise = workspace.get(spectral(name).precise, problem)
    groups = sampled_groups(problem)
    forms = torch.empty(0)
    if groups:
        product, forms = precise.over_groups(unit, groups)
    else:
        product = precise(unit)
    value = float((unit * product).sum())
    norm = workspace.get(spectral(name).spectrum, problem).pairs.norm
    slack = _ROUNDING * precise.eps * norm
    found = Estimate(
        value, value - slack, value + slack, method="quotient of one product", units="loss"
    )
    return with_sampling(found, forms.flatten().cpu().numpy(), problem)
