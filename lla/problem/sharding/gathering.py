"""A parameter is put together where it is used, and only its share is remembered afterwards.

The ranks' programs are one program on one set of shares. Putting a parameter together and adding
its slopes up over ranks, each rank then having its share of them, are linear and each other's
transpose: differentiated any number of times, each becomes the other. What autograd saves of a
parameter for later is replaced by where to get it from again.
"""

from __future__ import annotations

import weakref
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lla.team import Team

__all__ = ["Meter", "Part", "forgetting", "gathered", "summed"]

_MARK = "_lla_gathered_from"


@dataclass
class Meter:
    """What this rank has put together, in bytes of storage.

    Attributes:
        held: At present.
        peak: At most, so far.
        saved: What autograd has saved besides parameters, so far: activations.
        order: Digest, of 16 bits, of what has been put together, in order.
    """

    held: int = 0
    peak: int = 0
    saved: int = 0
    order: int = 0

    def watch(self, tensor: torch.Tensor) -> None:
        """Count a tensor's storage as long as it lives, whatever view of it is left."""
        storage = tensor.untyped_storage()
        count = storage.nbytes()
        self.held += count
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._let_go, count).atexit = False

    def _let_go(self, count: int) -> None:
        self.held -= count


@dataclass(frozen=True)
class Part:
    """A parameter that is cut over ranks.

    Attributes:
        name: Its name.
        shape: Its shape as a whole.
        team: The ranks.
        meter: Counts what is put together.
    """

    name: str
    shape: torch.Size
    team: Team
    meter: Meter

    def joined(self, piece: torch.Tensor) -> torch.Tensor:
        """The whole of all ranks' pieces, in the parameter's shape."""
        size, meter = self.shape.numel(), self.meter
        meter.order = zlib.crc32(self.name.encode(), meter.order) & 0xFFFF
        found = self.team.joined(piece, self.team.size * len(piece))[:size].view(self.shape)
        if found.untyped_storage().data_ptr() == piece.untyped_storage().data_ptr():
            found = (
                found.clone()
            )  # one rank alone: what is put together is to be a tensor of its own
        meter.watch(found)
        return found

    def summed(self, whole: torch.Tensor) -> torch.Tensor:
        """This rank's piece of the sum of all ranks' tensors of the parameter's shape."""
        lacking = -self.shape.numel() % self.team.size
        flat = whole.reshape(-1)
        return self.team.summed_share(nn.functional.pad(flat, (0, lacking)) if lacking else flat)


@dataclass(frozen=True)
class _Source:
    """Where a parameter that was put together comes from."""

    part: Part
    piece: torch.Tensor


@dataclass(frozen=True)
class _Remembered:
    """A view of a parameter, to be put together again."""

    source: _Source
    shape: torch.Size
    stride: tuple[int, ...]
    offset: int


def gathered(piece: torch.Tensor, part: Part) -> torch.Tensor:
    """The parameter that pieces make, differentiable by this rank's."""
    found: torch.Tensor = _Gathered.apply(piece, part, True)  # type: ignore[no-untyped-call]
    return found


class _Gathered(torch.autograd.Function):
    """Pieces to the whole."""

    @staticmethod
    def forward(ctx: Any, piece: torch.Tensor, part: Part, is_parameter: bool) -> torch.Tensor:
        ctx.part = part
        return _marked(piece.detach(), part) if is_parameter else part.joined(piece.detach())

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> Any:
        return _SummedPiece.apply(slopes[0], ctx.part), None, None  # type: ignore[no-untyped-call]


class _SummedPiece(torch.autograd.Function):
    """Each rank's tensor of the whole's shape to this rank's piece of their sum."""

    @staticmethod
    def forward(ctx: Any, whole: torch.Tensor, part: Part) -> torch.Tensor:
        ctx.part = part
        return part.summed(whole.detach())

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> Any:
        return _Gathered.apply(slopes[0], ctx.part, False), None  # type: ignore[no-untyped-call]


def summed(values: torch.Tensor, team: Team) -> torch.Tensor:
    """The sum over ranks of what each has; differentiated, each rank's own term counts.

    That is right where slopes by shared parameters are added up over ranks, as here.
    """
    found: torch.Tensor = _Total.apply(values, team)  # type: ignore[no-untyped-call]
    return found


class _Total(torch.autograd.Function):
    """Each rank's term to the sum, whose slope by the term is one."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, team: Team) -> torch.Tensor:
        return team.sum(values.detach())

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> Any:
        return slopes[0], None


def _marked(piece: torch.Tensor, part: Part) -> torch.Tensor:
    """The parameter, whose storage, shared by all views of it, says where it comes from."""
    found = part.joined(piece)
    setattr(found.untyped_storage(), _MARK, _Source(part, piece))
    return found


@contextmanager
def forgetting(meter: Meter) -> Iterator[None]:
    """Within it, autograd saves no parameter that was put together, only how to do it again.

    Putting together again needs all ranks: they have to differentiate the same graphs in the same
    order.
    """

    def pack(saved: torch.Tensor) -> torch.Tensor | _Remembered:
        if saved.layout != torch.strided:
            return saved
        source: _Source | None = getattr(saved.untyped_storage(), _MARK, None)
        if source is None or saved.dtype != source.piece.dtype:
            meter.saved += saved.untyped_storage().nbytes()
            return saved
        return _Remembered(source, saved.shape, saved.stride(), int(saved.storage_offset()))

    def unpack(found: torch.Tensor | _Remembered) -> torch.Tensor:
        if isinstance(found, torch.Tensor):
            return found
        with torch.no_grad():
            whole = _marked(found.source.piece, found.source.part)
            return whole.as_strided(found.shape, found.stride, found.offset)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield
