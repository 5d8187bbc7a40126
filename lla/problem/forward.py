"""How a network is called on its inputs, and which tensor of what it returns counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from lla.errors import ProblemError
from lla.problem.dataset import Batch
from lla.problem.inputs import Inputs

__all__ = ["called", "outputs_if_any", "outputs_of", "tensor_in"]


def called(module: nn.Module, inputs: Inputs) -> Any:
    """What the network returns for one argument, positional ones (tuple) or named ones (dict)."""
    if isinstance(inputs, torch.Tensor):
        return module(inputs)
    return module(**inputs) if isinstance(inputs, dict) else module(*inputs)


def outputs_of(module: nn.Module, batch: Batch) -> torch.Tensor:
    """The network's outputs for a batch, shape (n, …).

    Of what the network returns this is the tensor itself, ``logits`` by attribute or by key, or
    the first element of a tuple.

    Raises:
        ProblemError: The network returns none of these.
    """
    output = called(module, batch.inputs)
    found = tensor_in(output)
    if found is None:
        keys = f" with {', '.join(map(str, output))}" if isinstance(output, Mapping) else ""
        raise ProblemError(
            f"the network returns a {type(output).__name__}{keys}: which tensor of it the loss "
            "is of, is not known",
            "write the loss as fn(module, batch) -> (sum, count): --loss losses.py:FUNCTION",
        )
    return found


def outputs_if_any(module: nn.Module, batch: Batch) -> torch.Tensor | None:
    """As :func:`outputs_of`, or None if a loss of the user's own calls the network otherwise."""
    try:
        return tensor_in(called(module, batch.inputs))
    except Exception:
        # Only a loss fn(module, batch) gets here: any other has made this call already.
        return None


def tensor_in(output: Any) -> torch.Tensor | None:
    """Of what a network returned, the tensor that counts; None if there is none."""
    logits = output.get("logits") if isinstance(output, Mapping) else None
    first = output[0] if isinstance(output, (tuple, list)) and output else None
    for found in (output, getattr(output, "logits", None), logits, first):
        if isinstance(found, torch.Tensor):
            return found
    return None
