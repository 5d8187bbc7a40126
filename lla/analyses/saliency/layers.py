"""Which layers get a map: those that are named, or the last one of each resolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from lla.analyses.saliency.capture import Call
from lla.analyses.saliency.geometry import geometry_of
from lla.analyses.saliency.names import INPUT
from lla.analyses.saliency.tokens import Grid, grid_of
from lla.errors import ConfigurationError, nearest, some

__all__ = ["grids_of", "last_of_each_resolution", "module_names", "refuse_unknown"]

_SHOWN = 24


def grids_of(
    calls: Mapping[str, Call], image: torch.Size, shapes: Sequence[tuple[int, int]]
) -> dict[str, Grid]:
    """The grids of those outputs that lie over the images.

    Args:
        calls: By name.
        image: Shape of the images, (n, C, H, W).
        shapes: Rows and columns of the pass' outputs with four axes: what tokens may come from.
    """
    maps = [
        shape
        for shape in dict.fromkeys(reversed(shapes))
        if grid_of(torch.empty(image[0], 1, *shape, device="meta"), image)
    ]
    grids = {name: grid_of(call.output, image, maps) for name, call in calls.items()}
    return {name: grid for name, grid in grids.items() if grid is not None}


def module_names(module: nn.Module, layers: Sequence[str]) -> set[str]:
    """The names of the modules that layers are calls of; shared modules by their first name.

    Raises:
        ConfigurationError: There is no such module.
    """
    first = {part: name for name, part in reversed(list(module.named_modules())) if name}
    every = dict(module.named_modules(remove_duplicate=False))
    found = set()
    for layer in layers:
        name = layer.partition("@")[0]
        if name in every and name:
            found.add(first[every[name]])
        elif name != INPUT:
            names = [name for name in first.values() if not any(every[name].children())]
            raise ConfigurationError(
                f"there is no layer '{name}'{nearest(name, names)}",
                f"choose among: {some([INPUT, *names], _SHOWN)}",
            )
    return found


def refuse_unknown(
    layers: Sequence[str], calls: Mapping[str, Call], grids: Mapping[str, Grid], *, real: bool
) -> None:
    """Refuse named layers that have no map.

    Raises:
        ConfigurationError: One is not reached in the forward pass, is called several times, has no
            output over the image, or is no convolution where its own is asked for.
    """
    usable = [
        name
        for name in grids
        if not real or (name != INPUT and geometry_of(calls[name].module) is not None)
    ]
    remedy = f"choose among: {some(usable, _SHOWN) or 'there is none'}"
    for layer in layers:
        if layer in usable:
            continue
        several = [name for name in calls if name.startswith(f"{layer}@")]
        if several:
            raise ConfigurationError(
                f"the layer '{layer}' is called {len(several)} times in a forward pass",
                f"say which call: {some(several, _SHOWN)}",
            )
        if layer not in calls:
            raise ConfigurationError(
                f"there is no output of the layer '{layer}' to look at: the forward pass does not "
                "reach it, or it gives no tensor of numbers",
                remedy,
            )
        if layer in grids:
            raise ConfigurationError(
                f"the layer '{layer}' has no weights of its own that see patches (virtual = real)",
                remedy,
            )
        shape = tuple(calls[layer].output.shape)
        raise ConfigurationError(
            f"there is no layer '{layer}' with a spatial output: its output has shape {shape}, "
            "without the image's two axes",
            remedy,
        )


def last_of_each_resolution(
    grids: Mapping[str, Grid], depends: Mapping[str, bool]
) -> tuple[str, ...]:
    """Of all layers, the last of each resolution that the score depends on, in order."""
    last: dict[tuple[int, int], str] = {}
    for name, grid in grids.items():
        if depends.get(name):
            last[grid.rows, grid.columns] = name
    chosen = set(last.values())
    return tuple(name for name in grids if name in chosen)
