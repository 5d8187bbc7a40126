"""Several layers' maps as one: resized to the image, scaled to [0, 1], and combined."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import functional as F

__all__ = ["combined", "normalized", "resized", "weights_of"]

Maps = Mapping[str, torch.Tensor]


def normalized(raw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each map scaled to [0, 1], and which are degenerate: constant, or not finite; they become 0.

    Args:
        raw: Shape (n, H, W).
    """
    low = raw.amin(dim=(1, 2), keepdim=True)
    span = raw.amax(dim=(1, 2), keepdim=True) - low
    odd = ~((span > 0) & span.isfinite())
    scaled = torch.where(odd, torch.zeros_like(raw), (raw - low) / torch.where(odd, 1.0, span))
    return scaled, odd.flatten()


def resized(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Maps (n, rows, columns) at an image's size (n, H, W), bilinearly."""
    found = F.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)
    return found[:, 0]


def weights_of(how: str, maps: Maps, activity: Maps) -> torch.Tensor:
    """The weight of each layer for each image, shape (n, layers); each row adds up to 1.

    Args:
        how: "uniform"; "linear": in proportion to the layer's place, the first 1; "activation": to
            its mean absolute activation.
        maps: By layer, in the order of the forward pass.
        activity: Mean absolute activation by layer, shape (n,) each.
    """
    first = next(iter(maps.values()))
    count, layers = len(first), len(maps)
    if how == "linear":
        found = torch.arange(1.0, layers + 1, dtype=first.dtype, device=first.device)
        found = found.expand(count, layers)
    elif how == "activation":
        found = torch.stack([activity[name] for name in maps], dim=1)
    else:
        found = first.new_ones(count, layers)
    total = found.sum(1, keepdim=True)
    return torch.where(total > 0, found / torch.where(total > 0, total, 1.0), 1.0 / layers)


def combined(
    maps: Maps, size: tuple[int, int], weights: torch.Tensor, how: str = "geometric"
) -> torch.Tensor:
    """The layers' maps as one map of each image, shape (n, H, W), within [0, 1].

    Args:
        maps: Raw maps by layer, (n, rows, columns) each.
        size: The images' height and width.
        weights: Shape (n, layers), from :func:`weights_of`.
        how: "geometric": ∏ m^w; "product": ∏ m; "sum": Σ w m.
    """
    scaled, odd = zip(*(normalized(raw) for raw in maps.values()), strict=True)
    # A constant map says nothing of places: the others stand for it.
    kept = weights * ~torch.stack(odd, dim=1)
    total = kept.sum(1, keepdim=True)
    kept = kept / torch.where(total > 0, total, 1.0)
    found = torch.zeros_like if how == "sum" else torch.ones_like
    whole = found(resized(scaled[0], size))
    for index, one in enumerate(scaled):
        part, weight = resized(one, size), kept[:, index, None, None]
        if how == "sum":
            whole += part * weight
        elif how == "product":
            whole *= torch.where(weight > 0, part, 1.0)
        else:
            whole *= part**weight
    return torch.where(total[:, :, None] > 0, whole, 0.0)
