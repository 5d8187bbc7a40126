"""Compute the spectrum's result from the shared products."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lla.analyses.estimates import Spectrum, rounding_of_sums
from lla.analyses.spectral import spectral
from lla.analyses.spectrum import (
    Density,
    Diagonal,
    SpectrumConfig,
    SpectrumResult,
    Vectors,
)
from lla.analyses.spectrum.criteria import (
    NEAR_ZERO,
    effective_rank,
    extreme_ratio,
    mass_ratio,
    near_zero_share,
    negative_ratio,
    spectrum_type,
)
from lla.analyses.spectrum.layers import layers_of
from lla.analyses.workspace import Workspace
from lla.curvature.names import OPERATORS
from lla.estimate import Estimate, Label, mean_of
from lla.krylov import Eigenpairs, Probes, smoothed_density
from lla.problem import Problem

__all__ = ["run"]

_CELLS = 1024
_SMOOTHING = 0.005
_NEGLIGIBLE = 0.01


def run(problem: Problem, config: SpectrumConfig, workspace: Workspace) -> SpectrumResult:
    """Eigenvalues, trace and norm, criteria, density and layers of a curvature matrix."""
    shared = spectral(config.operator)
    found = workspace.get(shared.spectrum, problem)
    probes = workspace.get(shared.probes, problem)
    largest = workspace.get(shared.lambda_max, problem)
    smallest = workspace.get(shared.lambda_min, problem)
    pairs, confidence = found.pairs, workspace.confidence
    operator = workspace.get(shared.operator, problem)
    # Of one node. The bulk of a large network's eigenvalues is not much farther from zero than that
    # of all its P together, √P times as much, and is what K_H1 asks for.
    rounding = found.product_error if found.note else operator.eps * pairs.norm
    errors = workspace.get(shared.errors, problem)
    sums = rounding_of_sums(probes, operator.eps)
    slack = found.product_error if found.note else 0.0
    near_zero = near_zero_share(probes, NEAR_ZERO * pairs.norm, confidence, slack)
    negative = negative_ratio(smallest, largest)
    mass = mass_ratio(
        *((probes.below, probes.above), 1.0, confidence, rounding), slack=sums[0] / operator.size
    )
    roots = mass_ratio((probes.rules,), 0.5, confidence, rounding) if mass.exists else mass
    return SpectrumResult(
        lambda_max=largest,
        lambda_min=smallest,
        trace=workspace.get(shared.trace, problem),
        frobenius=workspace.get(shared.frobenius, problem),
        effective_rank=effective_rank(probes, confidence, errors.half if errors else sums),
        r_e=extreme_ratio(smallest, largest),
        C_t=negative,
        K_H1=_of_these_products(mass, found),
        K_H05=_of_these_products(roots, found),
        near_zero=near_zero,
        operator=Label(config.operator, OPERATORS[config.operator]),
        type=spectrum_type(smallest, largest, negative, near_zero),
        eigenvalues=pairs.values,
        residuals=pairs.residuals,
        sampling=found.sampling,
        converged=pairs.converged,
        density=_density(pairs, probes, confidence),
        layers=layers_of(problem, shared, config, workspace),
        eigenvectors=_vectors(problem, found) if config.eigenvectors else None,
        diagonal=_diagonal(probes) if config.diagonal else None,
    )


def _of_these_products(ratio: Estimate, found: Spectrum) -> Estimate:
    """A ratio of masses, whose interval does not hold what inexact products do to it."""
    if not found.note or not ratio.exists:
        return ratio
    exact_enough = found.product_error <= _NEGLIGIBLE * NEAR_ZERO * found.pairs.norm
    method = f"{ratio.method}; of products{found.note}, whose error is not in the interval"
    return replace(ratio, converged=ratio.converged and exact_enough, method=method)


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


def _vectors(problem: Problem, found: Spectrum) -> Vectors:
    places = list(problem.space.slices())
    return Vectors(
        values=found.pairs.vectors.cpu().numpy(),
        names=tuple(name for name, _ in places),
        start=np.array([place.start for _, place in places], dtype=np.int64),
    )


def _diagonal(probes: Probes) -> Diagonal:
    assert probes.diagonal is not None
    value, stderr = probes.diagonal
    return Diagonal(value=value.cpu().numpy(), stderr=stderr.cpu().numpy())
