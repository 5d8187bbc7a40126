"""Saliency maps of images: all layers and all pairs from one forward and one backward pass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from lla.analyses.saliency.capture import Call, Captured, captured
from lla.analyses.saliency.geometry import geometry_of
from lla.analyses.saliency.layers import (
    grids_of,
    last_of_each_resolution,
    module_names,
    refuse_unknown,
)
from lla.analyses.saliency.names import INPUT, METHODS, Method, Pair
from lla.analyses.saliency.phases import Layer
from lla.analyses.saliency.sharing import made_of
from lla.analyses.saliency.tokens import Grid, spatial
from lla.errors import ConfigurationError
from lla.problem import Batch
from lla.team import ALONE, Team

__all__ = ["Maps", "Network", "Wanted", "as_numpy", "layer_maps"]

_DECIDING = 4

# Modules by network whose outputs or inputs in-place operations change.
_IN_PLACE: WeakKeyDictionary[nn.Module, frozenset[str]] = WeakKeyDictionary()

ScoreFunction = Callable[[nn.Module, Batch], torch.Tensor]


@dataclass(frozen=True)
class Network:
    """A network, perhaps with other parameters in place of its own.

    Attributes:
        module: The network.
        parameters: Parameters by name, or None for its own.
    """

    module: nn.Module
    parameters: Mapping[str, torch.Tensor] | None = None

    def score(self, function: ScoreFunction, batch: Batch) -> torch.Tensor:
        """``function(module, batch)`` with these parameters."""
        if self.parameters is None:
            return function(self.module, batch)
        named = {f"module.{name}": value for name, value in self.parameters.items()}
        found: torch.Tensor = functional_call(_Scored(self.module, function), named, (batch,))
        return found


class _Scored(nn.Module):
    """A function of a module and a batch as a module, so that parameters can be replaced."""

    def __init__(self, module: nn.Module, function: ScoreFunction) -> None:
        super().__init__()
        self.module, self.function = module, function

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.function(self.module, batch)


@dataclass(frozen=True)
class Wanted:
    """Which maps.

    Attributes:
        method: The method: its pair, its place, whether gradients are averaged.
        layers: Layers by name; if empty, the method's place.
        more: Further pairs, from the same passes.
        at_once: Images in one pass.
        activity: Whether layers' activity is asked for as well.
    """

    method: Method = METHODS["normgrad"]
    layers: tuple[str, ...] = ()
    more: tuple[Pair, ...] = ()
    at_once: int = 32
    activity: bool = False

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """All pairs, the method's own first."""
        return tuple(dict.fromkeys((self.method.pair, *self.more)))

    @property
    def names(self) -> tuple[str, ...]:
        """The layers that are named, or the input where the method is meant for it."""
        return self.layers or ((INPUT,) if self.method.at == INPUT else ())

    @property
    def real(self) -> bool:
        """Whether a pair needs layers' own inputs."""
        return any(pair.virtual == "real" for pair in self.pairs)


@dataclass(frozen=True)
class Maps:
    """Raw maps of some images.

    Attributes:
        raw: Of the method, by layer in the order of the forward pass: (n, rows, columns).
        more: Of each further pair, by layer.
        activity: Mean absolute activation of each image by layer, shape (n,), if asked for.
    """

    raw: dict[str, torch.Tensor] = field(default_factory=dict)
    more: dict[Pair, dict[str, torch.Tensor]] = field(default_factory=dict)
    activity: dict[str, torch.Tensor] = field(default_factory=dict)

    def each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Maps:
        """The same with each tensor changed."""

        def changed(parts: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {name: change(part) for name, part in parts.items()}

        more = {pair: changed(parts) for pair, parts in self.more.items()}
        return Maps(changed(self.raw), more, changed(self.activity))


def layer_maps(
    network: Network,
    images: torch.Tensor,
    classes: torch.Tensor,
    score: ScoreFunction,
    wanted: Wanted,
    team: Team = ALONE,
) -> Maps:
    """Raw maps of the score of one class per image.

    Args:
        network: The network.
        images: Shape (n, C, H, W).
        classes: The class whose score is explained, shape (n,).
        score: Sum of the scores over a batch whose targets are these classes.
        wanted: Layers and pairs.
        team: Ranks that share out the images.

    Returns:
        The maps; none where no layer lies over the images and the score depends on it.

    Raises:
        ConfigurationError: A named layer cannot have a map.
    """
    count = len(images)
    shared = 1 < team.size <= count
    if not wanted.names and (shared or count > _DECIDING):
        # Few images decide which layers: catching all outputs takes as much memory as the graph.
        few = slice(0, min(_DECIDING, wanted.at_once))
        first = _of_batch(network, images[few], classes[few], score, wanted)
        if not first.raw:
            return Maps()
        wanted = replace(wanted, layers=tuple(first.raw))
    if shared:
        mine = team.share(count)
        images, classes = images[mine], classes[mine]
    places = (slice(k, k + wanted.at_once) for k in range(0, len(images), wanted.at_once))
    with team.timed("images"):
        found = _joined(
            [_of_batch(network, images[place], classes[place], score, wanted) for place in places]
        )
    return found.each(lambda part: team.joined(part, count, 0)) if shared else found


def _of_batch(
    network: Network,
    images: torch.Tensor,
    classes: torch.Tensor,
    score: ScoreFunction,
    wanted: Wanted,
) -> Maps:
    inputs = images.detach().clone().requires_grad_(True)
    among = module_names(network.module, wanted.names) if wanted.names else None
    seen, total = _forward(network, inputs, classes, score, among, wanted)
    calls = seen.named()
    if INPUT not in calls:
        calls[INPUT] = Call(INPUT, network.module, inputs, None)
    grids = grids_of(calls, images.shape, seen.shapes)
    names = [_own_name(name, network.module, calls) for name in wanted.names]
    if names:
        refuse_unknown(names, calls, grids, real=wanted.real)
    else:
        names = [name for name in grids if name != INPUT and _fits(calls[name], wanted)]
    if not names or not total.requires_grad:
        return Maps()
    slopes = torch.autograd.grad(total, [calls[name].output for name in names], allow_unused=True)
    by_name = {name: slope for name, slope in zip(names, slopes, strict=True) if slope is not None}
    if wanted.names:
        _refuse_unused(names, by_name)
        chosen = tuple(names)
    else:
        depends = {name: _depends(slope, grids[name]) for name, slope in by_name.items()}
        chosen = last_of_each_resolution({name: grids[name] for name in names}, depends)
        chosen = chosen[-1:] if wanted.method.at == "last" else chosen
    return _maps_at({name: (calls[name], by_name[name], grids[name]) for name in chosen}, wanted)


def _forward(
    network: Network,
    inputs: torch.Tensor,
    classes: torch.Tensor,
    score: ScoreFunction,
    among: Collection[str] | None,
    wanted: Wanted,
) -> tuple[Captured, torch.Tensor]:
    """The calls of a forward pass, and the score.

    Copies of all outputs cost a tenth of the passes: only those are made that an in-place operation
    would have changed. Which these are, a network's first pass shows, and is done again.
    """
    copies = _IN_PLACE.get(network.module, frozenset())
    while True:
        with (
            captured(network.module, among, inputs=wanted.real, copies=copies) as seen,
            torch.enable_grad(),
        ):
            # What follows in place would change the images themselves.
            total = network.score(score, Batch(inputs.clone(), classes))
        changed = seen.changed()
        if not changed:
            return seen, total
        copies = _IN_PLACE[network.module] = copies | changed


def _own_name(name: str, module: nn.Module, calls: Mapping[str, Call]) -> str:
    """The name under which a call is known: a shared module's first."""
    if name in calls or name == INPUT:
        return name
    layer, at, number = name.partition("@")
    (first,) = module_names(module, [layer])
    found = f"{first}{at}{number}"
    return found if found in calls else layer + at + number if at else first


def _fits(call: Call, wanted: Wanted) -> bool:
    return not wanted.real or geometry_of(call.module) is not None


def _depends(slope: torch.Tensor, grid: Grid) -> bool:
    return bool(spatial(slope, grid).any())


def _refuse_unused(names: Sequence[str], slopes: Mapping[str, torch.Tensor]) -> None:
    unused = [name for name in names if name not in slopes]
    if unused:
        raise ConfigurationError(
            f"the score does not depend on the output of the layer '{unused[0]}'",
            "name another layer, or leave --layers out for the last of each resolution",
        )


def _maps_at(chosen: Mapping[str, tuple[Call, torch.Tensor, Grid]], wanted: Wanted) -> Maps:
    layers = {name: _layer(*seen, wanted) for name, seen in chosen.items()}
    made = made_of(layers, wanted.method, wanted.more, activity=wanted.activity)
    return Maps(
        {name: of[0] for name, of in made.items()},
        {
            pair: {name: of[1 + k] for name, of in made.items()}
            for k, pair in enumerate(wanted.more)
        },
        {name: of[-1] for name, of in made.items()} if wanted.activity else {},
    )


def _layer(call: Call, slope: torch.Tensor, grid: Grid, wanted: Wanted) -> Layer:
    activation, gradient = spatial(call.output.detach(), grid), spatial(slope, grid)
    if not wanted.real:
        return Layer(activation, gradient)
    geometry = geometry_of(call.module)
    given = None if call.input is None else call.input.detach()
    if given is not None and grid.tokens:
        given = spatial(given, grid)
    return Layer(activation, gradient, given, geometry)


def _joined(parts: Sequence[Maps]) -> Maps:
    if len(parts) == 1:
        return parts[0]

    def joined(get: Callable[[Maps], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        return {name: torch.cat([get(part)[name] for part in parts]) for name in get(parts[0])}

    more = {pair: joined(lambda part, at=pair: part.more[at]) for pair in parts[0].more}  # type: ignore[misc]
    return Maps(joined(lambda part: part.raw), more, joined(lambda part: part.activity))


def as_numpy(values: torch.Tensor) -> np.ndarray:
    """The values on the host, for a report."""
    array: np.ndarray = values.detach().cpu().numpy()
    return array
