"""The two phases of a saliency map, as pure functions of activation and gradient.

Phase 1: a virtual identity layer behind the hooked one would have a weight gradient Σ_u e_u, and
e_u is what location u adds. Phase 2: an aggregation makes a number of the vector e_u. (Rebuffi,
Fong, Ji, Vedaldi, "There and Back Again", CVPR 2020, arXiv 2004.02866, sections 3.1 and 3.2.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from lla.analyses.saliency.convolution import (
    Geometry,
    Reduced,
    Wanted,
    contributions,
    reduced,
)
from lla.analyses.saliency.names import Aggregation, Pair, Virtual

__all__ = ["Layer", "grad_cam", "phase_maps"]

_PADDED = (1, 1, 1, 1)
_WANTED: dict[Aggregation, Wanted] = {
    "norm": "squares",
    "positive_norm": "signed",
    "sum": "total",
    "max": "extremes",
    "max_abs": "extremes",
}


@dataclass(frozen=True)
class Layer:
    """What a map at a layer is made of.

    Attributes:
        activation: a, the layer's output over its grid, shape (n, C, H, W).
        gradient: g = ∂φ/∂a, of the same shape.
        input: x, the layer's own input, shape (n, K, H′, W′); for the virtual layer "real".
        geometry: Of its own convolution; None where the layer is none.
    """

    activation: torch.Tensor
    gradient: torch.Tensor
    input: torch.Tensor | None = None
    geometry: Geometry | None = None


def phase_maps(layer: Layer, pairs: Iterable[Pair]) -> Mapping[Pair, torch.Tensor]:
    """The maps of all pairs, in closed form: no e_u is built.

    Args:
        layer: Activation and gradient.
        pairs: Virtual layers with aggregations.

    Returns:
        Maps of shape (n, H, W) by pair.

    Raises:
        ValueError: The pair "real" of a layer that is no convolution.
    """
    asked: dict[Virtual, list[Aggregation]] = {}
    for pair in pairs:
        asked.setdefault(pair.virtual, []).append(pair.aggregation)
    a, scale_a = _scaled(layer.activation)
    g, scale_g = _scaled(layer.gradient)
    found: dict[Pair, torch.Tensor] = {}
    for virtual, aggregations in asked.items():
        wanted = frozenset(_WANTED[name] for name in aggregations)
        if virtual == "real":
            if layer.input is None or layer.geometry is None:
                raise ValueError("the layer is no convolution")
            x, scale = _scaled(layer.input)
            of_all = contributions(x, g, layer.geometry, wanted)
        else:
            scale = torch.ones_like(scale_a) if virtual == "bias" else scale_a
            of_all = _of_virtual(virtual, a, g, wanted)
        factor = (scale * scale_g)[:, None, None]
        for name in aggregations:
            found[Pair(virtual, name)] = _aggregated(of_all, name)[:, 0] * factor
    return found


def _of_virtual(
    virtual: Virtual, a: torch.Tensor, g: torch.Tensor, wanted: frozenset[Wanted]
) -> Reduced:
    """What a virtual layer's contributions e_u add up to: (n, 1, H, W) each."""
    if virtual == "bias":  # e_u = g_u
        return reduced(g, wanted)
    if virtual == "scaling":  # e_u = a_u ⊙ g_u
        return reduced(a * g, wanted)
    if virtual == "conv1x1":  # e_u = g_u a_uᵀ
        return contributions(a, g, Geometry(), wanted)
    groups = a.shape[1] if virtual == "depthwise3x3" else 1
    return contributions(a, g, Geometry((3, 3), padding=_PADDED, groups=groups), wanted)


def _aggregated(of: Reduced, aggregation: Aggregation) -> torch.Tensor:
    if aggregation == "norm":
        assert of.square is not None
        return of.square.sqrt()
    if aggregation == "positive_norm":
        assert of.positive is not None
        return of.positive.sqrt()
    if aggregation == "sum":
        assert of.total is not None
        return of.total
    assert of.highest is not None
    assert of.lowest is not None
    return of.highest if aggregation == "max" else torch.maximum(of.highest, -of.lowest)


def _scaled(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Values of a size whose squares neither vanish nor overflow, and the factor for each image.

    The factors are powers of two: nothing is rounded. Gradients of a probability near 0 or 1 are
    as small as 1e-25, and their squares are zero in float32.
    """
    ones = values.new_ones(len(values))
    largest = values.detach().abs().amax(dim=tuple(range(1, values.ndim)))
    edge = torch.finfo(values.dtype).tiny ** 0.25
    odd = ((largest < edge) | (largest > 1 / edge)) & (largest > 0) & largest.isfinite()
    if not bool(odd.any()):
        return values, ones
    factor = torch.where(odd, torch.exp2(torch.floor(torch.log2(largest))), ones)
    return values / factor.view(-1, *[1] * (values.ndim - 1)), factor


def grad_cam(layer: Layer) -> torch.Tensor:
    """Grad-CAM: ReLU Σ_c mean_u(g_c) a_c (Selvaraju et al. 2017, eq. 1 and 2), shape (n, H, W)."""
    mean = layer.gradient.mean(dim=(2, 3), keepdim=True)
    return (mean * layer.activation).sum(1).clamp(min=0)
