"""Slope and curvature of each sample's own loss along a direction, and what makes it curved.

Differentiated forwards twice, all samples of a chunk at once: ℓ_i(θ + t v) by t. Where an operation
of the network has no such rule, each sample is differentiated backwards instead.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from lla.problem import Batch, Problem

__all__ = ["Along", "along", "sharpness_gradient"]

Along = tuple[torch.Tensor, torch.Tensor]
Losses = Callable[[torch.Tensor], torch.Tensor]


def along(problem: Problem, batch: Batch, vector: torch.Tensor) -> Along:
    """v·∇ℓ_i and vᵀH_i v of each sample's own loss ℓ_i at the checkpoint, each of shape (n,).

    Args:
        problem: Network, θ and loss.
        batch: n samples, with one input tensor.
        vector: v, shape (P,).
    """
    theta, v = problem.theta.detach(), vector.to(problem.theta)
    with problem.second_order():
        try:
            inputs, targets = _tensor(batch), batch.targets
            first = _forward(_losses(problem, inputs, targets), v)
            return torch.func.jvp(first, (theta,), (v,))
        except (RuntimeError, NotImplementedError):
            parts = [_backward(problem, one, v) for one in batch.chunks(1)]
            slopes, curvatures = zip(*parts, strict=True)
            return torch.stack(slopes).detach(), torch.stack(curvatures).detach()


def sharpness_gradient(problem: Problem, batch: Batch, vector: torch.Tensor) -> torch.Tensor:
    """∂(vᵀH_i v)/∂x_i for each sample: which pixels make its loss sharp along v; shape of inputs.

    Args:
        problem: Network, θ and loss.
        batch: n samples, with one input tensor.
        vector: v, shape (P,).
    """
    theta, v = problem.theta.detach(), vector.to(problem.theta)
    images = _tensor(batch).detach()

    def total(inputs: torch.Tensor) -> torch.Tensor:
        first = _forward(_losses(problem, inputs, batch.targets), v)
        curvature: torch.Tensor = torch.func.jvp(first, (theta,), (v,))[1]
        return curvature.sum()

    with problem.second_order():
        try:
            found: torch.Tensor = torch.func.grad(total)(images)
            return found.detach()
        except (RuntimeError, NotImplementedError):
            inputs = images.clone().requires_grad_(True)
            _, curvature = _backward(problem, Batch(inputs, batch.targets), v)
            (slope,) = torch.autograd.grad(curvature, inputs)
            return slope


def _tensor(batch: Batch) -> torch.Tensor:
    assert isinstance(batch.inputs, torch.Tensor)
    return batch.inputs


def _losses(problem: Problem, inputs: torch.Tensor, targets: torch.Tensor) -> Losses:
    """θ → each sample's loss, shape (n,)."""

    def losses(theta: torch.Tensor) -> torch.Tensor:
        def one(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return problem.terms(theta, Batch(x[None], y[None])).total

        found: torch.Tensor = torch.func.vmap(one)(inputs, targets)
        return found

    return losses


def _forward(losses: Losses, v: torch.Tensor) -> Losses:
    """θ → v·∇ℓ_i."""

    def first(theta: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = torch.func.jvp(losses, (theta,), (v,))[1]
        return found

    return first


def _backward(problem: Problem, batch: Batch, v: torch.Tensor) -> Along:
    """The same of the sum over a batch, by differentiating backwards."""
    theta = problem.theta.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        loss = problem.terms(theta, batch).total
        (slope,) = torch.autograd.grad(
            loss, theta, create_graph=True, allow_unused=True, materialize_grads=True
        )
        first = slope @ v
        if not first.requires_grad:
            return first, torch.zeros_like(first, requires_grad=True)
        (product,) = torch.autograd.grad(
            first, theta, create_graph=True, allow_unused=True, materialize_grads=True
        )
        return first, product @ v
