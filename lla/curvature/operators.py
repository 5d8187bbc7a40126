"""Curvature matrices as sums over chunks of the data, exact however it is cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from typing import Generic, Self, TypeVar

import torch

from lla.curvature.convolution import fast_convolutions
from lla.curvature.recomputing import recomputing, within_block
from lla.curvature.ways import (
    ONE_BY_ONE,
    Way,
    in_precision,
    kernels_of,
    lacks_second_derivative,
    out_of_memory,
    refuses_another,
)
from lla.errors import NoSecondDerivativeError, RankFailedError
from lla.problem import Batch, Problem

__all__ = [
    "SummedOperator",
    "Trouble",
    "add_up",
    "differentiable",
    "measured",
    "slopes_along",
]

Trouble = RuntimeError | NoSecondDerivativeError | RankFailedError
_COLUMNS = 1 << 20

G = TypeVar("G")
T = TypeVar("T")


def differentiable(problem: Problem) -> torch.Tensor:
    """The checkpoint's parameters as a new leaf, shape (P,), in the same memory."""
    return problem.theta.detach().requires_grad_(True)


class SummedOperator(Generic[G]):
    """A curvature matrix Σ (chunk's matrix) / Σ weight as a function from vectors to vectors.

    Vectors are float64 whatever the model computes in; each chunk's product is made in the
    model's dtype and added up in float64.

    Attributes:
        size: P, the number of analysed parameters.
        device: Where vectors have to be.
        eps: Relative error of a product: the unit roundoff, and for differences its power ⅔.
        note: What is to be said of products that are not exact to the model's rounding, or "".
        remedy: What to do where the network lacks the derivatives that products need.
        kept_bytes: Memory that kept graphs take.
        weight: Σ weight of the samples, once a product has been made.
        team: Ranks that share out the samples.
    """

    remedy = "use the Hessian, which central differences approximate: --operator hessian"

    def __init__(
        self,
        problem: Problem,
        batches: Sequence[Batch] | None = None,
        *,
        memory: int = 0,
        way: Way = ONE_BY_ONE,
        on_products: Callable[[int], None] = lambda count: None,
        on_step_down: Callable[[str], None] = lambda what: None,
    ) -> None:
        """Make the operator.

        Args:
            problem: Network, parameters and loss.
            batches: The samples the loss is taken over; all data if None.
            memory: Bytes that the chunks' graphs may take to be kept between products; a product
                on a kept graph costs about half of one that builds it anew.
            way: How a chunk's products are made.
            on_products: Called after each block with the number of its products.
            on_step_down: Told what is given up where memory runs out.
        """
        self.size = problem.space.size
        self.device = problem.device
        self.eps = way.eps(problem.theta.dtype)
        self.note = way.note
        self.kept_bytes = 0
        self.weight = 0.0
        self.team = problem.team
        self._problem = problem = in_precision(problem, way.precision)
        if batches and way.precision == "bfloat16":
            batches = [batch.in_dtype(problem.theta.dtype) for batch in batches]
        self._batches = batches
        self._memory = memory
        self._way = way
        self._on_products = on_products
        self._on_step_down = on_step_down
        self._theta = differentiable(problem)
        self._kept: dict[int, tuple[G, torch.Tensor]] = {}
        self._seen = False

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        """The matrix times a vector or each row of a block, over the samples.

        Args:
            vectors: float64, shape (P,) or (b, P).

        Returns:
            float64, of the vectors' shape.
        """
        block = vectors if vectors.ndim > 1 else vectors[None]
        product = self._stepping_down(block)
        self._on_products(len(block))
        return product if vectors.ndim > 1 else product[0]

    def over_groups(
        self, vectors: torch.Tensor, groups: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The products over all groups of samples together, and the forms X A_g Xᵀ of each.

        Args:
            vectors: X, float64, shape (b, P).
            groups: Positions of samples; together they are all samples. They are cut into chunks
                for the computation, which changes nothing.

        Returns:
            The products, shape (b, P), and the forms, shape (groups, b, b), each of its group's
            own mean loss. A group whose targets are all ignored has none, and is left out.

        Raises:
            ProblemError: The loss of all samples is not the sum of the groups'.
        """
        if len(groups) > 1:
            self._problem.refuse_cut()
        data = self._problem.data
        total, weights, forms = torch.zeros_like(vectors), [], []
        for group in groups:
            part = self.on(list(data.select(group).chunks(data.chunk)))
            product = part._stepping_down(vectors)
            if not part.weight:
                continue
            forms.append(vectors @ product.T)
            weights.append(part.weight)
            total += product * part.weight
        self._on_products(len(vectors))
        return total / sum(weights), torch.stack(forms)

    def on(self, batches: Sequence[Batch]) -> Self:
        """The same operator over other samples; it keeps no graphs."""
        made = copy(self)
        made._batches, made._memory, made._kept, made.kept_bytes = list(batches), 0, {}, 0
        return made

    def _stepping_down(self, block: torch.Tensor) -> torch.Tensor:
        """The products; where memory runs out, with less of it."""
        while True:
            product, weight, error = self._attempt(block)
            if error is None:
                self.weight = float(weight)
                return product.div_(weight)
            if isinstance(error, NoSecondDerivativeError) or not self._step_down():
                raise error

    def _attempt(self, block: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Trouble | None]:
        """All ranks' sums of products and of weights, and what stopped one of them."""
        product = block[:0]
        weight = torch.zeros((), dtype=torch.float64, device=self.device)
        error: Trouble | None = None
        try:
            with self.team.timed("products"):
                product, weight = self._summed(block)
        except NoSecondDerivativeError as found:
            error = found
        except RuntimeError as found:
            if lacks_second_derivative(found):
                error = self._undifferentiable(str(found))
                error.__cause__ = found.with_traceback(None)
            elif out_of_memory(found):
                error = found.with_traceback(None)  # which would hold the memory
            else:
                raise
        if self.team.size == 1:
            return product, weight, error
        if error is not None:
            product = torch.zeros_like(block)
        # In one sum with the product: whatever stops one rank, the others have to know.
        lacking = isinstance(error, NoSecondDerivativeError)
        told = weight.new_zeros(2 + self.team.size)
        told[0], told[1] = weight, lacking
        told[2 + self.team.rank] = error is not None and not lacking
        sums = self.team.sum(torch.cat([product.flatten(), told]))
        (weight, lacks), full = sums[block.numel() :][:2], sums[block.numel() + 2 :]
        product = sums[: block.numel()]
        if lacks and not lacking:
            error = self._undifferentiable("another rank says so")
        elif full.any() and error is None:
            rank = int(full.argmax())
            error = RankFailedError(
                f"rank {rank} of {self.team.size} (counted from 0) ran out of memory, with nothing "
                "left to give up",
                "give more memory, or take more ranks",
                rank=rank,
            )
        return product.reshape(block.shape), weight, error

    def _step_down(self) -> bool:
        """Give up what takes memory, cheapest first; False if nothing is left to give up."""
        if self.team.any(bool(self._kept or self._memory)):
            self.release()
            self._memory = 0
            self._on_step_down("graphs made anew")
        elif self._way.together > 1:
            self._way = replace(self._way, together=self._way.together // 2)
            self._on_step_down(f"{self._way.together} vectors at once")
        else:
            whole = list(self._problem.batches(self._batches))
            chunk = max(batch.samples for batch in whole)
            if chunk == 1 or self._problem.coupled_layers:
                return False
            half = -(-chunk // 2)
            self._batches = [part for batch in whole for part in batch.chunks(half)]
            self._on_step_down(f"chunks of {half}")
        return True

    def coarser(self) -> Self | None:
        """The same with a larger error, or None where products are exact to rounding."""
        return None

    def release(self) -> None:
        """Let go of all kept graphs."""
        self._kept, self.kept_bytes = {}, 0

    def _summed(self, block: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Sums of the chunks' products, (b, P), and of their weights."""
        along = block.to(self._theta.dtype)
        product = torch.zeros_like(block)
        weight = torch.zeros((), dtype=torch.float64, device=self._theta.device)
        with self._problem.second_order(), self._kernels(), kernels_of(self._way.precision):
            for index, batch in enumerate(self._problem.share(self._batches)):
                graph, part = self._kept.get(index) or self._graph(index, batch)
                weight += part
                keep = index in self._kept
                for start in range(0, len(block), self._way.together):
                    place = slice(start, start + self._way.together)
                    last = start + self._way.together >= len(block)
                    add_up(product[place], self._apply(graph, along[place], keep=keep or not last))
                del graph
        return product, weight

    @contextmanager
    def _kernels(self) -> Iterator[None]:
        if self._way.method != "reverse":
            # vmap and forward differentiation have their own rules for convolutions.
            yield
            return
        with fast_convolutions(), recomputing(self._problem.module, self._way.recompute):
            yield

    def _build(self, batch: Batch) -> tuple[G, torch.Tensor]:
        """What the products of a chunk are differentiated from, and the chunk's weight."""
        raise NotImplementedError

    def _apply(self, graph: G, along: torch.Tensor, *, keep: bool) -> torch.Tensor:
        """A chunk's products of a block, (b, P); the graph is used up unless it is kept."""
        raise NotImplementedError

    def _undifferentiable(self, why: str) -> NoSecondDerivativeError:
        return NoSecondDerivativeError(
            "products differentiate the network twice, and an operation of it has no second "
            f"derivative: {why}",
            self.remedy,
        )

    def _refuse_once(self, slope: torch.Tensor) -> None:
        """See, the first time that a graph is built, that it can be differentiated again."""
        if not self._seen and refuses_another(slope):
            raise self._undifferentiable("it is marked as differentiable once only")
        self._seen = True

    def _graph(self, index: int, batch: Batch) -> tuple[G, torch.Tensor]:
        """A chunk's graph, kept for later products if it fits the memory."""
        if self.kept_bytes >= self._memory:
            return self._build(batch)
        made, taken = self._measured(batch)
        if self.kept_bytes + taken <= self._memory:
            self.kept_bytes += taken
            self._kept[index] = made
        else:
            # The next chunk is about as large: stop trying.
            self._memory = self.kept_bytes
        return made

    def graph_bytes(self, batch: Batch) -> int:
        """Bytes that a chunk's graph holds, parameters aside."""
        with self._problem.second_order(), self._kernels(), kernels_of(self._way.precision):
            return self._measured(batch)[1]

    def _measured(self, batch: Batch) -> tuple[tuple[G, torch.Tensor], int]:
        # Graphs refer to the parameters, which are there anyway.
        others = (tensor for _, tensor in self._problem.others())
        return measured(lambda: self._build(batch), self._theta, *others)


def measured(build: Callable[[], T], *there: torch.Tensor) -> tuple[T, int]:
    """What is built, and the bytes that its graph holds beside what is there already."""
    sizes: dict[int, int] = {}

    def measure(saved: torch.Tensor) -> torch.Tensor:
        if within_block():
            return saved
        storage = saved.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(measure, lambda saved: saved):
        made = build()
    for tensor in there:
        sizes.pop(tensor.untyped_storage().data_ptr(), None)
    return made, sum(sizes.values())


def add_up(total: torch.Tensor, part: torch.Tensor) -> None:
    """Add to float64 sums, (…, P), what may be of a lower precision.

    Some columns at a time: on a CPU torch would convert all of it first.
    """
    for start in range(0, total.shape[-1], _COLUMNS):
        place = slice(start, start + _COLUMNS)
        total[..., place] += part[..., place]


def slopes_along(
    values: torch.Tensor, leaf: torch.Tensor, along: torch.Tensor, *, keep: bool
) -> torch.Tensor:
    """∇(values · a) by ``leaf`` for each a of a block; zero where there is no dependence.

    Args:
        values: Any shape (…).
        leaf: What to differentiate by.
        along: Shape (b, …).
        keep: Whether the graph is needed again.

    Returns:
        Shape (b, *leaf.shape).
    """
    found = []
    for index, vector in enumerate(along):
        (one,) = torch.autograd.grad(
            values,
            leaf,
            grad_outputs=vector,
            retain_graph=keep or index + 1 < len(along),
            allow_unused=True,
            materialize_grads=True,
        )
        found.append(one)
    return torch.stack(found) if len(found) > 1 else found[0][None]
