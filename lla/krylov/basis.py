"""An orthonormal basis that grows by blocks of rows, in the operator's memory or in the host's.

On many ranks each holds its share of the columns: the basis takes the memory of all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from lla.team import ALONE, Team

__all__ = ["Basis", "orthonormalized"]

_ROWS = 16
_COLUMNS = 1 << 20
_SMALL = 1e-3  # what is left of a row: below it, the rounding of its removal is felt


class Basis:
    """Orthonormal rows q_1 … q_m of length P, float64.

    Rows lie in slabs, so that memory is taken as the basis grows. On the host they are carried to
    the device a slab at a time: a GPU then holds a block and one slab, whatever m is. Vectors that
    are given and returned are whole on every rank.

    Attributes:
        size: P.
        rows: m.
    """

    def __init__(
        self, size: int, device: torch.device, *, on_host: bool = False, team: Team = ALONE
    ) -> None:
        """Make an empty basis.

        Args:
            size: P.
            device: Where vectors are.
            on_host: Keep the rows in host memory.
            team: Ranks that share out the columns.
        """
        self.size = size
        self.rows = 0
        self._team = team
        self._mine = team.share(size)
        self._width = self._mine.stop - self._mine.start
        self._device = device
        self._home = torch.device("cpu") if on_host else device
        self._pinned = on_host and device.type == "cuda"
        self._slabs: list[torch.Tensor] = []

    def append(self, block: torch.Tensor) -> None:
        """Add rows, shape (b, P), orthonormal among themselves and to the basis."""
        for row in block:
            if self.rows == len(self._slabs) * _ROWS:
                self._slabs.append(self._slab())
            self._slabs[-1][self.rows % _ROWS].copy_(row[self._mine])
            self.rows += 1

    def project(self, block: torch.Tensor) -> torch.Tensor:
        """Coordinates of each row of a block (b, P): shape (m, b)."""
        if not self.rows:
            return block.new_zeros((0, len(block)))
        return self._project(block[:, self._mine])

    def combine(self, coordinates: torch.Tensor) -> torch.Tensor:
        """The vectors of given coordinates (k, m): shape (k, P)."""
        return self._team.joined(self._combine(coordinates), self.size)

    def remove(self, block: torch.Tensor) -> torch.Tensor:
        """Take the basis' part out of a block (b, P), in place; return its coordinates (m, b).

        Classical Gram–Schmidt, twice: "twice is enough" (Giraud et al. 2005).
        """
        if not self.rows:
            return self.project(block)
        mine = block[:, self._mine]
        coordinates = self._project(mine)
        mine -= self._combine(coordinates.T)
        again = self._project(mine)
        mine -= self._combine(again.T)
        if self._team.size > 1:
            block.copy_(self._team.joined(mine, self.size))
        return coordinates + again

    def compress(self, rotation: torch.Tensor) -> None:
        """Replace the rows Q by S Q, for S of shape (k, m) with orthonormal rows, k ≤ m.

        In place, some columns at a time: no second basis is held.
        """
        kept = len(rotation)
        turn = rotation.to(self._home)
        for start in range(0, self._width, _COLUMNS):
            part = slice(start, start + _COLUMNS)
            old = torch.cat([slab[:, part] for slab in self._slabs])[: self.rows]
            for index, row in enumerate(turn @ old):
                self._slabs[index // _ROWS][index % _ROWS, part] = row
        self.rows = kept
        del self._slabs[-(-kept // _ROWS) :]

    def gram(self, places: Sequence[slice]) -> torch.Tensor:
        """Inner products of the rows over some of the columns alone, shape (m, m), on the CPU."""
        found = torch.zeros((self.rows, self.rows), dtype=torch.float64)
        for place in places:
            start = max(place.start, self._mine.start) - self._mine.start
            stop = min(place.stop, self._mine.stop) - self._mine.start
            if start < stop:
                part = torch.cat([slab[:, start:stop] for _, slab in self._parts()])
                found += (part @ part.T).cpu()
        return self._team.sum(found)

    def matrix(self) -> torch.Tensor:
        """All rows in one tensor, shape (m, P); a copy."""
        return self._team.joined(torch.cat([part for _, part in self._parts()]), self.size)

    def _project(self, mine: torch.Tensor) -> torch.Tensor:
        """Coordinates (m, b) of rows of which these are the own columns."""
        return self._team.sum(torch.cat([part @ mine.T for _, part in self._parts()]))

    def _combine(self, coordinates: torch.Tensor) -> torch.Tensor:
        """The own columns of the vectors of given coordinates (k, m)."""
        made = coordinates.new_zeros((len(coordinates), self._width))
        for start, part in self._parts():
            made.addmm_(coordinates[:, start : start + len(part)], part)
        return made

    def _slab(self) -> torch.Tensor:
        shape = (_ROWS, self._width)
        return torch.empty(shape, dtype=torch.float64, device=self._home, pin_memory=self._pinned)

    def _parts(self) -> Iterator[tuple[int, torch.Tensor]]:
        """Each slab's place and its filled rows, carried to the device one at a time."""
        for index, slab in enumerate(self._slabs):
            start = index * _ROWS
            yield start, slab[: self.rows - start].to(self._device)


def orthonormalized(
    block: torch.Tensor, floor: float, *others: Basis
) -> tuple[torch.Tensor, np.ndarray]:
    """An orthonormal basis of a block's rows, dropping what is linearly dependent.

    Args:
        block: Shape (b, P), orthogonal to ``others``.
        floor: Rows of which no more than this norm is left are dropped.
        others: What the new rows are kept orthogonal to, where normalizing enlarges rounding.

    Returns:
        Rows N, shape (c, P), c ≤ b, and R, shape (c, b), with block = Rᵀ N.
    """
    rows: list[torch.Tensor] = []
    factors = np.zeros((len(block), len(block)))
    for column, given in enumerate(block):
        row = given.clone()
        for _ in range(2):
            for index, known in enumerate(rows):
                part = known @ row
                row -= part * known
                factors[index, column] += float(part)
        norm = float(torch.linalg.vector_norm(row))
        if norm <= floor:
            continue
        factors[len(rows), column] = norm
        row /= norm
        if norm < _SMALL * float(torch.linalg.vector_norm(given)):
            for other in others:
                other.remove(row[None])
            row /= torch.linalg.vector_norm(row)
        rows.append(row)
    made = torch.stack(rows) if rows else block[:0]
    return made, factors[: len(rows)]
