"""What the algorithms ask of an operator, and operators made of others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import torch

from lla.team import ALONE, Team

__all__ = ["Difference", "LinearOperator", "Restricted", "Scaled", "drawn", "team_of"]


class LinearOperator(Protocol):
    """A symmetric linear map on float64 vectors of length ``size``.

    Attributes:
        size: P, the length of a vector.
        device: Where vectors have to be.
        eps: Relative error of a product, in units of the operator's norm.

    One that is made by many ranks has a ``team`` as well (:func:`team_of`).
    """

    size: int
    device: torch.device
    eps: float

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        """The products of a vector, shape (P,), or of each row of a block, shape (b, P)."""


def drawn(
    operator: LinearOperator, draw: Callable[[int], torch.Tensor], indices: Iterable[int]
) -> torch.Tensor:
    """Random vectors by index as a block on the operator's device, shape (b, P)."""
    made: torch.Tensor | None = None
    places = list(indices)
    for row, index in enumerate(places):
        vector = draw(index)
        if len(places) == 1:
            return vector[None].to(operator.device)
        if made is None:
            made = vector.new_empty((len(places), len(vector)), device=operator.device)
        made[row] = vector
    assert made is not None
    return made


def team_of(operator: LinearOperator) -> Team:
    """The ranks that make the products together: they share out a basis of its vectors."""
    team: Team = getattr(operator, "team", ALONE)
    return team


class Restricted:
    """The block E A Eᵀ of an operator that belongs to some of the coordinates.

    Args:
        operator: A.
        places: Where the coordinates are, as slices of a vector of A.
    """

    def __init__(self, operator: LinearOperator, places: Sequence[slice]) -> None:
        self.device, self.eps, self.team = operator.device, operator.eps, team_of(operator)
        self.size = sum(place.stop - place.start for place in places)
        self._operator, self._places = operator, tuple(places)

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        """The products, of the vectors' own shape: (size,) or (b, size)."""
        whole = vectors.new_zeros((*vectors.shape[:-1], self._operator.size))
        start = 0
        for place in self._places:
            stop = start + place.stop - place.start
            whole[..., place] = vectors[..., start:stop]
            start = stop
        product = self._operator(whole)
        return torch.cat([product[..., place] for place in self._places], dim=-1)


class Difference:
    """A − B of two operators of one size: how curvature differs between two data sets, say."""

    def __init__(self, first: LinearOperator, second: LinearOperator) -> None:
        if first.size != second.size:
            raise ValueError(
                f"operators of sizes {first.size} and {second.size} have no difference"
            )
        self.size, self.device = first.size, first.device
        self.eps, self.team = max(first.eps, second.eps), team_of(first)
        self._first, self._second = first, second

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        """The products, of the vectors' own shape: (P,) or (b, P)."""
        return self._first(vectors) - self._second(vectors)


class Scaled:
    """S (A + λ) S with a diagonal S: curvature as a preconditioned optimizer sees it."""

    def __init__(self, operator: LinearOperator, scale: torch.Tensor, shift: float = 0.0) -> None:
        """Make the operator.

        Args:
            operator: A.
            scale: S's diagonal, shape (P,).
            shift: λ.
        """
        self.size, self.device, self.eps = operator.size, operator.device, operator.eps
        self.note = str(getattr(operator, "note", ""))
        self.team = team_of(operator)
        self._operator, self._scale, self._shift = operator, scale, shift

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        """The products, of the vectors' own shape: (P,) or (b, P)."""
        scaled = vectors * self._scale
        return self._scale * (self._operator(scaled) + self._shift * scaled)
