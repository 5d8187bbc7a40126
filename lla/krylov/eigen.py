"""Eigenpairs at both ends of the spectrum, with residuals.

A residual ‖A y − θ y‖ bounds the distance from θ to *some* eigenvalue, not to the extreme one; a
random start makes a missed extreme eigenvalue unlikely, and further independent starts (the
density's probes) test it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal

from lla.krylov.lanczos import Krylov, LinearOperator, lanczos

__all__ = ["Eigenpairs", "extreme_eigenpairs"]

_CHECK_EVERY = 4
_CONFIRM = 12


@dataclass(frozen=True)
class Eigenpairs:
    """The largest and the smallest eigenvalues of an operator.

    A single-vector iteration sees one copy of a multiple eigenvalue (a few more by rounding): the
    values are those of distinct eigenvalues, and copies may be missing.

    Attributes:
        values: Descending, shape (k,).
        vectors: Unit eigenvectors in rows, float64, shape (k, P).
        residuals: ‖A y − θ y‖ from one further product each, shape (k,).
        tolerance: What the residuals were to fall below.
        krylov: The basis they come from, for deflation.
    """

    values: np.ndarray
    vectors: torch.Tensor
    residuals: np.ndarray
    tolerance: float
    krylov: Krylov

    @property
    def converged(self) -> np.ndarray:
        """Which residuals are within the tolerance, shape (k,)."""
        return self.residuals <= self.tolerance

    @property
    def norm(self) -> float:
        """‖A‖₂ as far as known: the largest absolute eigenvalue."""
        return float(np.abs(self.values).max())


def extreme_eigenpairs(
    operator: LinearOperator,
    draw: Callable[[int], torch.Tensor],
    *,
    largest: int,
    smallest: int,
    tolerance: float,
    max_steps: int,
    precise: LinearOperator | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Eigenpairs:
    """Eigenpairs at both ends by one Lanczos run, stopped when all residuals are small.

    Args:
        operator: The symmetric operator A.
        draw: Random vector by index: 0 starts the run, others go on at invariant subspaces.
        largest: How many algebraically largest eigenvalues.
        smallest: How many algebraically smallest.
        tolerance: Residual bound, relative to ‖A‖₂.
        max_steps: Largest number of products.
        precise: The same operator in higher precision, to certify the pairs with; A itself if
            None.
        on_step: Told the number of products so far.

    Returns:
        The pairs; those that did not reach the tolerance are returned with their residual.
    """
    largest = min(largest, operator.size)
    smallest = min(smallest, operator.size - largest)
    invariant = 0
    confirm_at, agreed = 0, np.empty(0)

    def done(alpha: np.ndarray, beta: np.ndarray, beta_next: float) -> bool:
        nonlocal invariant, confirm_at, agreed
        steps = len(alpha)
        if on_step:
            on_step(steps)
        if beta_next == 0.0:
            # An invariant subspace holds one copy of each eigenvalue it knows: go on from a fresh
            # vector until as many copies were possible as eigenvalues are wanted.
            invariant += 1
            return invariant > largest + smallest
        if steps <= largest + smallest or steps % _CHECK_EVERY:
            return False
        values, vectors = eigh_tridiagonal(alpha, beta)
        bounds = beta_next * np.abs(vectors[-1])
        ends = [*range(smallest), *range(steps - largest, steps)]
        allowed = 0.5 * tolerance * float(np.abs(values).max())
        if bounds[ends].max() > allowed:
            confirm_at = 0
            return False
        # Small residuals can belong to inner eigenvalues while an outer one has not appeared yet:
        # go on for a while, and start over if another value takes a place at either end.
        if not confirm_at or np.abs(values[ends] - agreed).max() > allowed:
            agreed, confirm_at = values[ends], steps + max(_CONFIRM, steps // 4)
            return False
        return steps >= confirm_at

    start = draw(0).to(operator.device)
    krylov = lanczos(
        operator,
        start,
        max_steps,
        done=done,
        fresh=lambda step: draw(step + 1).to(operator.device),
    )
    return _certified(precise or operator, krylov, largest, smallest, tolerance)


def _certified(
    operator: LinearOperator, krylov: Krylov, largest: int, smallest: int, tolerance: float
) -> Eigenpairs:
    """Ritz pairs of both ends, each with its Rayleigh quotient and residual by one product."""
    values, columns = krylov.ritz()
    size = len(values)
    largest = min(largest, size)
    smallest = min(smallest, size - largest)
    chosen = [*range(size - 1, size - 1 - largest, -1), *range(smallest - 1, -1, -1)]
    coordinates = torch.from_numpy(columns[:, chosen].T.copy()).to(krylov.basis.device)
    vectors = coordinates @ krylov.basis
    vectors = vectors / torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    quotients, residuals = [], []
    for vector in vectors:
        product = operator(vector)
        quotients.append(float(vector @ product))
        rest = product - quotients[-1] * vector
        residuals.append(float(torch.linalg.vector_norm(rest)))
    # Nearly equal Ritz values may change places.
    order = np.argsort(quotients)[::-1]
    return Eigenpairs(
        values=np.array(quotients)[order],
        vectors=_signed(vectors[order.copy()]),
        residuals=np.array(residuals)[order],
        tolerance=tolerance * float(np.abs(values).max()),
        krylov=krylov,
    )


def _signed(vectors: torch.Tensor) -> torch.Tensor:
    """Fix each row's sign, which eigenvectors leave open: the largest component is positive."""
    where = vectors.abs().argmax(dim=1, keepdim=True)
    return vectors * vectors.gather(1, where).sign()
