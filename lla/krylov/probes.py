"""One set of random probes for the trace, the Frobenius norm, the diagonal and the density.

For a Rademacher z, zᵀAz has the mean tr A, ‖Az‖² the mean ‖A‖_F² and z ∘ Az the mean diag A
(Hutchinson 1990; Bekas et al. 2007). What an independent Krylov basis Q already knows exactly is
taken out: with A₀ = Qᵀ T Q, zᵀ(A − A₀)z + tr A₀ has the same mean for *any* Q drawn independently
of z, and far less variance where Q holds the outliers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from lla.krylov.lanczos import Krylov, LinearOperator, lanczos
from lla.krylov.quadrature import Quadrature

__all__ = ["Probes", "TraceSample", "draw_probes"]


@dataclass(frozen=True)
class TraceSample:
    """What one probe says, deflated.

    Attributes:
        trace: Unbiased for tr A.
        square: Unbiased for ‖A‖_F².
        parts: Unbiased for the traces of the diagonal blocks, shape (blocks,).
    """

    trace: float
    square: float
    parts: np.ndarray


@dataclass(frozen=True)
class Deflation:
    """The part A₀ = Qᵀ T Q of an operator that a Krylov run knows exactly."""

    krylov: Krylov
    blocks: tuple[slice, ...] = field(default=())

    @cached_property
    def projected(self) -> torch.Tensor:
        """T, shape (m, m)."""
        alpha, beta = self.krylov.alpha, self.krylov.beta
        matrix = np.diag(alpha) + np.diag(beta, 1) + np.diag(beta, -1)
        return torch.from_numpy(matrix).to(self.krylov.basis.device)

    @cached_property
    def trace(self) -> float:
        """Tr A₀."""
        return float(self.projected.trace())

    @cached_property
    def square(self) -> float:
        """‖A₀‖_F²."""
        return float(self.projected.square().sum())

    @cached_property
    def parts(self) -> np.ndarray:
        """Block traces of A₀, shape (blocks,)."""
        basis, beta = self.krylov.basis, self.krylov.beta
        diagonal = torch.zeros_like(basis[0])
        for row, alpha in enumerate(self.krylov.alpha):
            diagonal += float(alpha) * basis[row].square()
        for row, coupling in enumerate(beta):
            diagonal += 2 * float(coupling) * basis[row] * basis[row + 1]
        return np.array([float(diagonal[block].sum()) for block in self.blocks])

    def sample(self, probe: torch.Tensor, product: torch.Tensor) -> TraceSample:
        """What a probe z and its product Az say of A, with A₀ taken out: shapes (P,)."""
        coordinates = self.krylov.basis @ probe
        image = self.projected @ coordinates
        known = self.krylov.basis.T @ image
        rest = probe * (product - known)
        return TraceSample(
            trace=float(rest.sum()) + self.trace,
            square=float(product @ product - image @ image) + self.square,
            parts=np.array([float(rest[block].sum()) for block in self.blocks]) + self.parts,
        )


@dataclass(frozen=True)
class Probes:
    """What a set of independent probes says of an operator.

    Attributes:
        samples: One for each probe.
        quadrature: Nodes and weights of the first ``len(quadrature.nodes)`` probes.
        pilot: The number of probes was decided from the first ``pilot``.
    """

    samples: tuple[TraceSample, ...]
    quadrature: Quadrature
    pilot: int


def draw_probes(
    operator: LinearOperator,
    draw: Callable[[int], torch.Tensor],
    known: Krylov,
    *,
    blocks: tuple[slice, ...],
    pilot: int,
    steps: int,
    enough: Callable[[tuple[TraceSample, ...]], int],
    on_product: Callable[[int, int], None] | None = None,
) -> Probes:
    """Run the pilot's Lanczos iterations, decide how many probes are needed, and draw the rest.

    Args:
        operator: The symmetric operator A.
        draw: Rademacher probe by index, shape (P,).
        known: A Krylov run independent of the probes, for deflation.
        blocks: Places of the diagonal blocks whose traces are wanted.
        pilot: Number of probes with a quadrature.
        steps: Lanczos steps of each of them.
        enough: From the pilot's samples, how many probes to draw in all.
        on_product: Told (products done, products expected).

    Returns:
        All samples and the pilot's quadrature.
    """
    deflation = Deflation(known, blocks)
    samples: list[TraceSample] = []
    rules = []
    total = pilot * steps
    for index in range(pilot):
        probe = draw(index).to(operator.device)
        run = lanczos(operator, probe, steps)
        rules.append(Quadrature.rule(run))
        norm = torch.linalg.vector_norm(probe)
        samples.append(deflation.sample(probe, run.first_product * norm))
        if on_product:
            on_product((index + 1) * steps, total)
    wanted = max(pilot, enough(tuple(samples)))
    total += wanted - pilot
    for index in range(pilot, wanted):
        probe = draw(index).to(operator.device)
        samples.append(deflation.sample(probe, operator(probe)))
        if on_product:
            on_product(pilot * steps + index - pilot + 1, total)
    return Probes(tuple(samples), Quadrature.of(rules), pilot)
