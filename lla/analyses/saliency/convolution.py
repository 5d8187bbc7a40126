"""What a location adds to a convolution's weight gradient, aggregated without ever being built.

At location u a convolution's weight gradient gets e_u = g_u ⊗ x_u: the output's gradient there
times the patch of the input that its kernel sees. All that is asked of e_u (its norm, its positive
part's norm, its sum, its extremes) factorizes into the same numbers of g_u and of x_u, and those of
a patch are sums and extremes over a window: O(C) numbers a location where e_u itself has k²C².
Virtual layers are convolutions too, of 1×1 or 3×3 with all channels or one as a group.
(Rebuffi et al. 2020, section 3 and table 1.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal, cast

import torch
from torch import nn
from torch.nn import functional as F

__all__ = [
    "Arena",
    "Geometry",
    "Reduced",
    "Wanted",
    "blocks",
    "contributions",
    "geometry_of",
    "joined",
    "products",
    "reduced",
    "windowed",
]

# Elements of a block, for each thread: what the caches of a core hold several times over.
_BLOCK, _BLOCK_ON_GPU = 1 << 15, 1 << 26

Wanted = Literal["total", "squares", "signed", "extremes"]


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

    def take(self, like: torch.Tensor) -> torch.Tensor:
        """An uninitialized tensor of a tensor's shape, dtype and device."""
        if self._next == len(self._buffers):
            self._buffers.append(like.new_empty(0))
        if self._buffers[self._next].numel() < like.numel():
            self._buffers[self._next] = like.new_empty(like.numel())
        found = self._buffers[self._next][: like.numel()].view(like.shape)
        self._next += 1
        return found


@dataclass(frozen=True)
class Reduced:
    """What is asked of many numbers at each location; each tensor has shape (n, G, H, W).

    Attributes:
        total: Their sum.
        square: The sum of their squares.
        positive: The sum of the squares of the positive ones.
        negative: The sum of the squares of the negative ones.
        highest: The largest.
        lowest: The smallest.
    """

    total: torch.Tensor | None = None
    square: torch.Tensor | None = None
    positive: torch.Tensor | None = None
    negative: torch.Tensor | None = None
    highest: torch.Tensor | None = None
    lowest: torch.Tensor | None = None

    def added(self, how: Callable[[str, torch.Tensor], torch.Tensor]) -> Reduced:
        """The same with a function applied to each part, told its name."""
        return Reduced(
            **{name: how(name, part) for name, part in vars(self).items() if part is not None}
        )


@dataclass(frozen=True)
class Geometry:
    """Which patch of its input a convolution sees at each location; by default a 1×1 one's.

    Attributes:
        kernel: Height and width.
        stride: Along both axes.
        padding: Rows before and behind, columns before and behind.
        dilation: Along both axes.
        groups: Into how many groups the channels are cut.
        mode: What lies in the padding, as :func:`torch.nn.functional.pad` calls it.
    """

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    mode: str = "constant"

    def padded(self, x: torch.Tensor) -> torch.Tensor:
        """The input with its padding."""
        if not any(self.padding):
            return x
        above, below, left, right = self.padding
        return F.pad(x, (left, right, above, below), mode=self.mode)

    def windows(
        self, x: torch.Tensor, combine: Callable[..., torch.Tensor], arena: Arena
    ) -> torch.Tensor:
        """Combine, at each location, the padded values that the kernel sees: (…, H, W) → output."""
        for axis, dim in ((0, -2), (1, -1)):
            step, wide = self.stride[axis], self.dilation[axis]
            count = (x.shape[dim] - wide * (self.kernel[axis] - 1) - 1) // step + 1
            parts = _shifts(x, dim, self.kernel[axis], wide, step, count)
            x, out = next(parts), None
            for part in parts:
                out = arena.take(part) if out is None else out
                x = combine(x, part, out=out)
        return x


def _shifts(
    x: torch.Tensor, dim: int, kernel: int, wide: int, step: int, count: int
) -> Iterator[torch.Tensor]:
    for place in range(kernel):
        part = x.narrow(dim, place * wide, step * (count - 1) + 1)
        yield part[..., ::step, :] if dim == -2 else part[..., ::step]


def geometry_of(layer: nn.Module) -> Geometry | None:
    """The geometry of a Conv2d, or of a linear layer over tokens (1×1); None for other layers."""
    if isinstance(layer, nn.Linear):
        return Geometry()
    if not isinstance(layer, nn.Conv2d):
        return None
    kernel, dilation = _two(layer.kernel_size), _two(layer.dilation)
    padding: tuple[int, ...]
    if layer.padding == "same":
        whole = [wide * (size - 1) for size, wide in zip(kernel, dilation, strict=True)]
        padding = tuple(part for all_ in whole for part in (all_ // 2, all_ - all_ // 2))
    elif layer.padding == "valid":
        padding = (0, 0, 0, 0)
    else:
        rows, columns = _two(cast(Any, layer.padding))
        padding = (rows, rows, columns, columns)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return Geometry(kernel, _two(layer.stride), cast(Any, padding), dilation, layer.groups, mode)


def _two(value: tuple[int, ...]) -> tuple[int, int]:
    return int(value[0]), int(value[-1])


def reduced(x: torch.Tensor, wanted: frozenset[Wanted], arena: Arena, groups: int = 1) -> Reduced:
    """Sums, squares and extremes over the channels of each group.

    Args:
        x: Shape (n, C, H, W).
        wanted: Which of them.
        arena: For intermediate values; of several groups of one channel, for the result as well.
        groups: Into how many groups the channels are cut.

    Returns:
        Of shape (n, groups, H, W).
    """
    alone = groups == x.shape[1] > 1
    parts = x if alone else x.reshape(len(x), groups, -1, *x.shape[2:])

    def over(values: torch.Tensor) -> torch.Tensor:
        return values if alone else values.sum(2)

    found: dict[str, torch.Tensor] = {}
    if "total" in wanted:
        found["total"] = over(parts)
    if "signed" in wanted:
        one = over(torch.clamp(parts, min=0, out=arena.take(parts)).square_())
        other = over(torch.clamp(parts, max=0, out=arena.take(parts)).square_())
        whole = torch.add(one, other, out=arena.take(one)) if alone else one + other
        found |= {"positive": one, "negative": other, "square": whole}
    elif "squares" in wanted:
        found["square"] = over(torch.mul(parts, parts, out=arena.take(parts)))
    if "extremes" in wanted:
        found["highest"] = parts if alone else parts.amax(2)
        found["lowest"] = parts if alone else parts.amin(2)
    return Reduced(**found)


def contributions(
    x: torch.Tensor,
    g: torch.Tensor,
    geometry: Geometry,
    wanted: frozenset[Wanted],
    arena: Arena | None = None,
) -> Reduced:
    """Sums, squares and extremes of e_u = g_u ⊗ x_u at each location u of the output.

    Args:
        x: The convolution's input, shape (n, C, H′, W′).
        g: The gradient by its output, shape (n, K, H, W).
        geometry: Of the convolution.
        wanted: What is asked.
        arena: Memory for intermediate values, nothing of which is in use.

    Returns:
        Of shape (n, 1, H, W).
    """
    parts, arena = [], arena or Arena()
    for images in blocks(len(x), g[0].numel(), g.device):
        merged = None
        share = geometry.groups // max(1, min(geometry.groups, _count(x[images], geometry)))
        for start in range(0, geometry.groups, share):
            place = (start, min(start + share, geometry.groups))
            arena.clear()
            block = _of_groups(x[images], g[images], geometry, wanted, place, arena)
            merged = block if merged is None else _merged(merged, block)
        assert merged is not None
        parts.append(merged)
    return joined(parts)


def _limit(device: torch.device) -> int:
    return _BLOCK * torch.get_num_threads() if device.type == "cpu" else _BLOCK_ON_GPU


def _count(x: torch.Tensor, geometry: Geometry) -> int:
    """Into how many blocks the groups of some images are cut."""
    return -(-x.numel() // _limit(x.device)) if geometry.groups > 1 else 1


def blocks(images: int, size: int, device: torch.device) -> Iterator[slice]:
    """Images in blocks of about as many numbers as a cache holds."""
    step = max(1, _limit(device) // max(1, size))
    for start in range(0, images, step):
        yield slice(start, start + step)


def _of_groups(
    x: torch.Tensor,
    g: torch.Tensor,
    geometry: Geometry,
    wanted: frozenset[Wanted],
    place: tuple[int, int],
    arena: Arena,
) -> Reduced:
    """The contributions of some groups' weights."""
    start, stop = place
    each_x, each_g = x.shape[1] // geometry.groups, g.shape[1] // geometry.groups
    count = stop - start
    part = x[:, start * each_x : stop * each_x]
    if each_x == 1:  # nothing is reduced: one padding is less than five
        padded = reduced(geometry.padded(part), wanted, arena, count)
        of_x = windowed(padded, geometry, arena, padded=True)
    else:
        of_x = windowed(reduced(part, wanted, arena, count), geometry, arena)
    of_g = reduced(g[:, start * each_g : stop * each_g], wanted, arena, count)
    return products(of_x, of_g, arena)


def windowed(of: Reduced, geometry: Geometry, arena: Arena, *, padded: bool = False) -> Reduced:
    """Of the patch that the kernel sees at each location, from what each of its pixels has."""
    if not padded:  # what is asked of nothing but zeros is zero
        of = of.added(lambda _, part: geometry.padded(part))
    if geometry.kernel == (1, 1) and geometry.stride == (1, 1):
        return of
    return of.added(lambda name, part: geometry.windows(part, _COMBINED[name], arena))


_COMBINED: dict[str, Callable[..., torch.Tensor]] = {
    "total": torch.add,
    "square": torch.add,
    "positive": torch.add,
    "negative": torch.add,
    "highest": torch.maximum,
    "lowest": torch.minimum,
}


def products(x: Reduced, g: Reduced, arena: Arena) -> Reduced:
    """Of all products of one number of each, group by group, and then over the groups."""
    found: dict[str, torch.Tensor] = {}
    if x.total is not None and g.total is not None:
        found["total"] = _summed(x.total, g.total, arena)
    if x.square is not None and g.square is not None:
        found["square"] = _summed(x.square, g.square, arena)
    if x.positive is not None and x.negative is not None:
        assert g.positive is not None
        assert g.negative is not None
        found["positive"] = _summed(x.positive, g.positive, arena)
        found["positive"] += _summed(x.negative, g.negative, arena)
    if x.highest is not None and x.lowest is not None:
        assert g.highest is not None
        assert g.lowest is not None
        # Of a product of two ranges both extremes are at ends of both.
        if g.highest is g.lowest:
            one = torch.mul(x.highest, g.highest, out=arena.take(g.highest))
            other = torch.mul(x.lowest, g.lowest, out=arena.take(g.lowest))
            both = arena.take(one)
            found["highest"] = torch.maximum(one, other, out=both).amax(1, keepdim=True)
            found["lowest"] = torch.minimum(one, other, out=both).amin(1, keepdim=True)
        else:
            ends = [x.highest * g.highest, x.lowest * g.lowest]
            ends += [x.highest * g.lowest, x.lowest * g.highest]
            found["highest"] = reduce(torch.maximum, ends).amax(1, keepdim=True)
            found["lowest"] = reduce(torch.minimum, ends).amin(1, keepdim=True)
    return Reduced(**found)


def _summed(x: torch.Tensor, g: torch.Tensor, arena: Arena) -> torch.Tensor:
    """Σ over groups of x·g, shape (n, 1, H, W)."""
    if x.shape[1] == 1:
        return x * g
    return torch.mul(x, g, out=arena.take(g)).sum(1, keepdim=True)


def _merged(one: Reduced, other: Reduced) -> Reduced:
    """Of the numbers of both."""
    return one.added(lambda name, part: _COMBINED[name](part, getattr(other, name)))


def joined(parts: list[Reduced]) -> Reduced:
    """Of the images of all."""
    if len(parts) == 1:
        return parts[0]
    return parts[0].added(lambda name, part: torch.cat([getattr(one, name) for one in parts]))
