"""Condition 4's non-uniformity s = √λ_max(mean H_i² − H²) of the samples' own Hessians."""

from __future__ import annotations

import math

import torch

from lla.analyses.stability.drawn import Draws
from lla.analyses.workspace import Workspace
from lla.curvature.samples import Samples
from lla.estimate import Estimate, mean_of
from lla.krylov import Search, extreme_eigenpairs
from lla.problem import Problem
from lla.seeding import gaussian

__all__ = ["nonuniformity"]

_PRODUCTS = 200
_FEW = 8  # products where each costs
_TOLERANCE = 1e-7


class _Spread:
    """v ↦ mean H_i(H_iv) − H(Hv) over some samples with weights, in all 1."""

    def __init__(
        self, samples: Samples, problem: Problem, places: torch.Tensor, shares: torch.Tensor,
        unit: float,
    ) -> None:  # fmt: skip
        self.size, self.device = problem.space.size, problem.device
        self.eps = torch.finfo(problem.theta.dtype).eps
        self._samples, self._unit = samples, unit
        batch = problem.data.select(places)
        self._parts = samples.chunks(batch)
        sizes = [part.samples for part in self._parts]
        self._shares = torch.split(shares.to(self.device), sizes)

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        """The products of (P,) or (b, P)."""
        if vectors.ndim > 1:
            return torch.stack([self(vector) for vector in vectors])
        made, mean = torch.zeros_like(vectors), torch.zeros_like(vectors)
        for part, shares in zip(self._parts, self._shares, strict=True):
            rows = self._samples.products(part, vectors) / self._unit
            mean += shares @ rows
            made += shares @ (self._samples.products(part, rows) / self._unit)
        again = torch.zeros_like(vectors)
        for part, shares in zip(self._parts, self._shares, strict=True):
            again += shares @ (self._samples.products(part, mean) / self._unit)
        return made - again


def nonuniformity(
    problem: Problem, samples: Samples, draws: Draws, workspace: Workspace, unit: float,
    top: torch.Tensor,
) -> Estimate:  # fmt: skip
    """s; where samples are drawn, along a vector found on one half and measured on the other.

    The largest eigenvalue over drawn samples alone is biased upwards; along a vector that other
    samples chose it is not, and bounds s from below.

    Args:
        problem: Network, parameters, data and loss.
        samples: Their derivatives.
        draws: Which of them.
        workspace: Of the run.
        unit: Mean weight of a sample in the loss.
        top: The Hessian's top eigenvector, to start from, shape (P,).
    """
    seed = workspace.seed
    noise = gaussian(len(top), seed, "nonuniformity", 0).to(top.device)
    start = top + 0.3 * noise / noise.norm()

    def draw(index: int) -> torch.Tensor:
        return gaussian(len(top), seed, "nonuniformity", index) if index else start

    if draws.complete:
        spread = _Spread(samples, problem, draws.positions, draws.shares, unit)
        tolerance = max(_TOLERANCE, 10 * spread.eps)
        pairs = extreme_eigenpairs(spread, draw, Search(1, 0, tolerance, _PRODUCTS))
        square, residual = float(pairs.values[0]), float(pairs.residuals[0])
        slack = spread.eps * 100 * pairs.norm
        low, high = (max(x, 0.0) for x in (square - slack, square + residual + slack))
        value = math.sqrt(max(square, 0.0))
        return Estimate(value, min(value, math.sqrt(low)), max(value, math.sqrt(high)),
                        converged=bool(pairs.converged[0]), units="loss",
                        method=f"Lanczos over all {len(draws.positions)} samples")  # fmt: skip
    half = len(draws.draws) // 2
    found, asked = draws.draws[:half], draws.draws[half:]
    spread = _spread_of(samples, problem, draws, found, draws.weights[:half], unit)
    pairs = extreme_eigenpairs(spread, draw, Search(1, 0, 1e-2, _FEW))
    return _measured(problem, samples, draws, pairs.vectors[0], asked, workspace, unit)


def _spread_of(
    samples: Samples, problem: Problem, draws: Draws, chosen: torch.Tensor, weights: torch.Tensor,
    unit: float,
) -> _Spread:  # fmt: skip
    places, at = torch.unique(chosen, return_inverse=True)
    shares = torch.zeros(len(places), dtype=torch.float64).index_add_(0, at, weights)
    return _Spread(samples, problem, draws.positions[places], shares / shares.sum(), unit)


def _measured(
    problem: Problem, samples: Samples, draws: Draws, vector: torch.Tensor, asked: torch.Tensor,
    workspace: Workspace, unit: float,
) -> Estimate:  # fmt: skip
    """√(mean ‖H_iv‖² − ‖Hv‖²) on draws that had no part in choosing v."""
    count = len(asked) // 2
    first, second = asked[:count], asked[count : 2 * count]
    weights = draws.weights[-len(asked) :]
    values = []
    for start in range(0, count, samples.chunk):
        place = slice(start, min(start + samples.chunk, count))
        one, other = (
            samples.products(problem.data.select(draws.positions[part[place]]), vector) / unit
            for part in (first, second)
        )
        w, u = (part[place].to(one) for part in (weights[:count], weights[count : 2 * count]))
        # Unbiased: mean ‖H_iv‖² less the product of two independent samples.
        own = (w * one.square().sum(1) + u * other.square().sum(1)) / 2
        values.append((own - w * u * (one * other).sum(1)).cpu())
    square = mean_of(torch.cat(values).numpy(), workspace.confidence, method="")
    if square.value <= 0:
        return Estimate.missing("it is not told from zero on the samples that were drawn")
    return square.map(
        lambda x: math.sqrt(max(x, 0.0)),
        method=f"along a vector of {len(draws.draws) - len(asked)} draws, measured on "
        f"{2 * count} others: a lower bound",
        units="loss",
    )
