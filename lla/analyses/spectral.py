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

from lla.analyses.spectrum import OperatorName, SpectrumConfig
from lla.analyses.workspace import Shared, Workspace
from lla.curvature import (
    EmpiricalFisher,
    GaussNewton,
    Hessian,
    MonteCarloFisher,
    SummedOperator,
)
from lla.curvature.sampling import groups_of, sampling_error
from lla.estimate import Estimate, mean_of, samples_needed
from lla.krylov import (
    Eigenpairs,
    ProbePlan,
    Probes,
    Search,
    TraceSample,
    certified,
    draw_probes,
    extreme_eigenpairs,
    hutchpp,
    xtrace,
)
from lla.problem import Problem
from lla.seeding import gaussian, rademacher

__all__ = ["SpectralProducts", "spectral"]

_BYTES = 8
_ROUNDING = 100.0  # a product's error in units of eps·‖H‖, generously
_SAFETY = 10.0  # between one product's error and what any may have
_NEGLIGIBLE = 0.01  # of the tolerance: a rounding that needs no float64 products
_LEAST_STEPS = 5

AnyOperator = SummedOperator[Any]

_MAKERS: dict[str, Callable[..., AnyOperator]] = {
    "hessian": Hessian,
    "ggn": GaussNewton,
    "fisher": MonteCarloFisher,
    "empirical_fisher": EmpiricalFisher,
}


@dataclass(frozen=True)
class Spectrum:
    """Eigenpairs with the error of having used only these samples.

    Attributes:
        pairs: The eigenpairs.
        rounding: What the rounding of products may have moved a value by.
        sampling: Standard error of each value from the samples, shape (k,); NaN where unknown.
    """

    pairs: Eigenpairs
    rounding: float
    sampling: np.ndarray


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
    plan = workspace.execution(problem)
    way = plan.way if name == "hessian" else replace(plan.way, method="reverse")
    return _made(name, problem, workspace, memory=plan.keep, way=way)


def _made(
    name: OperatorName, problem: Problem, workspace: Workspace, **options: Any
) -> AnyOperator:
    seeded = {"seed": workspace.seed} if name == "fisher" else {}
    return _MAKERS[name](problem, on_products=workspace.tally("matvecs"), **options, **seeded)


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
            double.terms(double.theta, next(double.batches()))
    except RuntimeError:
        return working
    return _made(name, double, workspace)


def _spectrum(name: OperatorName, problem: Problem, workspace: Workspace) -> Spectrum:
    config = workspace.config("spectrum", SpectrumConfig)
    operator = workspace.get(spectral(name).operator, problem)
    precise = workspace.get(spectral(name).precise, problem)
    plan = workspace.execution(problem)
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
    groups = _groups(problem)
    sampling = np.full(len(pairs.values), 0.0 if _complete(problem) else math.nan)
    if not groups and rounding < _NEGLIGIBLE * pairs.tolerance:
        return Spectrum(pairs, rounding, sampling)
    # Values and residuals by float64 products, where rounding matters or the groups are asked.
    if not groups:
        pairs = certified(pairs, precise)
        return Spectrum(pairs, _ROUNDING * precise.eps * pairs.norm, sampling)
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
    error = sampling_error(quotients, len(problem.data), _population(problem))
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


def _groups(problem: Problem) -> list[torch.Tensor]:
    """Groups of samples to see the sampling error by.

    None if all samples are analysed, or if the loss is not the mean of the groups' losses.
    """
    if _complete(problem) or problem.coupled_layers:
        return []
    return groups_of(len(problem.data), problem.device)


def _complete(problem: Problem) -> bool:
    """Whether all samples are analysed."""
    return _population(problem) <= len(problem.data)


def _population(problem: Problem) -> int:
    return max(problem.data.available, problem.training.samples or 0)


def _probes(name: OperatorName, problem: Problem, workspace: Workspace) -> Probes:
    config = workspace.config("spectrum", SpectrumConfig)
    operator = workspace.get(spectral(name).operator, problem)
    known = workspace.get(spectral(name).spectrum, problem).pairs.krylov
    rows = max(2, workspace.execution(problem).rows - known.basis.rows)
    left = config.steps - known.basis.rows
    steps = max(_LEAST_STEPS, math.ceil(left / config.probes))
    together = max(1, min(config.probes, rows // (steps + 3)))
    groups = _groups(problem)

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
    """A Rayleigh quotient bounds its end of the spectrum from inside, its residual from outside."""
    found = workspace.get(spectral(name).spectrum, problem)
    pairs = found.pairs
    value, residual = float(pairs.values[index]), float(pairs.residuals[index])
    rounding = found.rounding
    inside, outside = rounding, residual + rounding
    below, above = (inside, outside) if index == 0 else (outside, inside)
    # Any Ritz value lies inside the spectrum: one beyond the interval shows that the run has
    # missed an eigenvalue.
    reach = workspace.get(spectral(name).probes, problem).reach[1 if index == 0 else 0]
    slack = _ROUNDING * workspace.get(spectral(name).operator, problem).eps * pairs.norm
    missed = reach > value + above + slack if index == 0 else reach < value - below - slack
    sampling = float(found.sampling[index])
    return Estimate(
        value,
        min(value - below, reach) if missed else value - below,
        max(value + above, reach) if missed else value + above,
        sampling_stderr=None if math.isnan(sampling) else sampling,
        converged=bool(pairs.converged[index]) and not missed,
        method=f"Lanczos, {pairs.krylov.products} products, interval from the residual",
        units="loss",
    )


def _trace(name: OperatorName, problem: Problem, workspace: Workspace) -> Estimate:
    probes = workspace.get(spectral(name).probes, problem)
    method = workspace.config("spectrum", SpectrumConfig).trace_method
    if method == "hutchinson":
        found = mean_of(
            [sample.trace for sample in probes.samples],
            workspace.confidence,
            pilot=probes.pilot,
            method=f"Hutchinson, {len(probes.samples)} probes, deflated by the Lanczos basis",
            units="loss",
        ).within(workspace.tolerance)
    else:
        found = _sketched(name, problem, workspace)
    # Where nothing is left to chance, rounding is.
    operator = workspace.get(spectral(name).operator, problem)
    slack = math.sqrt(operator.size) * operator.eps * abs(found.value)
    found = replace(found, low=found.low - slack, high=found.high + slack)
    if not probes.groups.size:
        return replace(found, sampling_stderr=0.0 if _complete(problem) else None)
    quotients = probes.groups.mean(axis=1, keepdims=True)
    (sampling,) = sampling_error(quotients, len(problem.data), _population(problem))
    return replace(found, sampling_stderr=None if math.isnan(sampling) else float(sampling))


def _sketched(name: OperatorName, problem: Problem, workspace: Workspace) -> Estimate:
    """The trace by Hutch++ or XTrace, with more probes until the interval meets the tolerance."""
    config = workspace.config("spectrum", SpectrumConfig)
    operator = workspace.get(spectral(name).operator, problem)
    estimate, label = (
        (hutchpp, "Hutch++") if config.trace_method == "hutchpp" else (xtrace, "XTrace")
    )
    probes, attempt = config.probes, 0
    while True:
        stage = f"{config.trace_method} {attempt}"  # what was drawn decided to go on: draw anew
        draw = partial(rademacher, operator.size, workspace.seed, stage)
        samples = estimate(operator, draw, min(probes, operator.size))
        found = mean_of(
            samples, workspace.confidence, method=f"{label}, {probes} probes", units="loss"
        ).within(workspace.tolerance)
        if found.converged or probes >= min(config.max_probes, operator.size):
            return found
        probes, attempt = min(2 * probes, config.max_probes), attempt + 1


def _frobenius(name: OperatorName, problem: Problem, workspace: Workspace) -> Estimate:
    probes = workspace.get(spectral(name).probes, problem)
    square = mean_of(
        [sample.square for sample in probes.samples],
        workspace.confidence,
        pilot=probes.pilot,
        method="",
    )
    method = f"root of the mean of ‖Hz‖², {len(probes.samples)} probes, deflated"
    root = square.map(lambda value: math.sqrt(max(value, 0.0)), method=method, units="loss")
    return root.within(workspace.tolerance)
