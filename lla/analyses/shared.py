"""The products that several analyses need, each computed once in a run."""

from __future__ import annotations

import math

import numpy as np
import torch

from lla.analyses.spectrum import SpectrumConfig
from lla.analyses.workspace import Shared, Workspace
from lla.curvature import Hessian, gradient
from lla.estimate import Estimate, mean_of, samples_needed
from lla.krylov import Eigenpairs, Probes, TraceSample, draw_probes, extreme_eigenpairs
from lla.problem import Evaluation, Problem
from lla.seeding import gaussian, rademacher

__all__ = [
    "BASE_EVALUATION",
    "EIGENPAIRS",
    "FROBENIUS",
    "GRADIENT",
    "HESSIAN",
    "LAMBDA_MAX",
    "LAMBDA_MIN",
    "PRECISE_HESSIAN",
    "PROBES",
    "TRACE",
]

_BYTES = 8
_ROUNDING = 100.0  # a product's error in units of eps·‖H‖, generously


def _base_evaluation(problem: Problem, workspace: Workspace) -> Evaluation:
    return problem.evaluate(problem.theta)


def _gradient(problem: Problem, workspace: Workspace) -> torch.Tensor:
    workspace.counts["gradients"] += 1
    return gradient(problem)


def _hessian(problem: Problem, workspace: Workspace) -> Hessian:
    # A quarter of the memory for kept graphs; the Krylov basis has a half.
    return Hessian(problem, memory=workspace.memory // 4, on_product=workspace.tally("matvecs"))


def _precise_hessian(problem: Problem, workspace: Workspace) -> Hessian:
    """The Hessian in float64, for certifying what products in a lower precision found.

    Networks that fix a lower precision in their code cannot be computed in float64: for them it
    is the working operator, and intervals allow for its rounding.
    """
    working = workspace.get(HESSIAN, problem)
    if problem.theta.dtype == torch.float64:
        return working
    double = problem.in_float64()
    try:
        with torch.no_grad():
            double.terms(double.theta, next(double.data.chunks()))
    except RuntimeError:
        return working

    return Hessian(double, on_product=workspace.tally("matvecs"))


def _eigenpairs(problem: Problem, workspace: Workspace) -> Eigenpairs:
    config = workspace.config("spectrum", SpectrumConfig)
    operator = workspace.get(HESSIAN, problem)
    # Half of the memory: the probes' own, shorter bases come on top of this one.
    fits = int(workspace.memory / 2 / (_BYTES * operator.size))
    steps = max(2, min(config.max_steps, fits))
    workspace.plan["lanczos_max_steps"] = min(steps, operator.size)
    return extreme_eigenpairs(
        operator,
        lambda index: gaussian(operator.size, workspace.seed, "eigenpairs", index),
        largest=config.largest,
        smallest=config.smallest,
        tolerance=config.residual_tolerance or math.sqrt(operator.eps),
        max_steps=steps,
        precise=workspace.get(PRECISE_HESSIAN, problem),
        on_step=lambda done: workspace.progress.update(done, steps, "Lanczos steps at most"),
    )


def _probes(problem: Problem, workspace: Workspace) -> Probes:
    config = workspace.config("spectrum", SpectrumConfig)
    operator = workspace.get(HESSIAN, problem)
    known = workspace.get(EIGENPAIRS, problem).krylov

    def enough(samples: tuple[TraceSample, ...]) -> int:
        traces = [sample.trace for sample in samples]
        needed = samples_needed(traces, workspace.tolerance, workspace.confidence)
        return min(config.max_probes, needed)

    return draw_probes(
        operator,
        lambda index: rademacher(operator.size, workspace.seed, "probes", index),
        known,
        blocks=tuple(place for _, place in problem.space.slices()),
        pilot=config.probes,
        steps=max(1, round(config.steps / config.probes)),
        enough=enough,
        on_product=lambda done, total: workspace.progress.update(done, total, "products"),
    )


def _extreme(problem: Problem, workspace: Workspace, index: int) -> Estimate:
    pairs = workspace.get(EIGENPAIRS, problem)
    value, residual = float(pairs.values[index]), float(pairs.residuals[index])
    eps = workspace.get(PRECISE_HESSIAN, problem).eps
    error = residual + _ROUNDING * eps * pairs.norm
    # A Ritz value of any start lies inside the spectrum: one beyond the interval shows that the
    # run has missed an eigenvalue.
    nodes = workspace.get(PROBES, problem).quadrature.nodes
    slack = _ROUNDING * workspace.get(HESSIAN, problem).eps * pairs.norm
    beyond = float(np.nanmax(nodes) if index == 0 else np.nanmin(nodes))
    missed = beyond > value + error + slack if index == 0 else beyond < value - error - slack
    return Estimate(
        value,
        min(value - error, beyond) if missed else value - error,
        max(value + error, beyond) if missed else value + error,
        converged=bool(pairs.converged[index]) and not missed,
        method=f"Lanczos, {len(pairs.krylov.alpha)} steps, interval from the residual",
        units="loss",
    )


def _lambda_max(problem: Problem, workspace: Workspace) -> Estimate:
    return _extreme(problem, workspace, 0)


def _lambda_min(problem: Problem, workspace: Workspace) -> Estimate:
    return _extreme(problem, workspace, -1)


def _trace(problem: Problem, workspace: Workspace) -> Estimate:
    probes = workspace.get(PROBES, problem)
    return mean_of(
        [sample.trace for sample in probes.samples],
        workspace.confidence,
        pilot=probes.pilot,
        method=f"Hutchinson, {len(probes.samples)} probes, deflated by the Lanczos basis",
        units="loss",
    ).within(workspace.tolerance)


def _frobenius(problem: Problem, workspace: Workspace) -> Estimate:
    probes = workspace.get(PROBES, problem)
    square = mean_of(
        [sample.square for sample in probes.samples],
        workspace.confidence,
        pilot=probes.pilot,
        method="",
    )
    method = f"root of the mean of ‖Hz‖², {len(probes.samples)} probes, deflated"
    root = square.map(lambda value: math.sqrt(max(value, 0.0)), method=method, units="loss")
    return root.within(workspace.tolerance)


BASE_EVALUATION = Shared("base evaluation", _base_evaluation)
GRADIENT = Shared("gradient", _gradient)
HESSIAN = Shared("hessian", _hessian)
PRECISE_HESSIAN = Shared("precise hessian", _precise_hessian)
EIGENPAIRS = Shared("eigenpairs", _eigenpairs)
PROBES = Shared("probes", _probes)
LAMBDA_MAX = Shared("lambda_max", _lambda_max)
LAMBDA_MIN = Shared("lambda_min", _lambda_min)
TRACE = Shared("trace", _trace)
FROBENIUS = Shared("frobenius", _frobenius)
