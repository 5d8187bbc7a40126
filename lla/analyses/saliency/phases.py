"""The two phases of a saliency map, as pure functions of activation and gradient.

Phase 1: a virtual identity layer behind the hooked one would have a weight gradient Σ_u e_u, and
e_u is what location u adds. Phase 2: an aggregation makes a number of the vector e_u. (Rebuffi,
Fong, Ji, Vedaldi, "There and Back Again", CVPR 2020, arXiv 2004.02866, sections 3.1 and 3.2.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from lla.analyses.saliency.channels import over_channels
from lla.analyses.saliency.convolution import contributions
from lla.analyses.saliency.geometry import Geometry
from lla.analyses.saliency.memory import Arena
from lla.analyses.saliency.names import Aggregation, Pair, Virtual
from lla.analyses.saliency.reduced import Reduced, Wanted
from lla.analyses.saliency.virtual import Sums, virtual_sums

__all__ = ["Layer", "grad_cam", "phase_maps"]

_Factor = torch.Tensor | None

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

    def images(self, part: slice) -> Layer:
        """The same of some images."""
        given = None if self.input is None else self.input[part]
        return Layer(self.activation[part], self.gradient[part], given, self.geometry)

    def kind(self) -> tuple[object, ...]:
        """What layers have to share to be taken together: shapes, type, geometry."""
        given = None if self.input is None else (self.input.shape, self.input.dtype)
        return self.activation.shape, self.activation.dtype, given, self.geometry

    @staticmethod
    def joined(layers: Sequence[Layer]) -> Layer:
        """Layers of one kind as one, each the images behind those before."""
        first = layers[0]
        if len(layers) == 1:
            return first
        inputs = [layer.input for layer in layers if layer.input is not None]
        return Layer(
            torch.cat([layer.activation for layer in layers]),
            torch.cat([layer.gradient for layer in layers]),
            torch.cat(inputs) if inputs else None,
            first.geometry,
        )

    def activity(self) -> torch.Tensor:
        """Mean absolute activation of each image, shape (n,)."""
        each = self.activation.flatten(1)
        found: torch.Tensor = torch.linalg.vector_norm(each, ord=1, dim=1) / each.shape[1]
        return found


@torch.no_grad()
def phase_maps(
    layer: Layer, pairs: Iterable[Pair], arena: Arena | None = None
) -> Mapping[Pair, torch.Tensor]:
    """The maps of all pairs, in closed form: no e_u is built.

    Args:
        layer: Activation and gradient.
        pairs: Virtual layers with aggregations.
        arena: Memory for intermediate values, to be used again for the next layer.

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
    arena = arena or Arena()
    of_all, factors = _virtual(layer, wanted, arena)
    if "real" in asked:
        of_all["real"], factors["real"] = _real(layer, wanted["real"], of_all["g"], factors, arena)
    return {
        Pair(virtual, name): _unscaled(_aggregated(of_all[virtual], name)[:, 0], factors[virtual])
        for virtual, aggregations in asked.items()
        for name in aggregations
    }


def _virtual(
    layer: Layer, wanted: Mapping[Virtual, frozenset[Wanted]], arena: Arena
) -> tuple[Sums, dict[str, _Factor]]:
    """The sums of numbers of a sound size, and by which factor they are too small."""
    a, g = layer.activation, layer.gradient
    found = virtual_sums(a, g, wanted, arena)
    of_a = _factor(found["a"]) if "a" in found else None
    of_g = _factor(found["g"])
    if of_a is not None or of_g is not None:
        found = virtual_sums(_divided(a, of_a), _divided(g, of_g), wanted, arena)
    return found, dict.fromkeys(wanted, _times(of_a, of_g)) | {"bias": of_g, "g": of_g}


def _real(
    layer: Layer,
    wanted: frozenset[Wanted],
    of_g: Reduced,
    factors: Mapping[str, _Factor],
    arena: Arena,
) -> tuple[Reduced, _Factor]:
    """The same of the layer's own convolution."""
    if layer.input is None or layer.geometry is None:
        raise ValueError("the layer is no convolution")
    x, g = layer.input, _divided(layer.gradient, factors["g"])
    geometry = layer.geometry.reaching(x.shape, g.shape)
    extremes: frozenset[Wanted] = frozenset({"extremes"})
    alone = geometry.groups > 1  # else all channels are one group, and what is of it is kept
    of_x = over_channels(x, extremes if alone else wanted | extremes, arena)
    factor = _factor(of_x)
    known = (None, of_g) if alone or factor is not None else (of_x, of_g)
    found = contributions(_divided(x, factor), g, geometry, wanted, arena, *known)
    return found, _times(factor, factors["g"])


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


def _factor(of: Reduced) -> _Factor:
    """By what to divide numbers for squares that neither vanish nor overflow; None: as they are.

    The factors, one for each image, are powers of two: nothing is rounded. Gradients of a
    probability near 0 or 1 are as small as 1e-25, and their squares are zero in float32.
    """
    assert of.highest is not None
    assert of.lowest is not None
    largest = torch.maximum(of.highest, -of.lowest).amax(dim=(1, 2, 3))
    edge = torch.finfo(largest.dtype).tiny ** 0.25
    odd = ((largest < edge) | (largest > 1 / edge)) & (largest > 0) & largest.isfinite()
    if not bool(odd.any()):
        return None
    return torch.where(odd, torch.exp2(torch.floor(torch.log2(largest))), torch.ones_like(largest))


def _divided(values: torch.Tensor, factor: _Factor) -> torch.Tensor:
    return values if factor is None else values / factor.view(-1, 1, 1, 1)


def _unscaled(maps: torch.Tensor, factor: _Factor) -> torch.Tensor:
    return maps if factor is None else maps * factor.view(-1, 1, 1)


def _times(one: _Factor, other: _Factor) -> _Factor:
    return other if one is None else one if other is None else one * other


def grad_cam(layer: Layer) -> torch.Tensor:
    """Grad-CAM: ReLU Σ_c mean_u(g_c) a_c (Selvaraju et al. 2017, eq. 1 and 2), shape (n, H, W)."""
    mean = layer.gradient.mean(dim=(2, 3), keepdim=True)
    return (mean * layer.activation).sum(1).clamp(min=0)
