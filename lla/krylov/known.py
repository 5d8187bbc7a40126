"""What Krylov spaces know exactly of an operator: trace, norm and diagonal of the part they see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lla.krylov.lanczos import Krylov

__all__ = ["Known"]


@dataclass(frozen=True)
class Known:
    """What a Krylov space says exactly of trace, norm and diagonal.

    Attributes:
        spaces: The space; further ones lie in the complement of those before.
        trace: Tr of the known part.
        square: Its squared Frobenius norm.
    """

    spaces: tuple[Krylov, ...]
    trace: float
    square: float

    def remove(self, block: torch.Tensor) -> None:
        """Take all spaces out of a block (b, P), in place."""
        for space in self.spaces:
            space.basis.remove(block)

    def __add__(self, other: Known) -> Known:
        """What both know, ``other`` being a space of the complement of this one.

        The first one's coupling leads into the second or beyond it; both ways it is counted.
        """
        return Known(
            (*self.spaces, *other.spaces),
            self.trace + other.trace,
            self.square + other.square,
        )

    @classmethod
    def of(cls, krylov: Krylov) -> Known:
        """The known part of a Krylov space."""
        square = float((krylov.projected**2).sum() + 2 * (krylov.coupling**2).sum())
        return cls((krylov,), float(np.trace(krylov.projected)), square)

    def traces(self, blocks: Sequence[slice]) -> np.ndarray:
        """Traces of diagonal blocks of the known part, shape (blocks,)."""
        found = torch.zeros(len(blocks), dtype=torch.float64)
        for space in self.spaces:
            own = torch.zeros_like(found)
            for index, block in enumerate(blocks):
                for _, part in _pieces(space, block):
                    own[index] += part.sum().cpu()
            found += space.basis.team.sum(own)
        return found.numpy()

    def diagonal(self) -> torch.Tensor:
        """The known part's diagonal, shape (P,)."""
        (first, *_) = self.spaces
        size, device = first.basis.size, first.beyond.device
        found = torch.zeros(size, dtype=torch.float64, device=device)
        for space in self.spaces:
            own = torch.zeros_like(found)
            for place, part in _pieces(space, slice(0, size)):
                own[place] = part
            found += space.basis.team.sum(own)
        return found


def _pieces(space: Krylov, place: slice) -> Iterator[tuple[slice, torch.Tensor]]:
    """The diagonal of QᵀTQ + NᵀFQ + its transpose over some columns, some at a time."""
    device = space.beyond.device
    inner = torch.from_numpy(space.projected).to(device)
    coupling = torch.from_numpy(space.coupling).to(device)
    for where, rows in space.basis.pieces(place):
        part = ((inner @ rows) * rows).sum(dim=0)
        if len(coupling):
            part += 2 * ((coupling @ rows) * space.beyond[:, where]).sum(dim=0)
        yield where, part
