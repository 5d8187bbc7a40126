"""Memory for values between, and how large the blocks are that they are made of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["Arena", "blocks"]

# Numbers of a block: few enough for the caches to hold several of them, many enough for what an
# operation costs by itself.
_BLOCK, _BLOCK_ON_GPU = 1 << 18, 1 << 26


class Arena:
    """Memory for the intermediate values of a block, used again for the next.

    Fresh memory costs more than what is computed in it: the system clears it page by page.
    """

    def __init__(self) -> None:
        self._buffers: list[torch.Tensor] = []
        self._next = 0

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

    @contextmanager
    def scope(self) -> Iterator[None]:
        """What is taken within is free again at its end."""
        before = self._next
        try:
            yield
        finally:
            self._next = before


def blocks(count: int, size: int, device: torch.device) -> Iterator[slice]:
    """Things of some numbers each, in blocks of about as many of them."""
    most = _BLOCK if device.type == "cpu" else _BLOCK_ON_GPU
    number = min(count, max(1, round(count * size / most)))
    for k in range(number):
        yield slice(k * count // number, (k + 1) * count // number)
