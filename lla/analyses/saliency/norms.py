"""Normalizations out of elementary operations, for derivatives beyond the second.

torch's own layer norm, group norm and RMS norm are right to the second derivative. Differentiated
once more, backwards or forwards, torch 2.13 silently leaves terms out: they keep mean and deviation
from the forward pass and take them for constants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

__all__ = ["elementary_norms"]


def _layer_norm(
    input: torch.Tensor,
    normalized_shape: Sequence[int],
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> torch.Tensor:
    axes = tuple(range(-len(normalized_shape), 0))
    away = input - input.mean(axes, keepdim=True)
    found = away * (away.square().mean(axes, keepdim=True) + eps).rsqrt()
    found = found if weight is None else found * weight
    return found if bias is None else found + bias


def _group_norm(
    input: torch.Tensor,
    num_groups: int,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> torch.Tensor:
    grouped = input.reshape(len(input), num_groups, -1)
    found = _layer_norm(grouped, grouped.shape[2:], eps=eps).reshape(input.shape)
    shape = (1, -1, *[1] * (input.ndim - 2))
    found = found if weight is None else found * weight.view(shape)
    return found if bias is None else found + bias.view(shape)


def _rms_norm(
    input: torch.Tensor,
    normalized_shape: Sequence[int],
    weight: torch.Tensor | None = None,
    eps: float | None = None,
) -> torch.Tensor:
    axes = tuple(range(-len(normalized_shape), 0))
    small = torch.finfo(input.dtype).eps if eps is None else eps
    found = input * (input.square().mean(axes, keepdim=True) + small).rsqrt()
    return found if weight is None else found * weight


_OURS: dict[Callable[..., torch.Tensor], Callable[..., torch.Tensor]] = {
    torch.layer_norm: _layer_norm,
    torch.group_norm: _group_norm,
    torch.rms_norm: _rms_norm,
    # These ask the mode first, and call the ones above where it does not see them.
    F.layer_norm: _layer_norm,
    F.group_norm: _group_norm,
    F.rms_norm: _rms_norm,
}


class _Mode(TorchFunctionMode):
    """Sends calls of normalizations to the ones above."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _OURS.get(func, func)(*args, **(kwargs or {}))


@contextmanager
def elementary_norms() -> Iterator[None]:
    """Within it, normalizations can be differentiated as often as one likes."""
    with _Mode():
        yield
