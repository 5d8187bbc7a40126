"""Memory for values between, and how large the blocks are that they are made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Protocol, TypeVar

import torch

__all__ = ["Arena", "Layout", "blocks"]

# Numbers of a block: few enough for the caches to hold some rows of them, many enough for what an
# operation costs by itself.
_BLOCK, _BLOCK_ON_GPU = 1 << 17, 1 << 24


class Layout(Protocol):
    """Views of a memory that several layouts share."""

    def begin(self) -> None:
        """Begin after another layout has used the memory."""


L = TypeVar("L", bound=Layout)


class Arena:
    """Memory for the intermediate values of a block, used again for the next.

    Fresh memory costs more than what is computed in it: the system clears it page by page.
    """

    def __init__(self) -> None:
        self._buffers: list[torch.Tensor] = []
        self._next = 0
        self._memory: torch.Tensor | None = None
        self._layouts: dict[Hashable, Any] = {}
        self._last: Hashable = None

    def laid_out(
        self, like: torch.Tensor, size: int, key: Hashable, make: Callable[[torch.Tensor], L]
    ) -> L:
        """Memory of single precision at least, laid out; valid until the next layout.

        Args:
            like: A tensor of the dtype and on the device.
            size: Numbers.
            key: What decides the layout: its many views are made once.
            make: Makes it of so many numbers.
        """
        dtype = torch.promote_types(like.dtype, torch.float32)
        memory = self._memory
        fits = memory is not None and (memory.dtype, memory.device) == (dtype, like.device)
        if memory is None or not fits or len(memory) < size:
            memory = torch.empty(size, dtype=dtype, device=like.device)
            self._memory, self._last = memory, None
            self._layouts.clear()
        if key not in self._layouts:
            self._layouts[key] = make(memory[:size])
        if self._last != key:
            self._layouts[key].begin()
        self._last = key
        found: L = self._layouts[key]
        return found

    def clear(self) -> None:
        """Begin a block: whatever was taken is free again."""
        self._next = 0

    def take(self, like: torch.Tensor, shape: tuple[int, ...] | None = None) -> torch.Tensor:
        """An uninitialized tensor of a tensor's dtype, device and, without another, shape."""
        shape = tuple(like.shape) if shape is None else shape
        size = math.prod(shape)
        if self._next == len(self._buffers):
            self._buffers.append(like.new_empty(0))
        if self._buffers[self._next].numel() < size:
            self._buffers[self._next] = like.new_empty(size)
        found = self._buffers[self._next][:size].view(shape)
        self._next += 1
        return found


def blocks(count: int, size: int, device: torch.device) -> Iterator[slice]:
    """Things of some numbers each, in blocks of about as many of them."""
    most = _BLOCK if device.type == "cpu" else _BLOCK_ON_GPU
    number = min(count, max(1, round(count * size / most)))
    for k in range(number):
        yield slice(k * count // number, (k + 1) * count // number)
