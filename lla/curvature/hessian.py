"""Gradient and Hessian of L(θ) = Σ sums / Σ counts.

Each product differentiates the gradient along a vector (Pearlmutter 1994, "Fast exact
multiplication by the Hessian"): H v = ∇(∇L · v).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence

import torch

from lla.curvature.operators import SummedOperator, differentiable, slopes_along
from lla.problem import Batch, Problem

__all__ = ["Hessian", "batch_curvature", "gradient"]


def _slope(
    problem: Problem, theta: torch.Tensor, batch: Batch, *, create_graph: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient of a batch's loss sum, shape (P,), and the batch's weight."""
    terms = problem.terms(theta, batch)
    # A loss that does not use the analysed parameters has a gradient: zero.
    (slope,) = torch.autograd.grad(
        terms.total, theta, create_graph=create_graph, allow_unused=True, materialize_grads=True
    )
    return slope, terms.weight


def gradient(problem: Problem, batches: Sequence[Batch] | None = None) -> torch.Tensor:
    """∇L at the checkpoint over the given batches, or over all data: float64, shape (P,)."""
    theta = differentiable(problem)
    total = torch.zeros_like(theta, dtype=torch.float64)
    weight = torch.zeros((), dtype=torch.float64, device=theta.device)
    for batch in problem.batches(batches):
        slope, part = _slope(problem, theta, batch)
        total += slope
        weight += part
    return total / weight


class Hessian(SummedOperator["_Slope"]):
    """The Hessian of a problem's loss: ∇(∇L · v), Pearlmutter 1994."""

    def _build(self, batch: Batch) -> tuple[_Slope, torch.Tensor]:
        if self._way.method == "forward":
            return self._forward(batch)
        return _slope(self._problem, self._theta, batch, create_graph=True)

    def _forward(self, batch: Batch) -> tuple[_Slope, torch.Tensor]:
        """∇L(θ) as a function, to be differentiated forward along vectors."""
        problem = self._problem

        def total(theta: torch.Tensor) -> torch.Tensor:
            return problem.terms(theta, batch).total

        with torch.no_grad():
            weight = problem.terms(problem.theta, batch).weight
        return torch.func.grad(total), weight

    def _apply(self, graph: _Slope, along: torch.Tensor, *, keep: bool) -> torch.Tensor:
        if not isinstance(graph, torch.Tensor):
            return _forward_along(graph, self._problem.theta, along)
        if not graph.requires_grad:
            return torch.zeros_like(along)  # a loss linear in θ has no curvature on this chunk
        return slopes_along(graph, self._theta, along, keep=keep)


def _forward_along(
    slope: Callable[[torch.Tensor], torch.Tensor], theta: torch.Tensor, along: torch.Tensor
) -> torch.Tensor:
    """Derivatives of a function at θ along each vector of a block (b, P), forwards."""

    def product(vector: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = torch.func.jvp(slope, (theta,), (vector,))[1]
        return made

    with warnings.catch_warnings():
        # torch's own rules for forward differentiation are compiled by what it has deprecated.
        warnings.filterwarnings("ignore", ".*torch.jit", DeprecationWarning)
        return torch.func.vmap(product)(along) if len(along) > 1 else product(along[0])[None]


_Slope = torch.Tensor | Callable[[torch.Tensor], torch.Tensor]


def batch_curvature(problem: Problem, batch: Batch) -> float:
    """Curvature of a training step's loss along its own gradient, g_BᵀH_B g_B / ‖g_B‖².

    Batch norm uses the batch's statistics, as in training; the batch is then not cut into chunks.

    Returns:
        The quotient, or NaN where the gradient vanishes.
    """
    whole = batch.samples if problem.has_batch_norm else problem.data.chunk
    parts = list(batch.chunks(whole))
    with problem.batch_statistics():
        slope = gradient(problem, parts)
        square = float(slope @ slope)
        return float(slope @ Hessian(problem, parts)(slope)) / square if square else math.nan
