"""Gradient and Hessian of L(θ) = Σ sums / Σ counts, exact however the data is cut into chunks.

Each product differentiates the gradient along a vector (Pearlmutter 1994, "Fast exact
multiplication by the Hessian"): H v = ∇(∇L · v).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

import torch

from lla.problem import Batch, Problem

__all__ = ["Hessian", "SummedOperator", "batch_curvature", "gradient", "slope_along"]

G = TypeVar("G")


def _differentiable(problem: Problem) -> torch.Tensor:
    return problem.theta.detach().clone().requires_grad_(True)


def _chunks(problem: Problem, batches: Sequence[Batch] | None) -> Iterable[Batch]:
    return problem.data.chunks() if batches is None else batches


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
    theta = _differentiable(problem)
    total = torch.zeros_like(theta, dtype=torch.float64)
    weight = torch.zeros((), dtype=torch.float64, device=theta.device)
    for batch in _chunks(problem, batches):
        slope, part = _slope(problem, theta, batch)
        total += slope
        weight += part
    return total / weight


class SummedOperator(Generic[G]):
    """A curvature matrix Σ (chunk's matrix) / Σ weight as a function from vectors to vectors.

    Vectors are float64 whatever the model computes in; each chunk's product is made in the
    model's dtype and added up in float64.

    Attributes:
        size: P, the number of analysed parameters.
        device: Where vectors have to be.
        eps: Unit roundoff of a product.
        kept_bytes: Memory that kept graphs take.
    """

    def __init__(
        self,
        problem: Problem,
        batches: Sequence[Batch] | None = None,
        *,
        memory: int = 0,
        on_product: Callable[[], None] = lambda: None,
    ) -> None:
        """Make the operator.

        Args:
            problem: Network, parameters and loss.
            batches: The samples the loss is taken over; all data if None.
            memory: Bytes that the chunks' graphs may take to be kept between products; a product
                on a kept graph costs about half of one that builds it anew.
            on_product: Called after each product.
        """
        self.size = problem.space.size
        self.device = problem.device
        self.eps = torch.finfo(problem.theta.dtype).eps
        self.kept_bytes = 0
        self._problem = problem
        self._batches = batches
        self._memory = memory
        self._on_product = on_product
        self._theta = _differentiable(problem)
        self._kept: dict[int, tuple[G, torch.Tensor]] = {}

    def __call__(self, vector: torch.Tensor) -> torch.Tensor:
        """The matrix times a vector, over the samples.

        Args:
            vector: float64, shape (P,).

        Returns:
            float64, shape (P,).
        """
        along = vector.to(self._theta.dtype)
        product = torch.zeros_like(vector)
        weight = torch.zeros((), dtype=torch.float64, device=self.device)
        with self._problem.second_order():
            for index, batch in enumerate(_chunks(self._problem, self._batches)):
                graph, part = self._kept.get(index) or self._graph(index, batch)
                weight += part
                product += self._apply(graph, along, keep=index in self._kept)
        self._on_product()
        return product / weight

    def _build(self, batch: Batch) -> tuple[G, torch.Tensor]:
        """What the products of a chunk are differentiated from, and the chunk's weight."""
        raise NotImplementedError

    def _apply(self, graph: G, along: torch.Tensor, *, keep: bool) -> torch.Tensor:
        """A chunk's product, shape (P,); the graph is used up unless it is kept."""
        raise NotImplementedError

    def _graph(self, index: int, batch: Batch) -> tuple[G, torch.Tensor]:
        """A chunk's graph, kept for later products if it fits the memory."""
        if self.kept_bytes >= self._memory:
            return self._build(batch)
        sizes: dict[int, int] = {}

        def measure(saved: torch.Tensor) -> torch.Tensor:
            storage = saved.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return saved

        with torch.autograd.graph.saved_tensors_hooks(measure, lambda saved: saved):
            made = self._build(batch)
        taken = sum(sizes.values())
        if self.kept_bytes + taken <= self._memory:
            self.kept_bytes += taken
            self._kept[index] = made
        else:
            # The next chunk is about as large: stop trying.
            self._memory = self.kept_bytes
        return made


class Hessian(SummedOperator[torch.Tensor]):
    """The Hessian of a problem's loss: ∇(∇L · v), Pearlmutter 1994."""

    def _build(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        return _slope(self._problem, self._theta, batch, create_graph=True)

    def _apply(self, graph: torch.Tensor, along: torch.Tensor, *, keep: bool) -> torch.Tensor:
        if not graph.requires_grad:
            return torch.zeros_like(along)  # a loss linear in θ has no curvature on this chunk
        return slope_along(graph, self._theta, along, keep=keep)


def slope_along(
    values: torch.Tensor, leaf: torch.Tensor, along: torch.Tensor, *, keep: bool
) -> torch.Tensor:
    """∇(values · along) by ``leaf``; zero where ``values`` does not depend on it."""
    (found,) = torch.autograd.grad(
        values,
        leaf,
        grad_outputs=along,
        retain_graph=keep,
        allow_unused=True,
        materialize_grads=True,
    )
    return found


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
