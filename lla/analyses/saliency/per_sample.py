"""Slope and curvature of each sample's own loss along a direction, and what makes it curved.

All samples of a chunk at once and backwards only: with weights u on the samples' losses ℓ_i,
v·∇ℓ_i is the derivative by u_i of v·∇(Σ u_i ℓ_i), and vᵀH_i v that of vᵀ∇(v·∇(Σ u_i ℓ_i)).
"""

from __future__ import annotations

import torch

from lla.analyses.saliency.norms import elementary_norms
from lla.problem import Batch, Problem

__all__ = ["Along", "along", "sharpness_gradient"]

Along = tuple[torch.Tensor, torch.Tensor]


def along(problem: Problem, batch: Batch, vector: torch.Tensor) -> Along:
    """v·∇ℓ_i and vᵀH_i v of each sample's own loss ℓ_i at the checkpoint, each of shape (n,).

    Args:
        problem: Network, θ and loss.
        batch: n samples, with one input tensor.
        vector: v, shape (P,).
    """
    with problem.second_order(), elementary_norms(), torch.enable_grad():
        first, second = _along(problem, _tensor(batch), batch.targets, vector)
    return first.detach(), second.detach()


def sharpness_gradient(problem: Problem, batch: Batch, vector: torch.Tensor) -> torch.Tensor:
    """∂(vᵀH_i v)/∂x_i for each sample: which pixels make its loss sharp along v; shape of inputs.

    Args:
        problem: Network, θ and loss.
        batch: n samples, with one input tensor.
        vector: v, shape (P,).
    """
    inputs = _tensor(batch).detach().clone().requires_grad_(True)
    with problem.second_order(), elementary_norms(), torch.enable_grad():
        _, curvature = _along(problem, inputs, batch.targets, vector)
        return _slope(curvature.sum(), inputs, create_graph=False)


def _along(
    problem: Problem, inputs: torch.Tensor, targets: torch.Tensor, vector: torch.Tensor
) -> Along:
    theta = problem.theta.detach().clone().requires_grad_(True)
    v = vector.to(theta)
    losses = _losses(problem, theta, inputs, targets)
    u = torch.ones_like(losses, requires_grad=True)
    slope = _slope((losses * u).sum(), theta) @ v
    return _slope(slope, u), _slope(_slope(slope, theta) @ v, u)


def _slope(total: torch.Tensor, by: torch.Tensor, *, create_graph: bool = True) -> torch.Tensor:
    """The gradient of a number; zero where it does not depend on it."""
    if not total.requires_grad:
        return torch.zeros_like(by)
    (found,) = torch.autograd.grad(
        total, by, create_graph=create_graph, allow_unused=True, materialize_grads=True
    )
    return found


def _losses(
    problem: Problem, theta: torch.Tensor, inputs: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Each sample's mean loss, shape (n,); one by one where the network resists vectorizing."""

    def one(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        terms = problem.terms(theta, Batch(x[None], y[None]))
        # A sample whose target is ignored has neither loss nor weight.
        return terms.total / torch.where(terms.weight > 0, terms.weight, 1)

    try:
        found: torch.Tensor = torch.func.vmap(one)(inputs, targets)
    except (RuntimeError, NotImplementedError):
        found = torch.stack([one(x, y) for x, y in zip(inputs, targets, strict=True)])
    return found


def _tensor(batch: Batch) -> torch.Tensor:
    assert isinstance(batch.inputs, torch.Tensor)
    return batch.inputs
