"""What a network is given: one tensor, several by position, or several by name."""

from __future__ import annotations

from collections.abc import Callable

import torch

__all__ = ["Inputs", "described", "in_dtype", "leaves", "mapped"]

Inputs = torch.Tensor | tuple[torch.Tensor, ...] | dict[str, torch.Tensor]


def mapped(inputs: Inputs, function: Callable[[torch.Tensor], torch.Tensor]) -> Inputs:
    """The same inputs with a function applied to each tensor."""
    if isinstance(inputs, torch.Tensor):
        return function(inputs)
    if isinstance(inputs, dict):
        return {name: function(tensor) for name, tensor in inputs.items()}
    return tuple(function(tensor) for tensor in inputs)


def leaves(inputs: Inputs) -> tuple[torch.Tensor, ...]:
    """All tensors of the inputs; each has the samples along its first axis."""
    if isinstance(inputs, torch.Tensor):
        return (inputs,)
    return tuple(inputs.values() if isinstance(inputs, dict) else inputs)


def described(inputs: Inputs) -> str:
    """The shapes, for messages: ``(8, 3)``, ``((8, 3), (8, 2))`` or ``{ids: (8, 3)}``."""
    if isinstance(inputs, torch.Tensor):
        return str(tuple(inputs.shape))
    if isinstance(inputs, dict):
        named = (f"{name}: {tuple(tensor.shape)}" for name, tensor in inputs.items())
        return "{" + ", ".join(named) + "}"
    return "(" + ", ".join(str(tuple(tensor.shape)) for tensor in inputs) + ")"


def in_dtype(tensor: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    """A tensor of real or complex numbers in the precision of ``kind``; others as they are."""
    if tensor.is_complex():
        return tensor.to(kind.to_complex())
    return tensor.to(kind) if tensor.is_floating_point() else tensor
