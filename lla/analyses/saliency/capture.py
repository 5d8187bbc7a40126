"""Capture activations and their gradients without leaving a trace in the network."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

_SIDES = 1.3
# Their outputs are weights or copies, not features: attention's softmax is tokens × tokens.
_NO_FEATURES = (nn.Softmax, nn.Softmax2d, nn.LogSoftmax, _DropoutNd)

__all__ = ["Grid", "captured", "grid_of", "spatial"]


@dataclass(frozen=True)
class Grid:
    """How an activation lies over the image.

    Attributes:
        rows: Height of the grid.
        columns: Width of the grid.
        skipped: Leading tokens that belong to no place (class and register tokens).
        tokens: Whether the activation is (n, T, C) rather than (n, C, H, W).
    """

    rows: int
    columns: int
    skipped: int = 0
    tokens: bool = False


def grid_of(activation: torch.Tensor, image: torch.Size) -> Grid | None:
    """The grid of an activation over images of shape (n, C, H, W), or None if it has none."""
    height, width = image[-2:]
    if activation.shape[0] != image[0]:
        return None
    if activation.ndim == 4:
        rows, columns = activation.shape[-2:]
        # Channels last, or anything else that is no grid, shows in the sides' ratio.
        alike = abs(math.log(rows * width / (columns * height))) < math.log(_SIDES)
        return Grid(rows, columns) if min(rows, columns) > 1 and alike else None
    if activation.ndim != 3:
        return None
    tokens = activation.shape[1]
    for skipped in (0, 1):
        rows = round(math.sqrt((tokens - skipped) * height / width))
        columns = round(rows * width / height)
        if rows > 1 and columns > 1 and rows * columns == tokens - skipped:
            return Grid(rows, columns, skipped, tokens=True)
    return None


def spatial(values: torch.Tensor, grid: Grid) -> torch.Tensor:
    """An activation or its gradient as (n, C, rows, columns)."""
    if not grid.tokens:
        return values
    kept = values[:, grid.skipped :]
    return kept.transpose(1, 2).reshape(len(values), -1, grid.rows, grid.columns)


@contextmanager
def captured(module: nn.Module) -> Iterator[dict[str, torch.Tensor]]:
    """Outputs of all leaf modules of one forward pass, by name, in the order of their calls.

    A module called again is listed at its last call. Each output is passed on as a copy, so that
    an in-place operation after it (``ReLU(inplace=True)``) leaves the captured tensor as it was.
    The hooks are removed at the end, after an error too.
    """
    outputs: dict[str, torch.Tensor] = {}
    handles = []

    def remember(name: str) -> object:
        def hook(part: nn.Module, inputs: object, output: object) -> object:
            if not isinstance(output, torch.Tensor) or not output.requires_grad:
                return None
            outputs.pop(name, None)
            outputs[name] = output
            return output.clone()

        return hook

    try:
        for name, part in module.named_modules():
            if name and not any(part.children()) and not isinstance(part, _NO_FEATURES):
                handles.append(part.register_forward_hook(remember(name)))
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
