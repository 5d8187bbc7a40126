"""Eigenpairs at both ends of the spectrum, with residuals.

A residual ‖A y − θ y‖ bounds the distance from θ to *some* eigenvalue, not to the extreme one; a
random start makes a missed extreme eigenvalue unlikely, a block of them more so, and further
independent starts (the density's probes) test it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from lla.krylov.basis import orthonormalized
from lla.krylov.lanczos import Krylov, Restart, block_lanczos, compressed
from lla.krylov.operator import LinearOperator, drawn

__all__ = ["Eigenpairs", "Search", "certified", "extreme_eigenpairs"]

_CHECK_EVERY = 4
_CONFIRM = 8
_CONFIRM_SHARE = 8
_KEPT_MORE = 6  # Ritz vectors that a restart keeps beyond those wanted, at each end


@dataclass(frozen=True)
class Eigenpairs:
    """The largest and the smallest eigenvalues of an operator.

    An iteration from a block of b vectors sees b copies of a multiple eigenvalue (a few more by
    rounding): further copies may be missing.

    Attributes:
        values: Descending, shape (k,).
        vectors: Unit eigenvectors in rows, float64, shape (k, P).
        residuals: ‖A y − θ y‖, shape (k,): from the Krylov relation, which takes products as
            exact; :func:`certified` measures them.
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


@dataclass(frozen=True)
class Search:
    """What is looked for, and what it may cost.

    Attributes:
        largest: How many algebraically largest eigenvalues.
        smallest: How many algebraically smallest.
        tolerance: Residual bound, relative to ‖A‖₂.
        products: Largest number of products.
        rows: Largest number of basis vectors held; the iteration restarts beyond it.
        least: Products made at least: further uses of the basis gain by them.
        block: Vectors multiplied at once.
        on_host: Whether the basis is kept in host memory.
        kind: What the basis is kept in.
        kept: Largest number of basis vectors held afterwards: outer Ritz vectors.
    """

    largest: int
    smallest: int
    tolerance: float
    products: int
    rows: int = 1 << 30
    least: int = 0
    block: int = 1
    on_host: bool = False
    kind: torch.dtype = torch.float64
    kept: int = 1 << 30

    def within(self, size: int) -> Search:
        """The same for an operator that may be too small for it."""
        largest = min(self.largest, size)
        smallest = min(self.smallest, size - largest)
        block = max(1, min(self.block, size))
        rows = max(self.rows, largest + smallest + 2 * block)
        return replace(self, largest=largest, smallest=smallest, block=block, rows=rows)

    @property
    def restart(self) -> Restart:
        """Keep what is wanted and some more, as far as half of the rows allow."""
        return self._keeping((self.rows - self.block) // 2)

    def _keeping(self, rows: int) -> Restart:
        spare = max(0, rows - self.largest - self.smallest)
        more = min(_KEPT_MORE, spare // 2) if spare < 2 * _KEPT_MORE else spare // 2
        return Restart(self.rows, self.largest + more, self.smallest + more)


def extreme_eigenpairs(
    operator: LinearOperator,
    draw: Callable[[int], torch.Tensor],
    search: Search,
    *,
    on_products: Callable[[int], None] = lambda done: None,
) -> Eigenpairs:
    """Eigenpairs at both ends by one Lanczos run, stopped when all residuals are small.

    Args:
        operator: The symmetric operator A.
        draw: Random vector by index: the first ones start the run, others go on at invariant
            subspaces.
        search: What is looked for.
        on_products: Told the number of products so far.

    Returns:
        The pairs; those that did not reach the tolerance are returned with their residual.
    """
    search = search.within(operator.size)
    rule = _StopRule(search, on_products)
    krylov = block_lanczos(
        operator,
        orthonormalized(drawn(operator, draw, range(search.block)), 0.0, spend=True)[0],
        search.products,
        done=rule,
        fresh=lambda index: draw(search.block + index).to(operator.device),
        restart=search.restart,
        on_host=search.on_host,
        kind=search.kind,
    )
    if krylov.basis.rows > search.kept:
        krylov = compressed(krylov, search._keeping(search.kept))
    return _outer(krylov, search)


class _StopRule:
    """Stop when the wanted Ritz pairs have small residuals and have stayed where they are."""

    def __init__(self, search: Search, on_products: Callable[[int], None]) -> None:
        self._search, self._tell = search, on_products
        self._invariant = self._checked = self._confirm_at = 0
        self._agreed = np.empty(0)

    def __call__(self, krylov: Krylov) -> bool:
        self._tell(krylov.products)
        wanted = self._search.largest + self._search.smallest
        if not len(krylov.beyond):
            # An invariant subspace holds one copy of each eigenvalue it knows: go on from a fresh
            # vector until as many copies were possible as eigenvalues are wanted.
            self._invariant += 1
            return self._invariant > wanted
        early = krylov.products < self._checked + _CHECK_EVERY
        if krylov.basis.rows <= wanted or early:
            return False
        self._checked = krylov.products
        values, _, bounds = krylov.ritz()
        size = len(values)
        ends = [*range(self._search.smallest), *range(size - self._search.largest, size)]
        allowed = 0.5 * self._search.tolerance * float(np.abs(values).max())
        if bounds[ends].max() > allowed:
            self._confirm_at = 0
            return False
        # Small residuals can belong to inner eigenvalues while an outer one has not appeared yet:
        # go on for a while, and start over if another value takes a place at either end.
        moved = not self._confirm_at or np.abs(values[ends] - self._agreed).max() > allowed
        if moved:
            spent = max(_CONFIRM, krylov.products // _CONFIRM_SHARE)
            self._agreed, self._confirm_at = values[ends], krylov.products + spent
            return False
        return krylov.products >= max(self._confirm_at, self._search.least)


def _outer(krylov: Krylov, search: Search) -> Eigenpairs:
    """The Ritz pairs of both ends."""
    values, columns, residuals = krylov.ritz()
    size = len(values)
    largest = min(search.largest, size)
    smallest = min(search.smallest, size - largest)
    chosen = [*range(size - 1, size - 1 - largest, -1), *range(smallest - 1, -1, -1)]
    turn = torch.from_numpy(columns[:, chosen].T.copy()).to(krylov.beyond.device)
    return Eigenpairs(
        values=values[chosen],
        vectors=_signed(_combined(krylov, turn)),
        residuals=residuals[chosen],
        tolerance=search.tolerance * float(np.abs(values).max()),
        krylov=krylov,
    )


def _combined(krylov: Krylov, turn: torch.Tensor) -> torch.Tensor:
    """Vectors of given coordinates, of norm 1 in float64 whatever the basis is kept in."""
    vectors = krylov.basis.combine(turn)
    if krylov.basis.kind != torch.float64:
        vectors, _ = orthonormalized(vectors, 0.0, spend=True)
    return vectors


def certified(
    pairs: Eigenpairs,
    multiply: Callable[[torch.Tensor], torch.Tensor],
    *,
    one_by_one: bool = False,
) -> Eigenpairs:
    """The pairs made anew, and their residuals measured, by one block of precise products.

    Args:
        pairs: The pairs.
        multiply: The products of a block (k, P), by the operator in higher precision.
        one_by_one: Whether to hold one product at a time: vectors then stay what they are, and
            each has its quotient and its residual.
    """
    if one_by_one:
        return _certified_singly(pairs, multiply)
    vectors, _ = orthonormalized(pairs.vectors, 0.0)
    products = multiply(vectors)
    # Rayleigh–Ritz on the precise products: what rounding mixed among near values is undone.
    inner = products @ vectors.T
    quotients, rotation = torch.linalg.eigh((inner + inner.T) / 2)
    rotation = rotation.flip(1).T
    found = quotients.flip(0)
    vectors, products = rotation @ vectors, rotation @ products
    rest = products - found[:, None] * vectors
    return replace(
        pairs,
        values=found.cpu().numpy(),
        vectors=_signed(vectors),
        residuals=torch.linalg.vector_norm(rest, dim=1).cpu().numpy(),
    )


def _certified_singly(
    pairs: Eigenpairs, multiply: Callable[[torch.Tensor], torch.Tensor]
) -> Eigenpairs:
    """Quotients and residuals of the vectors as they are; in order of the quotients."""
    values, residuals = np.empty(len(pairs.values)), np.empty(len(pairs.values))
    for index, vector in enumerate(pairs.vectors):
        (product,) = multiply(vector[None])
        values[index] = float(vector @ product)
        product.sub_(vector, alpha=values[index])
        residuals[index] = float(torch.linalg.vector_norm(product))
        del product
    order = np.argsort(-values, kind="stable")
    vectors = pairs.vectors
    if (np.diff(order) != 1).any():
        vectors = vectors[torch.from_numpy(order).to(vectors.device)]
    return replace(pairs, values=values[order], vectors=vectors, residuals=residuals[order])


def _signed(vectors: torch.Tensor) -> torch.Tensor:
    """Fix each row's sign, which eigenvectors leave open: the largest component is positive.

    In place.
    """
    for row in vectors:
        # Without a copy of absolute values: a vector may be as large as the memory that is left.
        if -float(row.min()) > float(row.max()):
            row.neg_()
    return vectors
