"""Gauss–Newton and empirical Fisher matrices: curvature that is never negative.

With outputs f, J = ∂f/∂θ and the loss ℓ of the outputs, the Hessian is Jᵀ ∇²ℓ J + Σ ∂ℓ/∂f ∇²f.
The first term is the generalized Gauss–Newton matrix (Schraudolph 2002, "Fast curvature
matrix-vector products for second-order gradient descent").
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.func import functional_call

from lla.curvature.operators import SummedOperator, slopes_along
from lla.errors import ProblemError
from lla.problem import Batch, Problem
from lla.problem.forward import outputs_of
from lla.problem.losses import BatchLoss
from lla.problem.objective import Terms

__all__ = ["EmpiricalFisher", "GaussNewton", "loss_at", "network_at"]


class _Chunk(NamedTuple):
    """A chunk's outputs and what its products are differentiated from.

    Attributes:
        outputs: f(θ), shape (n, …).
        direction: u, of the outputs' shape; where it is zero does not matter.
        back: Jᵀu as a function of u, shape (P,); J v is its derivative along v.
        leaf: The outputs' values on their own.
        slope: ∂ℓ/∂f at the leaf, of the outputs' shape.
    """

    outputs: torch.Tensor
    direction: torch.Tensor
    back: torch.Tensor
    leaf: torch.Tensor
    slope: torch.Tensor


class _Network(nn.Module):
    """A network as a function of a batch, so that parameters can be replaced for one call."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: Batch) -> torch.Tensor:
        return outputs_of(self.module, batch)


class _Known(nn.Module):
    """Stands in for the network where its outputs are known."""

    def __init__(self, outputs: torch.Tensor) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, *inputs: object, **named: object) -> torch.Tensor:
        return self.outputs


def network_at(problem: Problem, theta: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The network's outputs at θ for a batch, shape (n, …); differentiable by θ."""
    named = {f"module.{k}": part for k, part in problem.named(theta).items()}
    outputs: torch.Tensor = functional_call(_Network(problem.module), named, (batch,))
    return outputs


def loss_at(problem: Problem, outputs: torch.Tensor, batch: Batch) -> Terms:
    """The loss terms of a batch where the network's outputs are these."""
    return problem.objective.loss(_Known(outputs), batch)


class _ThroughOutputs(SummedOperator[_Chunk]):
    """Jᵀ M J, where M acts on the outputs of one sample at a time."""

    def __init__(self, problem: Problem, *args: object, **options: object) -> None:
        if isinstance(problem.objective.loss, BatchLoss):
            raise ProblemError(
                "a loss fn(module, batch) does not say what of it is the network and what the "
                "loss, and Gauss–Newton and Fisher matrices are made of the two",
                "write it as fn(output, target), or use the Hessian",
            )
        super().__init__(problem, *args, **options)  # type: ignore[arg-type]

    def _build(self, batch: Batch) -> tuple[_Chunk, torch.Tensor]:
        problem = self._problem
        outputs = network_at(problem, self._theta, batch)
        direction = torch.zeros_like(outputs, requires_grad=True)
        back = torch.zeros_like(self._theta)
        if outputs.requires_grad:
            (back,) = torch.autograd.grad(
                outputs,
                self._theta,
                grad_outputs=direction,
                create_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
        self._refuse_once(back)
        leaf = outputs.detach().requires_grad_(True)
        terms = loss_at(problem, leaf, batch)
        (slope,) = torch.autograd.grad(terms.total, leaf, create_graph=True)
        return _Chunk(outputs, direction, back, leaf, slope), terms.weight

    def _apply(self, graph: _Chunk, along: torch.Tensor, *, keep: bool) -> torch.Tensor:
        if not graph.back.requires_grad:
            return torch.zeros_like(along)  # outputs that do not depend on the parameters
        # Linear in u: the graph of Jᵀu is also that of J v.
        forward = slopes_along(graph.back, graph.direction, along, keep=True)
        weighed = self._weigh(graph, forward, keep=keep)
        return slopes_along(graph.outputs, self._theta, weighed, keep=keep)

    def _weigh(self, graph: _Chunk, forward: torch.Tensor, *, keep: bool) -> torch.Tensor:
        """M applied to each J v, shape (b, *outputs)."""
        raise NotImplementedError


class GaussNewton(_ThroughOutputs):
    """The generalized Gauss–Newton matrix (1/Σ weight) Σ Jᵀ ∇²ℓ J.

    It equals the Hessian where the network is linear in θ, and is positive semi-definite where ℓ
    is convex in the outputs.

    Raises:
        ProblemError: The loss is of the form ``fn(module, batch)``.
    """

    def _weigh(self, graph: _Chunk, forward: torch.Tensor, *, keep: bool) -> torch.Tensor:
        if not graph.slope.requires_grad:
            return torch.zeros_like(forward)  # a loss linear in the outputs
        return slopes_along(graph.slope, graph.leaf, forward, keep=keep)


class EmpiricalFisher(_ThroughOutputs):
    """The second moment of the samples' gradients, (1/Σ weight) Σ_i g_i g_iᵀ.

    g_i is the gradient of sample i's loss *sum*: of all tokens of a sequence, of all elements of
    an output. It takes the data's own targets, and so is no approximation of the Hessian away
    from a perfect fit (Kunstner et al. 2019, "Limitations of the empirical Fisher approximation").

    Raises:
        ProblemError: The loss is of the form ``fn(module, batch)``.
    """

    def _weigh(self, graph: _Chunk, forward: torch.Tensor, *, keep: bool) -> torch.Tensor:
        slope = graph.slope.detach()
        # Over all of a sample's outputs; the axes are those of the block, the samples, the rest.
        over = tuple(range(2, forward.ndim))
        return slope * (slope * forward).sum(dim=over, keepdim=True) if over else slope**2 * forward
