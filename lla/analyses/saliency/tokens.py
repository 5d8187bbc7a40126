"""How an activation lies over the image: as a feature map, or as tokens to be folded to one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

__all__ = ["Grid", "grid_of", "spatial"]

_SIDES = 1.3
_MOST_REGISTERS = 16


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


def grid_of(
    activation: torch.Tensor, image: torch.Size, known: Iterable[tuple[int, int]] = ()
) -> Grid | None:
    """The grid of an activation over images of shape (n, C, H, W), or None if it has none.

    Args:
        activation: Of one of the layers.
        image: Shape of the images.
        known: Rows and columns of feature maps before it: patches may be embedded into one of
            them, with up to 16 tokens before (class and registers).
    """
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
    for rows, columns in known:
        if 0 <= tokens - rows * columns <= _MOST_REGISTERS:
            return Grid(rows, columns, tokens - rows * columns, tokens=True)
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
