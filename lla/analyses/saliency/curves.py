"""What happens to the answer as pixels are taken away, or given, in the order of a map.

(Petsiuk et al. 2018, "RISE", section 4.3: deletion and insertion.) Beside them stand the same
curves in a random order: a map is worth something as far as it beats them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from lla.problem import Batch, Problem
from lla.problem.forward import outputs_of
from lla.seeding import permutation

__all__ = ["Curves", "area", "baseline_of", "curves", "ink_of"]

_BLURRED = 0.25  # of the shorter side
_PLAIN, _NEAR, _INK = 0.3, 0.05, 0.5


@dataclass(frozen=True)
class Curves:
    """Probabilities of the explained class, each of shape (steps, n).

    Attributes:
        share: Of the pixels that are taken away or given, shape (steps,).
        deletion: Pixels taken away from the image, in the map's order.
        insertion: Pixels given to the baseline.
        random_deletion: The same in a random order.
        random_insertion: The same in a random order.
    """

    share: np.ndarray
    deletion: np.ndarray
    insertion: np.ndarray
    random_deletion: np.ndarray
    random_insertion: np.ndarray


def baseline_of(problem: Problem, images: torch.Tensor, kind: str) -> torch.Tensor:
    """What stands in place of pixels that are taken away, of the images' shape.

    Args:
        problem: Its data have the mean.
        images: Shape (n, C, H, W).
        kind: "mean" of each channel over the analysed data, "zero", or "blur" of the image itself.
    """
    if kind == "zero":
        return torch.zeros_like(images)
    if kind == "mean":
        data = problem.data.inputs
        assert isinstance(data, torch.Tensor)
        return data.mean(dim=(0, 2, 3), keepdim=True).expand_as(images)
    # Thrice a box is nearly a Gaussian.
    half = max(1, round(_BLURRED * min(images.shape[-2:]) / 2))
    blurred = images
    for _ in range(3):
        padded = F.pad(blurred, (half, half, half, half), mode="replicate")
        blurred = F.avg_pool2d(padded, 2 * half + 1, stride=1)
    return blurred


def curves(
    problem: Problem,
    images: torch.Tensor,
    classes: torch.Tensor,
    maps: torch.Tensor,
    *,
    steps: int,
    baseline: torch.Tensor,
    seed: int,
) -> Curves:
    """Both curves in the order of the maps, and in a random one.

    Args:
        problem: The network.
        images: Shape (n, C, H, W).
        classes: The explained class, shape (n,).
        maps: Shape (n, H, W).
        steps: Parts into which the pixels are cut.
        baseline: What stands in place of pixels, of the images' shape.
        seed: Of the random order.
    """
    flat = maps.flatten(1)
    by_map = _places(flat.argsort(dim=1, descending=True, stable=True))
    drawn = [permutation(flat.shape[1], seed, "saliency order", k) for k in range(len(images))]
    by_chance = _places(torch.stack(drawn).to(flat.device))
    share = np.linspace(0.0, 1.0, steps + 1)

    def curve(places: torch.Tensor, *, deleting: bool) -> np.ndarray:
        found = []
        for part in share:
            count = round(float(part) * flat.shape[1])
            chosen = (places < count).view(len(images), 1, *images.shape[-2:])
            # The chosen pixels are the image's where they are given, and gone where taken away.
            seen = torch.where(chosen != deleting, images, baseline)
            found.append(_probability(problem, seen, classes))
        return np.stack(found)

    return Curves(
        share,
        curve(by_map, deleting=True),
        curve(by_map, deleting=False),
        curve(by_chance, deleting=True),
        curve(by_chance, deleting=False),
    )


def _places(order: torch.Tensor) -> torch.Tensor:
    """The place of each pixel in an order of pixels."""
    places = torch.empty_like(order)
    numbers = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return places.scatter_(1, order, numbers)


def _probability(problem: Problem, images: torch.Tensor, classes: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        parts = [
            F.softmax(outputs_of(problem.module, part), 1).gather(1, part.targets[:, None])[:, 0]
            for part in Batch(images, classes).chunks(problem.data.chunk)
        ]
    found: np.ndarray = torch.cat(parts).double().cpu().numpy()
    return found


def area(curve: np.ndarray) -> np.ndarray:
    """The area under each image's curve over the share of pixels from 0 to 1, shape (n,)."""
    found: np.ndarray = (curve[1:] + curve[:-1]).mean(axis=0) / 2
    return found


def ink_of(images: torch.Tensor) -> torch.Tensor:
    """Which pixels of drawings are drawn, shape (n, H, W); nothing where an image is no drawing.

    A drawing has a background: the value (to 5 % of the image's range) that at least 30 % of its
    pixels have. Ink is what is farther from it than half the range.
    """
    flat = images.detach().mean(1).flatten(1)
    low = flat.amin(1, keepdim=True)
    span = flat.amax(1, keepdim=True) - low
    scaled = (flat - low) / torch.where(span > 0, span, 1.0)
    levels = (scaled / _NEAR).round().long()
    counts = torch.zeros(len(flat), round(1 / _NEAR) + 1, device=flat.device)
    counts.scatter_add_(1, levels, torch.ones_like(scaled, dtype=counts.dtype))
    most, ground = counts.max(dim=1, keepdim=True)
    away = (scaled - ground * _NEAR).abs()
    ink = (away > _INK) & (most >= _PLAIN * flat.shape[1]) & (span > 0)
    return ink.view(len(images), *images.shape[-2:])
