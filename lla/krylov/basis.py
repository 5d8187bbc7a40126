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
_SLAB = 64 << 20  # bytes of a slab whose rows are long: what is not filled may take memory
_COLUMNS = 1 << 20
_CONVERTED = 1 << 20  # numbers that are made float64 at a time: they stay in a cache
_SMALL = 1e-3  # what is left of a row: below it, the rounding of its removal is felt
_DEPENDENT = 0.5  # of such a row, made a unit vector: no more than this is new, it is rounding


class Basis:
    """Orthonormal rows q_1 … q_m of length P, kept in float64 or in float32.

    Rows lie in slabs, so that memory is taken as the basis grows. On the host they are carried to
    the device some columns at a time: a GPU then holds a block and one piece, whatever m is.
    Vectors that are given and returned are whole on every rank, and float64: so is all arithmetic.
    Kept in float32, rows are orthonormal to its rounding.

    Attributes:
        size: P.
        rows: m.
        kind: What the rows are kept in.
        team: Ranks that share out the columns.
    """

    def __init__(
        self,
        size: int,
        device: torch.device,
        *,
        on_host: bool = False,
        kind: torch.dtype = torch.float64,
        team: Team = ALONE,
    ) -> None:
        """Make an empty basis.

        Args:
            size: P.
            device: Where vectors are.
            on_host: Keep the rows in host memory.
            kind: What to keep the rows in.
            team: Ranks that share out the columns.
        """
        self.size = size
        self.rows = 0
        self.kind = kind
        self.team = team
        self._mine = team.share(size)
        self._width = self._mine.stop - self._mine.start
        self._device = device
        self._home = torch.device("cpu") if on_host else device
        self._pinned = on_host and device.type == "cuda"
        self._slabs: list[torch.Tensor] = []
        self._deep = max(1, min(_ROWS, _SLAB // max(1, self._width * kind.itemsize)))

    def append(self, block: torch.Tensor) -> torch.Tensor:
        """Add rows, shape (b, P), orthonormal among themselves and to the basis.

        Returns:
            The block; where rows are not kept in float64 it has become what is kept of it.
        """
        for row in block:
            if self.rows == len(self._slabs) * self._deep:
                self._slabs.append(self._slab())
            kept = self._slabs[-1][self.rows % self._deep]
            kept.copy_(row[self._mine])
            if self.kind != torch.float64:
                row.copy_(row.to(self.kind))
            self.rows += 1
        return block

    def project(self, block: torch.Tensor) -> torch.Tensor:
        """Coordinates of each row of a block (b, P): shape (m, b)."""
        if not self.rows:
            return block.new_zeros((0, len(block)))
        return self._sweep(block[:, self._mine], None)

    def combine(self, coordinates: torch.Tensor) -> torch.Tensor:
        """The vectors of given coordinates (k, m): shape (k, P)."""
        made = coordinates.new_zeros((len(coordinates), self._width))
        if self.rows:
            self._sweep(made, -coordinates, look=False)
        return self.team.joined(made, self.size)

    def remove(self, block: torch.Tensor) -> torch.Tensor:
        """Take the basis' part out of a block (b, P), in place; return its coordinates (m, b).

        Classical Gram–Schmidt, twice: "twice is enough" (Giraud et al. 2005).
        """
        if not self.rows:
            return self.project(block)
        mine = block[:, self._mine]
        coordinates = self._sweep(mine, None)
        again = self._sweep(mine, coordinates.T)
        self._sweep(mine, again.T, look=False)
        if self.team.size > 1:
            block.copy_(self.team.joined(mine, self.size))
        return coordinates + again

    def compress(self, rotation: torch.Tensor) -> None:
        """Replace the rows Q by S Q, for S of shape (k, m) with orthonormal rows, k ≤ m.

        In place, some columns at a time: no second basis is held.
        """
        kept = len(rotation)
        turn = rotation.to(self._home)
        step = min(_COLUMNS, max(1, _CONVERTED // max(1, self.rows)))
        for start in range(0, self._width, step):
            part = slice(start, min(start + step, self._width))
            old = torch.cat([rows for _, rows in self._parts(part)]).to(turn.dtype)
            for index, row in enumerate(turn @ old):
                self._slabs[index // self._deep][index % self._deep, part] = row
        self.rows = kept
        del self._slabs[-(-kept // self._deep) :]

    def gram(self, places: Sequence[slice]) -> torch.Tensor:
        """Inner products of the rows over some of the columns alone, shape (m, m), on the CPU."""
        found = torch.zeros((self.rows, self.rows), dtype=torch.float64)
        for place in places:
            for _, rows in self.pieces(place):
                found += (rows @ rows.T).cpu()
        return self.team.sum(found)

    def pieces(self, place: slice) -> Iterator[tuple[slice, torch.Tensor]]:
        """All rows over some columns, as far as they are this rank's, a piece at a time.

        Yields:
            Where the piece lies in whole vectors, and the rows over it: float64, shape (m, …).
        """
        first = self._mine.start
        start, stop = max(place.start, first) - first, min(place.stop, self._mine.stop) - first
        step = min(_COLUMNS, max(1, _CONVERTED // max(1, self.rows)))
        for at in range(start, stop, step):
            part = slice(at, min(at + step, stop))
            yield slice(first + part.start, first + part.stop), self._at(part)

    def matrix(self) -> torch.Tensor:
        """All rows in one tensor, shape (m, P); a copy."""
        return self.team.joined(self._at(slice(0, self._width)), self.size)

    def _sweep(
        self, mine: torch.Tensor, taken: torch.Tensor | None, *, look: bool = True
    ) -> torch.Tensor:
        """One pass over the rows, some columns at a time: nothing is held twice.

        Args:
            mine: The own columns of vectors (b, …).
            taken: Coordinates (b, m) of what is taken out of them first, in place.
            look: Whether the coordinates of what is left are wanted.

        Returns:
            Coordinates, shape (m, b).
        """
        found = mine.new_zeros((self.rows, len(mine)))
        for part in self._columns(0, self._width):
            here = mine[:, part]
            direct = self.kind == torch.float64 and self._home == self._device
            parts = list(self._parts(part)) if direct else [(0, self._at(part))]
            if taken is not None:
                for start, rows in parts:
                    here.addmm_(taken[:, start : start + len(rows)], rows, alpha=-1)
            if look:
                for start, rows in parts:
                    found[start : start + len(rows)] += rows @ here.T
        return self.team.sum(found) if look else found

    def _columns(self, start: int, stop: int) -> Iterator[slice]:
        """Columns in pieces: all at once where the rows need neither be carried nor converted."""
        if self.kind == torch.float64 and self._home == self._device:
            step = max(1, stop - start)
        else:
            step = max(1, _CONVERTED // max(1, self.rows))
        for at in range(start, stop, step):
            yield slice(at, min(at + step, stop))

    def _slab(self) -> torch.Tensor:
        shape = (self._deep, self._width)
        return torch.empty(shape, dtype=self.kind, device=self._home, pin_memory=self._pinned)

    def _parts(self, columns: slice) -> Iterator[tuple[int, torch.Tensor]]:
        """Each slab's place and its filled rows over some columns."""
        for index, slab in enumerate(self._slabs):
            start = index * self._deep
            yield start, slab[: self.rows - start, columns]

    def _at(self, columns: slice) -> torch.Tensor:
        """A copy of all rows over some columns: float64, shape (m, …), on the device."""
        shape = (self.rows, columns.stop - columns.start)
        whole = torch.empty(shape, dtype=torch.float64, device=self._device)
        for start, rows in self._parts(columns):
            whole[start : start + len(rows)].copy_(rows, non_blocking=self._pinned)
        return whole


def orthonormalized(
    block: torch.Tensor, floor: float, *others: Basis, before: float = 0.0, spend: bool = False
) -> tuple[torch.Tensor, np.ndarray]:
    """An orthonormal basis of a block's rows, dropping what is linearly dependent.

    Args:
        block: Shape (b, P), orthogonal to ``others``.
        floor: Rows of which no more than this norm is left are dropped.
        others: What the new rows are kept orthogonal to, where normalizing enlarges rounding; a
            row of which that leaves too little is rounding, and dropped.
        before: Norm of the rows before ``others`` were taken out of them: what that rounded is of
            its size.
        spend: Whether the block's own memory may be used.

    Returns:
        Rows N, shape (c, P), c ≤ b, and R, shape (c, b), with block = Rᵀ N.
    """
    rows: list[torch.Tensor] = []
    factors = np.zeros((len(block), len(block)))
    for column, given in enumerate(block):
        length = float(torch.linalg.vector_norm(given))
        row = given if spend else given.clone()
        for _ in range(2):
            for index, known in enumerate(rows):
                part = float(known @ row)
                row.sub_(known, alpha=part)
                factors[index, column] += part
        norm = float(torch.linalg.vector_norm(row))
        if norm <= floor:
            continue
        row /= norm
        if norm < _SMALL * max(length, before):
            for other in others:
                other.remove(row[None])
            left = float(torch.linalg.vector_norm(row))
            if left < _DEPENDENT:
                continue
            row /= left
        factors[len(rows), column] = norm
        rows.append(row)
    if len(rows) == 1:
        return rows[0][None], factors[:1]
    if spend and len(rows) == len(block):
        return block, factors
    return torch.stack(rows) if rows else block[:0], factors[: len(rows)]
