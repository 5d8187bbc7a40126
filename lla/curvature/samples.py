"""Curvature and derivatives of single samples, some at a time: never n vectors of P numbers.

Forms vᵀG_iv of all samples come with one product of the Gauss–Newton matrix, in which the outputs
of different samples are kept apart. Jacobians and Hessian products of single samples are made
under ``vmap``; where a network's code does not allow that, one sample after the other.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.func import grad, jacrev, vmap

from lla.curvature.gauss_newton import GaussNewton, loss_at, network_at
from lla.curvature.hessian import Hessian
from lla.curvature.operators import differentiable, slopes_along
from lla.curvature.ways import kernels_of, out_of_memory
from lla.problem import Batch, Problem
from lla.problem.inputs import mapped

__all__ = ["SampleForms", "Samples"]

_SHOWN = 100  # letters of an error
_CONVEX = 1e-4  # a negative eigenvalue of ∇²ℓ, relative to the largest, that is no rounding


class SampleForms(GaussNewton):
    """The Gauss–Newton matrix, and what of its products is each sample's own.

    All are of the samples' loss sums: whoever averages divides.
    """

    def forms(
        self, vectors: torch.Tensor, weights: torch.Tensor | None = None, *, sums: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Each sample's vᵀG_iv, and the sums Σ_i w_i G_i v.

        Args:
            vectors: float64, shape (b, P).
            weights: w, shape (b, n); None for ones.
            sums: Whether the sums are asked for; else they are zero.

        Returns:
            float64, shapes (b, n) and (b, P).
        """
        along = vectors.to(self._theta.dtype)
        total, parts, start = torch.zeros_like(vectors), [], 0
        given = self._batches
        count = len(self._problem.data) if given is None else sum(part.samples for part in given)
        if weights is not None:
            weights = weights[:, self.team.share(count)]
        with self._problem.second_order(), self._kernels(), kernels_of(self._way.precision):
            for index, batch in enumerate(self._problem.share(given)):
                graph, _ = self._kept.get(index) or self._graph(index, batch)
                place = slice(start, start + batch.samples)
                own = None if weights is None else weights[:, place].to(along)
                for row, vector in enumerate(along):
                    forward = slopes_along(graph.back, graph.direction, vector[None], keep=True)
                    weighed = self._weigh(graph, forward, keep=True)
                    flat = (forward * weighed).reshape(batch.samples, -1)
                    parts.append((row, place, flat.double().sum(1)))
                    if not sums:
                        continue
                    if own is not None:
                        shape = (1, batch.samples, *[1] * (weighed.ndim - 2))
                        weighed = weighed * own[row].view(shape)
                    total[row] += slopes_along(graph.outputs, self._theta, weighed, keep=True)[0]
                start = place.stop
                del graph
        forms = torch.empty(len(vectors), start, dtype=torch.float64, device=self.device)
        for row, place, values in parts:
            forms[row, place] = values
        self._on_products(len(vectors))
        return self.team.joined(forms, count), self.team.sum(total)


class Samples:
    """Derivatives of single samples at the checkpoint.

    Attributes:
        looped: Why samples are taken one after the other, or "".
        chunk: Samples at a time.
    """

    def __init__(
        self, problem: Problem, *, chunk: int = 32,
        on_samples: Callable[[int], None] = lambda count: None,
    ) -> None:  # fmt: skip
        """Make them.

        Args:
            problem: Network, parameters and loss; the samples must not depend on one another.
            chunk: Samples at a time.
            on_samples: Called with the number of samples that were differentiated.
        """
        self.looped = ""
        self.chunk = chunk
        self._problem, self._on_samples = problem, on_samples

    def chunks(self, batch: Batch) -> list[Batch]:
        """The samples of a batch as they are differentiated at a time."""
        return list(batch.chunks(self.chunk))

    def products(self, batch: Batch, vectors: torch.Tensor) -> torch.Tensor:
        """H_i v of one vector, or H_i v_i of one for each sample; of the samples' loss sums.

        Args:
            batch: m samples.
            vectors: float64, shape (P,) or (m, P).

        Returns:
            float64, shape (m, P).
        """
        problem, theta = self._problem, self._problem.theta.detach()
        along = vectors.to(theta.dtype)
        each = along.expand(batch.samples, -1)

        def product(sample: Batch, vector: torch.Tensor) -> torch.Tensor:
            def slope(at: torch.Tensor) -> torch.Tensor:
                found: torch.Tensor = grad(lambda x: problem.terms(x, _alone(sample)).total)(at)
                return found @ vector

            made: torch.Tensor = grad(slope)(theta)
            return made

        def one(index: int) -> torch.Tensor:
            single = batch.select(slice(index, index + 1))
            made = Hessian(problem, [single])
            return (made(each[index].double()) * made.weight).to(theta)

        return self._mapped(product, one, batch, each).double()

    def jacobians(self, batch: Batch) -> torch.Tensor:
        """∂f_i/∂θ of each sample's outputs, shape (m, K, P), in the model's dtype."""
        problem, theta = self._problem, self._problem.theta.detach()

        def jacobian(sample: Batch) -> torch.Tensor:
            def outputs(at: torch.Tensor) -> torch.Tensor:
                return network_at(problem, at, _alone(sample)).reshape(-1)

            made: torch.Tensor = jacrev(outputs)(theta)
            return made

        def one(index: int) -> torch.Tensor:
            leaf = differentiable(problem)
            single = batch.select(slice(index, index + 1))
            outputs = network_at(problem, leaf, single).reshape(-1)
            units = torch.eye(len(outputs), dtype=outputs.dtype, device=outputs.device)
            return slopes_along(outputs, leaf, units, keep=False)

        return self._mapped(jacobian, one, batch)

    def loss_curvature(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """∇ℓ and ∇²ℓ of each sample's loss sum by its outputs: float64, (m, K), (m, K, K)."""
        problem = self._problem
        with torch.no_grad():
            outputs = network_at(problem, problem.theta, batch)
        # In float64: of a confident prediction, ∇²ℓ is a small difference.
        leaf = outputs.double().requires_grad_(True)
        total = loss_at(problem, leaf, batch.in_dtype(torch.float64)).total
        (slope,) = torch.autograd.grad(total, leaf, create_graph=True)
        flat = slope.reshape(batch.samples, -1)
        count = flat.shape[1]
        curvature = torch.zeros(
            batch.samples, count, count, dtype=torch.float64, device=leaf.device
        )
        if flat.requires_grad:
            for output in range(count):
                (row,) = torch.autograd.grad(flat[:, output].sum(), leaf, retain_graph=True)
                curvature[:, output] = row.reshape(batch.samples, -1).double()
        return flat.detach().double(), curvature

    def factors(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """A_i with A_iᵀA_i = G_i of the samples' loss sums, and ∇ℓ_i in their terms.

        Returns:
            A of shape (m, K, P) in the model's dtype, and c of shape (m, K), float64, with
            ∇L_i = A_iᵀc_i where ∇²ℓ_i is regular.

        Raises:
            ValueError: The loss is not convex in the outputs.
        """
        slope, curvature = self.loss_curvature(batch)
        values, turn = torch.linalg.eigh(curvature)
        if float(values.min()) < -_CONVEX * float(values.max()):
            raise ValueError("the loss is not convex in the network's outputs")
        roots = values.clamp_min(0).sqrt()
        kept = roots > 1e-7 * roots[:, -1:]
        inverse = torch.where(kept, 1 / roots.clamp_min(1e-300), 0.0)
        coordinates = torch.einsum("mk,mkj->mj", slope, turn) * inverse
        rows = (roots[:, :, None] * turn.transpose(1, 2)).to(self._problem.theta.dtype)
        made = [
            rows[start : start + self.chunk] @ self.jacobians(part)
            for start, part in zip(
                range(0, batch.samples, self.chunk), self.chunks(batch), strict=True
            )
        ]
        return torch.cat(made), coordinates

    def _mapped(
        self,
        function: Callable[..., torch.Tensor],
        one: Callable[[int], torch.Tensor],
        batch: Batch,
        *more: torch.Tensor,
    ) -> torch.Tensor:
        """A function of each sample under vmap, or ``one`` by its position where that fails."""
        with self._problem.second_order(), kernels_of("same"):
            while not self.looped:
                try:
                    found = vmap(function, chunk_size=self.chunk)(batch, *more)
                    self._on_samples(batch.samples)
                    return found
                except RuntimeError as error:
                    if not out_of_memory(error):
                        self.looped = str(error).partition("\n")[0][:_SHOWN] or type(error).__name__
                    elif self.chunk == 1:
                        raise
                    self.chunk = max(1, self.chunk // 2)
            made = []
            for index in range(batch.samples):
                made.append(one(index))
                self._on_samples(1)
        return torch.stack(made)


def _alone(sample: Batch) -> Batch:
    """A batch of the one sample that vmap shows without its first axis."""
    return Batch(mapped(sample.inputs, lambda part: part[None]), sample.targets[None])
