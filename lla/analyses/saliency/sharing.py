"""The maps of many layers, shared out among threads in parts that are worth it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from lla.analyses.saliency.memory import Arena
from lla.analyses.saliency.names import Method, Pair
from lla.analyses.saliency.phases import Layer, grad_cam, phase_maps
from lla.problem.crew import shared_out

__all__ = ["Made", "made_of"]

_WORTH_SHARING = 1 << 18  # numbers of all layers
_SMALL, _TOGETHER = 1 << 17, 1 << 18  # numbers of layers that are taken together, and of those

Made = tuple[torch.Tensor, ...]
_Part = tuple[list[str], list[Layer]]


def made_of(
    layers: Mapping[str, Layer], method: Method, more: Sequence[Pair], *, activity: bool
) -> dict[str, Made]:
    """The method's raw map of each layer, further pairs' maps, and perhaps its activity.

    A thread for each core: the operations, on blocks that fit its cache, are too short to be shared
    among cores one by one. Small layers of one shape are taken together, as if they were further
    images: the operations on one of them are too short even for one core.
    """
    parts = list(_parts(layers))
    size = sum(layer.activation.numel() for layer in layers.values())
    threads = min(torch.get_num_threads(), len(parts))
    if size < _WORTH_SHARING or parts[0][1][0].activation.device.type != "cpu":
        threads = 1
    found: dict[str, list[Made]] = {name: [] for name in layers}

    @torch.no_grad()
    def made(arena: Arena, part: _Part) -> Made:
        layer = Layer.joined(part[1])
        own = () if method.averaged else (method.pair,)
        maps = phase_maps(layer, (*own, *more), arena)
        first = grad_cam(layer) if method.averaged else maps[method.pair]
        last = (layer.activity(),) if activity else ()
        return first, *(maps[pair] for pair in more), *last

    arenas = [Arena() for _ in range(threads)]
    for (names, _), whole in zip(parts, shared_out(arenas, made, parts), strict=True):
        each = zip(*(one.chunk(len(names)) for one in whole), strict=True)
        for name, one in zip(names, each, strict=True):
            found[name].append(one)
    return {
        name: tuple(torch.cat(same) for same in zip(*of, strict=True)) for name, of in found.items()
    }


def _parts(layers: Mapping[str, Layer]) -> Iterator[_Part]:
    """Layers with their names, small ones of one shape together; few ones in a part a thread."""
    alike: dict[object, list[str]] = {}
    for name, layer in layers.items():
        small = layer.activation.numel() < _SMALL
        alike.setdefault(layer.kind() if small else name, []).append(name)
    threads = torch.get_num_threads()
    for names in alike.values():
        first = layers[names[0]]
        most = max(1, _TOGETHER // first.activation.numel())
        if len(names) == 1 and len(layers) < 2 * threads:
            images = len(first.activation)
            count = min(images, threads)
            for k in range(count):
                yield names, [first.images(slice(k * images // count, (k + 1) * images // count))]
            continue
        for k in range(0, len(names), most):
            some = names[k : k + most]
            yield some, [layers[name] for name in some]
