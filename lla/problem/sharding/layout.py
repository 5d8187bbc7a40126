"""Where each rank's part of every parameter is, and the way between whole vectors and shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from lla.team import Team

__all__ = ["Layout"]


@dataclass(frozen=True)
class Layout:
    """Parameters cut over ranks: each one, flattened, into equal pieces along its only dimension.

    That is the placement ``Shard(0)`` of flattened tensors: a scalar, a single row and a matrix
    with more rows than ranks are cut alike, and no rank holds more than another. The last pieces
    are filled up with zeros, fewer than ranks for each parameter.

    Attributes:
        sizes: Number of elements of each parameter.
        ranks: Number of ranks.
        rank: This one.
    """

    sizes: tuple[int, ...]
    ranks: int
    rank: int

    @cached_property
    def pieces(self) -> tuple[int, ...]:
        """Elements of each parameter's piece, the same on every rank."""
        return tuple(-(-size // self.ranks) for size in self.sizes)

    @property
    def size(self) -> int:
        """P, the number of elements of all parameters."""
        return sum(self.sizes)

    @property
    def share(self) -> int:
        """S, the number of elements that a rank holds; zeros that fill up are among them."""
        return sum(self.pieces)

    def piece(self, flat: torch.Tensor, index: int) -> torch.Tensor:
        """This rank's piece of a parameter, shape (piece,); a copy."""
        piece = self.pieces[index]
        found = flat.new_zeros(piece)
        part = flat[self.rank * piece : (self.rank + 1) * piece]
        found[: len(part)] = part
        return found

    def share_of(self, vectors: torch.Tensor) -> torch.Tensor:
        """This rank's share of vectors of all parameters: (…, P) to (…, S)."""
        found = vectors.new_zeros((*vectors.shape[:-1], self.share))
        start = at = 0
        for size, piece in zip(self.sizes, self.pieces, strict=True):
            first = min(size, self.rank * piece)
            last = min(size, first + piece)
            found[..., at : at + last - first] = vectors[..., start + first : start + last]
            start, at = start + size, at + piece
        return found

    def whole_of(self, shares: torch.Tensor, team: Team) -> torch.Tensor:
        """The vectors of all parameters of which each rank has its share: (…, S) to (…, P)."""
        joined = team.joined(shares, self.ranks * self.share)
        joined = joined.view(*shares.shape[:-1], self.ranks, self.share)
        found = shares.new_empty((*shares.shape[:-1], self.size))
        start = at = 0
        for size, piece in zip(self.sizes, self.pieces, strict=True):
            parts = joined[..., at : at + piece].flatten(-2)
            found[..., start : start + size] = parts[..., :size]
            start, at = start + size, at + piece
        return found

    @staticmethod
    def of(sizes: Sequence[int], team: Team) -> Layout:
        """The layout of parameters of these sizes over a team."""
        return Layout(tuple(sizes), team.size, team.rank)
