"""Sums and extremes over images' channels, block by block of them."""

from __future__ import annotations

import torch

from lla.analyses.saliency.memory import Arena, blocks
from lla.analyses.saliency.reduced import Reduced, Wanted, joined
from lla.analyses.saliency.rows import COMBINE, Asked, Parts, Rows

__all__ = ["over_channels", "sums_of"]


def sums_of(
    g: torch.Tensor, a: torch.Tensor | None, asked: Asked, arena: Arena
) -> dict[str, Reduced]:
    """What is asked of gradients and activations, reading both once from memory.

    Args:
        g: Shape (n, C, H, W).
        a: Of the same shape.
        asked: What is asked.
        arena: Memory for intermediate values.

    Returns:
        Of shape (n, 1, H, W), by "g", "a", "scaling" and "depthwise".
    """
    plane = (g.shape[2] + asked.margin) * (g.shape[3] + asked.margin)
    found: dict[str, list[Reduced]] = {}
    for images in blocks(len(g), g.shape[1] * plane, g.device):
        whole: Parts = {}
        for channels in blocks(g.shape[1], (images.stop - images.start) * plane, g.device):
            part = g[images, channels]
            rows = _rows(part, asked, arena)
            parts = rows.parts(part, None if a is None else a[images, channels])
            for key, more in parts.items() if whole else ():
                COMBINE[key.how](whole[key], more, out=whole[key])
            whole = whole or parts
        for name, one in rows.reduced(whole).items():
            found.setdefault(name, []).append(one)
    return {name: joined(one) for name, one in found.items()}


def _rows(block: torch.Tensor, asked: Asked, arena: Arena) -> Rows:
    shape = tuple(block.shape)
    return arena.laid_out(
        block, asked.size(shape), (asked, shape), lambda memory: Rows(shape, asked, memory)
    )


def over_channels(x: torch.Tensor, wanted: frozenset[Wanted], arena: Arena) -> Reduced:
    """Sums, squares and extremes over all channels of numbers (n, C, H, W): (n, 1, H, W)."""
    return sums_of(x, None, Asked(wanted), arena)["g"]
