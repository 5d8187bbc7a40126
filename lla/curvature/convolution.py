"""Convolutions whose second derivative uses the kernels that the first one does.

torch differentiates a convolution's backward pass by a convolution with the images as kernels,
which its fast CPU kernels do not take. But that derivative is a backward pass of a convolution
itself, so that ordinary calls do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["fast_convolutions"]

_CONVOLUTIONS: dict[Callable[..., torch.Tensor], int] = {
    torch.conv1d: 1,
    torch.conv2d: 2,
    torch.conv3d: 3,
}


class _Shape(NamedTuple):
    """Stride, padding and dilation along each axis, and the number of groups."""

    stride: list[int]
    padding: list[int]
    dilation: list[int]
    groups: int


def _convolved(x: torch.Tensor, weight: torch.Tensor, shape: _Shape) -> torch.Tensor:
    zero = [0] * len(shape.stride)
    return torch.convolution(
        x, weight, None, shape.stride, shape.padding, shape.dilation, False, zero, shape.groups
    )


def _backward(
    slope: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, shape: _Shape, wanted: list[bool]
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Gradients with respect to input and weight, those that are wanted."""
    zero = [0] * len(shape.stride)
    by_input, by_weight, _ = torch.ops.aten.convolution_backward(
        slope,
        x,
        weight,
        None,
        shape.stride,
        shape.padding,
        shape.dilation,
        False,
        zero,
        shape.groups,
        [*wanted, False],
    )
    return by_input, by_weight


class _Convolution(torch.autograd.Function):
    """x ∗ w, whose backward pass is a function of its own."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, shape: _Shape) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.shape = shape
        return _convolved(x, weight, shape)

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> Any:
        x, weight = ctx.saved_tensors
        needs = list(ctx.needs_input_grad[:2])
        apply: Any = _ConvolutionBackward.apply
        return (*apply(slopes[0], x, weight, ctx.shape, needs), None)


class _ConvolutionBackward(torch.autograd.Function):
    """The gradients (x̄, w̄) of a convolution as a function of (ȳ, x, w)."""

    @staticmethod
    def forward(
        ctx: Any,
        slope: torch.Tensor,
        x: torch.Tensor,
        weight: torch.Tensor,
        shape: _Shape,
        needs: list[bool],
    ) -> Any:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(slope, x, weight)
        ctx.shape = shape
        return _backward(slope, x, weight, shape, needs)

    @staticmethod
    def backward(ctx: Any, *along: torch.Tensor | None) -> Any:
        slope, x, weight = ctx.saved_tensors
        shape = ctx.shape
        along_x, along_weight = along
        by_slope = by_x = by_weight = None
        if along_weight is not None:
            by_slope = _convolved(x, along_weight, shape)
            if ctx.needs_input_grad[1]:
                by_x, _ = _backward(slope, x, along_weight, shape, [True, False])
        if along_x is not None:
            more = _convolved(along_x, weight, shape)
            by_slope = more if by_slope is None else by_slope + more
            if ctx.needs_input_grad[2]:
                _, by_weight = _backward(slope, along_x, weight, shape, [False, True])
        return by_slope, by_x, by_weight, None, None


class _Mode(TorchFunctionMode):
    """Sends calls of convolutions to the ones above, where they can take them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        axes = _CONVOLUTIONS.get(func)
        if axes is not None:
            found = _ours(axes, *args, **named)
            if found is not None:
                return found
        return func(*args, **named)


def _ours(
    axes: int,
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> torch.Tensor | None:
    if isinstance(padding, str) or input.ndim != axes + 2:
        return None
    shape = _Shape(_each(stride, axes), _each(padding, axes), _each(dilation, axes), groups)
    apply: Any = _Convolution.apply
    made: torch.Tensor = apply(input, weight, shape)
    return made if bias is None else made + bias.view(-1, *[1] * axes)


def _each(value: Any, axes: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * axes if len(values) == 1 else values


@contextmanager
def fast_convolutions() -> Iterator[None]:
    """Within it, convolutions are differentiated twice by fast kernels."""
    with _Mode():
        yield
