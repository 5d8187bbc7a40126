"""Compute the spectrum's result from the shared Krylov runs."""

from __future__ import annotations

import math

import numpy as np

from lla.analyses.shared import (
    EIGENPAIRS,
    FROBENIUS,
    HESSIAN,
    LAMBDA_MAX,
    LAMBDA_MIN,
    PROBES,
    TRACE,
)
from lla.analyses.spectrum import Density, Layers, SpectrumConfig, SpectrumResult
from lla.analyses.spectrum.criteria import (
    NEAR_ZERO,
    effective_rank,
    extreme_ratio,
    mass_ratio,
    near_zero_share,
    negative_ratio,
    spectrum_type,
)
from lla.analyses.workspace import Workspace
from lla.estimate import Estimate, mean_of
from lla.krylov import Eigenpairs, Probes, smoothed_density
from lla.problem import Problem

__all__ = ["run"]

_CELLS = 1024
_SMOOTHING = 0.005


def run(problem: Problem, config: SpectrumConfig, workspace: Workspace) -> SpectrumResult:
    """Eigenvalues, trace and norm, criteria, density and layers of the Hessian."""
    pairs = workspace.get(EIGENPAIRS, problem)
    probes = workspace.get(PROBES, problem)
    largest = workspace.get(LAMBDA_MAX, problem)
    smallest = workspace.get(LAMBDA_MIN, problem)
    confidence = workspace.confidence
    operator = workspace.get(HESSIAN, problem)
    rounding = math.sqrt(operator.size) * operator.eps * pairs.norm
    near_zero = near_zero_share(probes.quadrature, NEAR_ZERO * pairs.norm, confidence)
    negative = negative_ratio(smallest, largest)
    return SpectrumResult(
        lambda_max=largest,
        lambda_min=smallest,
        trace=workspace.get(TRACE, problem),
        frobenius=workspace.get(FROBENIUS, problem),
        effective_rank=effective_rank(probes, confidence),
        r_e=extreme_ratio(smallest, largest),
        C_t=negative,
        K_H1=mass_ratio(probes.quadrature, 1.0, confidence, rounding),
        K_H05=mass_ratio(probes.quadrature, 0.5, confidence, rounding),
        near_zero=near_zero,
        type=spectrum_type(smallest, largest, negative, near_zero),
        eigenvalues=pairs.values,
        residuals=pairs.residuals,
        converged=pairs.converged,
        density=_density(pairs, probes, confidence),
        layers=_layers(problem, probes, confidence),
    )


def _density(pairs: Eigenpairs, probes: Probes, confidence: float) -> Density:
    quadrature = probes.quadrature
    ends = np.concatenate([pairs.values, quadrature.nodes.ravel()])
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    width = _SMOOTHING * ((high - low) or abs(high) or 1.0)
    edges = np.linspace(low - 5 * width, high + 5 * width, _CELLS + 1)
    curves = smoothed_density(quadrature, edges, width)
    columns = [mean_of(column, confidence, method="") for column in curves.T]
    return Density(
        eigenvalue=(edges[1:] + edges[:-1]) / 2,
        density=np.array([column.value for column in columns]),
        low=np.array([max(0.0, column.low) for column in columns]),
        high=np.array([column.high for column in columns]),
        width=Estimate.exact(width, method="0.5 % of the spectrum's range", units="loss"),
        nodes=quadrature.nodes,
        weights=quadrature.weights,
    )


def _layers(problem: Problem, probes: Probes, confidence: float) -> Layers:
    space = problem.space
    owners = [name.rpartition(".")[0] or name for name in space.names]
    names = tuple(dict.fromkeys(owners))
    member = np.array([[owner == name for owner in owners] for name in names], dtype=float)
    parts = np.stack([sample.parts for sample in probes.samples]) @ member.T
    traces = [mean_of(column, confidence, pilot=probes.pilot, method="") for column in parts.T]
    whole = sum(trace.value for trace in traces)
    values = np.array([trace.value for trace in traces])
    return Layers(
        names=names,
        parameters=(member @ np.array(space.sizes)).astype(np.int64),
        trace=values,
        low=np.array([trace.low for trace in traces]),
        high=np.array([trace.high for trace in traces]),
        share=values / whole if whole else np.zeros_like(values),
    )
