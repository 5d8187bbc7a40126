"""The two phases of a saliency map, as pure functions of activation and gradient.

Phase 1: a virtual identity layer behind the hooked one would have a weight gradient Σ_u e_u, and
e_u is what location u adds. Phase 2: an aggregation makes a number of the vector e_u. (Rebuffi,
Fong, Ji, Vedaldi, "There and Back Again", CVPR 2020, arXiv 2004.02866, sections 3.1 and 3.2.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch

from lla.analyses.saliency.convolution import (
    Arena,
    Geometry,
    Reduced,
    Wanted,
    blocks,
    contributions,
    joined,
    products,
    reduced,
    windowed,
)
from lla.analyses.saliency.names import Aggregation, Pair, Virtual

__all__ = ["Layer", "grad_cam", "phase_maps"]

_THREE = Geometry((3, 3), padding=(1, 1, 1, 1))
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


@torch.no_grad()
def phase_maps(
    layer: Layer, pairs: Iterable[Pair], memory: tuple[Arena, Arena] | None = None
) -> Mapping[Pair, torch.Tensor]:
    """The maps of all pairs, in closed form: no e_u is built.

    Args:
        layer: Activation and gradient.
        pairs: Virtual layers with aggregations.
        memory: For intermediate values, to be used again for the next layer.

    Returns:
        Maps of shape (n, H, W) by pair.

    Raises:
        ValueError: The pair "real" of a layer that is no convolution.
    """
    asked: dict[Virtual, list[Aggregation]] = {}
    for pair in pairs:
        asked.setdefault(pair.virtual, []).append(pair.aggregation)
    wanted = {
        virtual: frozenset(_WANTED[name] for name in aggregations)
        for virtual, aggregations in asked.items()
    }
    a, scale_a = _scaled(layer.activation)
    g, scale_g = _scaled(layer.gradient)
    outer, inner = memory or (Arena(), Arena())
    of_all = _of_virtual(a, g, wanted, outer, inner)
    scales = dict.fromkeys(asked, scale_a * scale_g) | {"bias": scale_g}
    if "real" in asked:
        if layer.input is None or layer.geometry is None:
            raise ValueError("the layer is no convolution")
        x, scale_x = _scaled(layer.input)
        of_all["real"] = contributions(x, g, layer.geometry, wanted["real"], inner)
        scales["real"] = scale_x * scale_g
    return {
        Pair(virtual, name): _aggregated(of_all[virtual], name)[:, 0]
        * scales[virtual][:, None, None]
        for virtual, aggregations in asked.items()
        for name in aggregations
    }


_CHANNELS: tuple[Virtual, ...] = ("conv1x1", "conv3x3")


def _of_virtual(
    a: torch.Tensor,
    g: torch.Tensor,
    wanted: Mapping[Virtual, frozenset[Wanted]],
    arena: Arena,
    inner: Arena,
) -> dict[Virtual, Reduced]:
    """What the contributions e_u of virtual layers add up to: (n, 1, H, W) each."""
    nothing: frozenset[Wanted] = frozenset()
    from_a = nothing.union(*(wanted.get(name, nothing) for name in _CHANNELS))
    from_g = from_a | wanted.get("bias", nothing)
    parts: dict[Virtual, list[Reduced]] = {name: [] for name in wanted if name != "real"}
    for images in blocks(len(a), a[0].numel(), a.device):
        arena.clear()
        of_a, of_g = reduced(a[images], from_a, arena), reduced(g[images], from_g, arena)
        for name in parts:
            what = wanted[name]
            if name == "bias":  # e_u = g_u
                made = of_g
            elif name == "scaling":  # e_u = a_u ⊙ g_u
                product = torch.mul(a[images], g[images], out=arena.take(a[images]))
                made = reduced(product, what, arena)
            elif name == "conv1x1":  # e_u = g_u a_uᵀ
                made = products(of_a, of_g, arena)
            elif name == "conv3x3":
                made = products(windowed(of_a, _THREE, arena), of_g, arena)
            else:
                each = replace(_THREE, groups=a.shape[1])
                made = contributions(a[images], g[images], each, what, inner)
            parts[name].append(made)
    return {name: joined(found) for name, found in parts.items()}


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
    axes = tuple(range(1, values.ndim))
    largest = torch.maximum(values.amax(dim=axes), -values.amin(dim=axes))
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
