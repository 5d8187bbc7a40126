"""Gradient and Hessian of L(θ) = Σ sums / Σ counts.

Each product differentiates the gradient along a vector (Pearlmutter 1994, "Fast exact
multiplication by the Hessian"): H v = ∇(∇L · v).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from typing import Self

import torch

from lla.curvature.differences import along_by_differences, best_step
from lla.curvature.operators import SummedOperator, add_up, differentiable, slopes_along
from lla.curvature.ways import ONE_BY_ONE, Way
from lla.problem import Batch, Problem

__all__ = ["Hessian", "batch_curvature", "gradient"]


def _slope(
    problem: Problem, theta: torch.Tensor, batch: Batch, *, create_graph: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient of a batch's loss sum, shape (P,), and the batch's weight."""
    terms = problem.terms(theta, batch)
    # A loss that does not use the analysed parameters has a gradient: zero.
    if not terms.total.requires_grad:
        return torch.zeros_like(theta), terms.weight
    (slope,) = torch.autograd.grad(
        terms.total, theta, create_graph=create_graph, allow_unused=True, materialize_grads=True
    )
    return slope, terms.weight


def gradient(problem: Problem, batches: Sequence[Batch] | None = None) -> torch.Tensor:
    """∇L at the checkpoint over the given batches, or over all data: float64, shape (P,)."""
    theta = differentiable(problem)
    total = torch.zeros_like(theta, dtype=torch.float64)
    weight = torch.zeros((), dtype=torch.float64, device=theta.device)
    with problem.team.timed("gradients"):
        for batch in problem.share(batches):
            slope, part = _slope(problem, theta, batch)
            add_up(total, slope)
            weight += part
    if problem.team.size > 1:
        sums = problem.summed(torch.cat([total, weight[None]]))
        total, weight = sums[:-1], sums[-1]
    return problem.whole_of(total.div_(weight))


class Hessian(SummedOperator["_Slope"]):
    """The Hessian of a problem's loss: ∇(∇L · v), Pearlmutter 1994, or differences of ∇L.

    Raises:
        NoSecondDerivativeError: At a product, unless the way is "difference".
    """

    remedy = "central differences of gradients approximate them: --method difference"

    @property
    def step(self) -> float:
        """Distance from θ at which differences take gradients; chosen on first use."""
        if not self._way.step:
            slope = self._function(next(self._problem.data.chunks()))
            with self._problem.second_order():
                self._way = replace(self._way, step=best_step(slope, self._problem.theta))
        return self._way.step

    def coarser(self) -> Self | None:
        """The same by differences over twice the distance, or None where products are exact.

        How products of the two differ tells how far off they are: they have three times the
        truncation between them, once where the loss has kinks, and the rounding of both.
        """
        if not self._way.approximate:
            return None
        made = copy(self)
        made._way = replace(self._way, step=2 * self.step)
        return made

    def _build(self, batch: Batch) -> tuple[_Slope, torch.Tensor]:
        if self._way.method == "reverse":
            slope, weight = _slope(self._problem, self._theta, batch, create_graph=True)
            self._refuse_once(slope)
            return slope, weight
        problem = self._problem
        with torch.no_grad():
            weight = problem.terms(problem.theta, batch).weight
        return self._function(batch), weight

    def _measured(self, batch: Batch) -> tuple[tuple[_Slope, torch.Tensor], int]:
        made, taken = super()._measured(batch)
        slope = made[0]
        return made, taken + (slope.nbytes if isinstance(slope, torch.Tensor) else 0)

    def _function(self, batch: Batch) -> Callable[[torch.Tensor], torch.Tensor]:
        """∇ of a batch's loss sum as a function of θ."""
        problem = self._problem
        if self._way.method == "forward":
            return torch.func.grad(lambda theta: problem.terms(theta, batch).total)
        # What differentiates functions would ask custom operations for rules of their own.
        return lambda theta: _slope(problem, theta.detach().requires_grad_(True), batch)[0]

    def _apply(self, graph: _Slope, along: torch.Tensor, *, keep: bool) -> torch.Tensor:
        if not isinstance(graph, torch.Tensor):
            theta = self._problem.theta
            if self._way.method == "forward":
                return _forward_along(graph, theta, along)
            return along_by_differences(graph, theta, along, self.step)
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


def batch_curvature(
    problem: Problem,
    batch: Batch,
    *,
    decay: float = 0.0,
    way: Way = ONE_BY_ONE,
    on_step_down: Callable[[str], None] = lambda what: None,
) -> float:
    """Curvature of a training step's loss along its own gradient, g_BᵀH_B g_B / ‖g_B‖².

    Batch norm uses the batch's statistics, as in training; the batch is then not cut into chunks.

    Args:
        problem: Network, parameters and loss.
        batch: The step's samples.
        decay: Weight decay λ in the loss: λθ is added to the gradient, λ to the curvature.
        way: How the product is made.
        on_step_down: Told what is given up where memory runs out.

    Returns:
        The quotient, or NaN where the gradient vanishes.
    """
    whole = batch.samples if problem.has_batch_norm else problem.data.chunk
    parts = list(batch.chunks(whole))
    with problem.batch_statistics():
        slope = gradient(problem, parts) + decay * problem.theta.double()
        square = float(slope @ slope)
        if not square:
            return math.nan
        product = Hessian(problem, parts, way=way, on_step_down=on_step_down)
        return float(slope @ product(slope)) / square + decay
