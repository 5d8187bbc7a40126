"""The Lanczos iteration with full reorthogonalization.

Without it the basis loses its orthogonality as soon as a Ritz value converges, and copies of that
value ("ghosts") appear (Paige 1971; Golub & Van Loan, ch. 10.3). Classical Gram–Schmidt done twice
is enough (Giraud et al. 2005), and costs two pairs of matrix–vector products a step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal

__all__ = ["Krylov", "LinearOperator", "lanczos"]


class LinearOperator(Protocol):
    """A symmetric linear map on float64 vectors of length ``size``."""

    size: int
    device: torch.device
    eps: float

    def __call__(self, vector: torch.Tensor) -> torch.Tensor:
        """The product, shape (size,)."""


@dataclass(frozen=True)
class Krylov:
    """An orthonormal basis Q of a Krylov space and the projection T = Q A Qᵀ on it.

    Attributes:
        basis: Rows q_1 … q_m, float64, shape (m, P).
        alpha: Diagonal of T, shape (m,).
        beta: Off-diagonal of T, shape (m − 1,).
        beta_next: Norm of what the last step added beyond the basis; 0 if the space is invariant.
        first_product: A q_1, float64, shape (P,).
    """

    basis: torch.Tensor
    alpha: np.ndarray
    beta: np.ndarray
    beta_next: float
    first_product: torch.Tensor

    def ritz(self) -> tuple[np.ndarray, np.ndarray]:
        """Ritz values, ascending, shape (m,), and the eigenvectors of T in columns, (m, m)."""
        return _eigh(self.alpha, self.beta)


def _eigh(alpha: np.ndarray, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(alpha) == 1:
        return alpha.copy(), np.ones((1, 1))
    values, vectors = eigh_tridiagonal(alpha, beta)
    return values, vectors


def lanczos(
    operator: LinearOperator,
    start: torch.Tensor,
    steps: int,
    *,
    done: Callable[[np.ndarray, np.ndarray, float], bool] | None = None,
    fresh: Callable[[int], torch.Tensor] | None = None,
) -> Krylov:
    """Run the Lanczos iteration.

    Args:
        operator: The symmetric operator A.
        start: Start vector, not zero, float64, shape (P,).
        steps: Largest number of products; no more than P are made.
        done: Asked after each step with (alpha, beta, beta_next) whether to stop.
        fresh: At an invariant subspace, a new vector (by index) to go on with: T then has a zero
            off-diagonal, and further copies of a multiple eigenvalue are found. Without it the
            iteration stops there, exact.

    Returns:
        The basis and the projected matrix.
    """
    steps = min(steps, operator.size)
    basis = torch.empty(steps, operator.size, dtype=torch.float64, device=operator.device)
    basis[0] = start / torch.linalg.vector_norm(start)
    alpha: list[float] = []
    beta: list[float] = []
    first = torch.empty(0)
    scale = beta_next = 0.0
    for step in range(steps):
        product = operator(basis[step])
        if step == 0:
            first = product.clone()
        alpha.append(float(basis[step] @ product))
        known = basis[: step + 1]
        for _ in range(2):
            product = product - known.T @ (known @ product)
        beta_next = float(torch.linalg.vector_norm(product))
        scale = max(scale, abs(alpha[-1]), beta_next)
        broke = beta_next <= 10 * operator.eps * scale
        if broke:
            beta_next = 0.0
        if step + 1 == steps or (done and done(np.array(alpha), np.array(beta), beta_next)):
            break
        if broke:
            if fresh is None:
                break
            product = fresh(step)
            for _ in range(2):
                product = product - known.T @ (known @ product)
        beta.append(beta_next)
        basis[step + 1] = product / torch.linalg.vector_norm(product)
    size = len(alpha)
    return Krylov(basis[:size], np.array(alpha), np.array(beta), beta_next, first)
