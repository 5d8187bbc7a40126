"""Which pixels of its input a convolution sees at each location of its output."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from lla.analyses.saliency.memory import Arena
from lla.analyses.saliency.reduced import COMBINED, Reduced

__all__ = ["Geometry", "geometry_of", "windowed"]


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
        spread: How far apart the input's pixels are laid along both axes, zeros between: the stride
            of a transposed convolution, which is one of stride 1 over such an input.
    """

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    mode: str = "constant"
    spread: tuple[int, int] = (1, 1)

    def reaching(self, seen: torch.Size, made: torch.Size) -> Geometry:
        """The same with as much padding behind as an output has: a caller may choose its size.

        Args:
            seen: The input's shape.
            made: The output's.
        """
        if self.spread == (1, 1):
            return self
        above, _, left, _ = self.padding
        before = (above, left)
        below, right = (
            made[axis - 2]
            + self.dilation[axis] * (self.kernel[axis] - 1)
            - (seen[axis - 2] - 1) * self.spread[axis]
            - 1
            - before[axis]
            for axis in (0, 1)
        )
        return replace(self, padding=(above, below, left, right))

    def padded(self, x: torch.Tensor) -> torch.Tensor:
        """The input with its padding."""
        if self.spread != (1, 1):
            rows, columns = (
                (size - 1) * by + 1 for size, by in zip(x.shape[-2:], self.spread, strict=False)
            )
            wide = x.new_zeros(*x.shape[:-2], rows, columns)
            wide[..., :: self.spread[0], :: self.spread[1]] = x
            x = wide
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
    """The geometry of a Conv2d, plain or transposed, or of a linear layer over tokens (1×1).

    None for other layers.
    """
    if isinstance(layer, nn.Linear):
        return Geometry()
    if isinstance(layer, nn.ConvTranspose2d):
        return _transposed(layer)
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


def _transposed(layer: nn.ConvTranspose2d) -> Geometry:
    """At each location of the output, the input's pixels that reach it."""
    kernel, dilation, cut = (
        _two(layer.kernel_size),
        _two(layer.dilation),
        _two(cast(Any, layer.padding)),
    )
    rows, columns = (
        wide * (size - 1) - less for size, wide, less in zip(kernel, dilation, cut, strict=True)
    )
    more = _two(layer.output_padding)
    padding = (rows, rows + more[0], columns, columns + more[1])
    return Geometry(
        kernel, padding=padding, dilation=dilation, groups=layer.groups, spread=_two(layer.stride)
    )


def _two(value: tuple[int, ...]) -> tuple[int, int]:
    return int(value[0]), int(value[-1])


def windowed(of: Reduced, geometry: Geometry, arena: Arena, *, padded: bool = False) -> Reduced:
    """Of the patch that the kernel sees at each location, from what each of its pixels has."""
    if not padded:  # what is asked of nothing but zeros is zero
        of = of.added(lambda _, part: geometry.padded(part))
    if geometry.kernel == (1, 1) and geometry.stride == (1, 1):
        return of
    if of.positive is None or of.negative is None or of.square is None:
        return of.added(lambda name, part: geometry.windows(part, COMBINED[name], arena))
    # One pass less: all squares are those of the positive and of the negative ones.
    found = replace(of, square=None).added(
        lambda name, part: geometry.windows(part, COMBINED[name], arena)
    )
    assert found.positive is not None
    assert found.negative is not None
    whole = torch.add(found.positive, found.negative, out=arena.take(found.positive))
    return replace(found, square=whole)
