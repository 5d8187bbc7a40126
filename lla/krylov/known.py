"""What Krylov spaces know exactly of an operator: trace, norm and diagonal of the part they see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lla.krylov.lanczos import Krylov

__all__ = ["Known"]

_ROWS = 16


@dataclass(frozen=True)
class Known:
    """What a Krylov space says exactly of trace, norm and diagonal.

    Attributes:
        spaces: The space; further ones lie in the complement of those before.
        trace: Tr of the known part.
        square: Its squared Frobenius norm.
        diagonal: Its diagonal, shape (P,).
    """

    spaces: tuple[Krylov, ...]
    trace: float
    square: float
    diagonal: torch.Tensor

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
            self.diagonal + other.diagonal,
        )

    @classmethod
    def of(cls, krylov: Krylov) -> Known:
        """The known part of a Krylov space."""
        values, columns, _ = krylov.ritz()
        basis, device = krylov.basis, krylov.beyond.device
        turn = torch.from_numpy(columns.T.copy()).to(device)
        diagonal = torch.zeros(basis.size, dtype=torch.float64, device=device)
        for start in range(0, len(values), _ROWS):
            vectors = basis.combine(turn[start : start + _ROWS])
            weights = torch.from_numpy(values[start : start + _ROWS]).to(device)
            diagonal += weights @ vectors.square()
        if len(krylov.beyond):
            images = basis.combine(torch.from_numpy(krylov.coupling).to(device))
            diagonal += 2 * (krylov.beyond * images).sum(dim=0)
        square = float((krylov.projected**2).sum() + 2 * (krylov.coupling**2).sum())
        return cls((krylov,), float(np.trace(krylov.projected)), square, diagonal)
