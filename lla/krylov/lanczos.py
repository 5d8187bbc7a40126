"""The block Lanczos iteration with full reorthogonalization and thick restarts.

Without reorthogonalization the basis loses its orthogonality as soon as a Ritz value converges,
and copies of that value ("ghosts") appear (Paige 1971; Golub & Van Loan, ch. 10.3). All
coefficients of the projection are measured, so that one projected matrix serves single vectors,
blocks, restarts (Wu & Simon 2000) and fresh starts alike. It is float64, whatever the operator
computes in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from lla.krylov.basis import Basis, orthonormalized
from lla.krylov.operator import LinearOperator, team_of

__all__ = ["Krylov", "Restart", "block_lanczos", "compressed"]

_BREAKDOWN = 10.0


@dataclass(frozen=True)
class Krylov:
    """A basis Q of a Krylov space, and what an operator A is on it: A Qᵀ = Qᵀ T + Nᵀ F.

    Attributes:
        basis: Q, orthonormal rows, m of them.
        projected: T = Q A Qᵀ, shape (m, m), symmetric.
        beyond: N, what the last products add beyond the basis: orthonormal rows, shape (c, P); no
            rows if the space is invariant.
        coupling: F, shape (c, m): it is zero but in the columns from ``last`` on.
        last: Where the rows of the last block begin.
        products: Products made.
    """

    basis: Basis
    projected: np.ndarray
    beyond: torch.Tensor
    coupling: np.ndarray
    last: int
    products: int

    def ritz(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ritz values, ascending, (m,); their coordinates in columns, (m, m); residuals, (m,)."""
        values, columns = np.linalg.eigh(self.projected)
        return values, columns, np.linalg.norm(self.coupling @ columns, axis=0)


@dataclass(frozen=True)
class Restart:
    """When a basis has grown too large, and what of it is kept.

    Attributes:
        rows: Largest number of basis vectors.
        largest: Ritz vectors kept at the upper end.
        smallest: Ritz vectors kept at the lower end.
    """

    rows: int
    largest: int
    smallest: int


def block_lanczos(
    operator: LinearOperator,
    start: torch.Tensor,
    products: int,
    *,
    image: torch.Tensor | None = None,
    done: Callable[[Krylov], bool] | None = None,
    fresh: Callable[[int], torch.Tensor] | None = None,
    locked: Basis | None = None,
    restart: Restart | None = None,
    on_host: bool = False,
    kind: torch.dtype = torch.float64,
) -> Krylov:
    """Run the block Lanczos iteration.

    Args:
        operator: The symmetric operator A; with ``locked`` rows V, its compression to the
            complement of V.
        start: Orthonormal rows to start from, orthogonal to ``locked``: shape (b, P). b = 1 is
            the classical iteration.
        products: Largest number of products; a block that would exceed it is not begun.
        image: The products of ``start``, if they are known already.
        done: Asked after each block whether to stop.
        fresh: At an invariant subspace, a new vector (by index), shape (P,), to go on with: it
            finds further copies of a multiple eigenvalue. Without it the iteration stops there,
            exact.
        locked: Rows that the iteration stays orthogonal to.
        restart: Bounds the basis; without it, the basis has a row for each product.
        on_host: Keep the basis in host memory.
        kind: What to keep the basis in; in float32, products are made of the rows as they are kept.

    Returns:
        The basis and the projected matrix.
    """
    basis = Basis(
        operator.size, operator.device, on_host=on_host, kind=kind, team=team_of(operator)
    )
    limit = operator.size - (locked.rows if locked else 0)
    others = (basis, locked) if locked else (basis,)
    projected = np.zeros((0, 0))
    block, made, scale, restarts = start, 0, 0.0, 0
    del start  # a vector may be as large as all that is left of the memory
    while True:
        first = basis.rows
        block = basis.append(block)
        product = operator(block) if image is None or made else image.clone()
        made += len(block)
        if locked:
            locked.remove(product)
        measured = basis.remove(product).cpu().numpy()
        projected = _extended(projected, measured, first)
        scale = max(scale, float(np.abs(measured).max()))
        size = max(scale, _largest_row(product))
        floor = _BREAKDOWN * operator.eps * size
        beyond, factors = orthonormalized(product, floor, *others, before=size, spend=True)
        del product
        coupling = np.zeros((len(beyond), basis.rows))
        coupling[:, first:] = factors
        found = Krylov(basis, projected, beyond, coupling, first, made)
        if (done and done(found)) or basis.rows >= limit:
            return found
        block = beyond
        if not len(block) and fresh is not None:
            block = _started(fresh(restarts), others)
            restarts += 1
        # A part of a block would leave the rest of it out of the coupling, and residuals short.
        if not len(block) or made + len(block) > products:
            return found
        if restart and basis.rows + len(block) > restart.rows:
            projected = compressed(found, restart).projected


def _largest_row(block: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(block, dim=1).max())


def _extended(projected: np.ndarray, measured: np.ndarray, first: int) -> np.ndarray:
    """T with the columns measured for the rows from ``first`` on; symmetric."""
    size = len(measured)
    wider = np.zeros((size, size))
    wider[:first, :first] = projected
    wider[:, first:] = measured
    wider[first:, :first] = measured[:first].T
    corner = wider[first:, first:]
    wider[first:, first:] = (corner + corner.T) / 2
    return wider


def _started(vector: torch.Tensor, others: tuple[Basis, ...]) -> torch.Tensor:
    """A vector made orthogonal to all bases and normalized, as a block of one row."""
    row = vector.clone()[None]
    for other in (*others, *others):
        other.remove(row)
    row /= torch.linalg.vector_norm(row)
    return row


def compressed(krylov: Krylov, restart: Restart) -> Krylov:
    """Keep the outer Ritz vectors; the projection on them is diagonal. The basis changes."""
    values, columns, _ = krylov.ritz()
    upper = min(restart.largest, len(values))
    lower = min(restart.smallest, len(values) - upper)
    kept = [*range(lower), *range(len(values) - upper, len(values))]
    turn = torch.from_numpy(columns[:, kept].T.copy()).to(krylov.beyond.device)
    krylov.basis.compress(turn)
    coupling = krylov.coupling @ columns[:, kept]
    return replace(krylov, projected=np.diag(values[kept]), coupling=coupling, last=0)
