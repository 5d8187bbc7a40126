"""From images and classes to combined maps, as the settings of a run ask for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from lla.analyses.saliency.combine import combined, weights_of
from lla.analyses.saliency.maps import Maps, Network, ScoreFunction, Wanted, layer_maps
from lla.analyses.saliency.names import METHODS, Method, Pair, all_pairs, parse_pair
from lla.analyses.saliency.targets import Score
from lla.errors import ConfigurationError
from lla.problem import Problem
from lla.team import ALONE, Team

if TYPE_CHECKING:
    from lla.analyses.saliency import SaliencyConfig

__all__ = ["Explainer", "explainer_of", "method_of"]


@dataclass(frozen=True)
class Explainer:
    """How a map is made.

    Attributes:
        score: The number that it explains.
        wanted: Layers, method, further pairs.
        combine: How layers are combined.
        layer_weights: With which weights.
        count: Told the number of images of each pass.
        team: Ranks that share out the images.
    """

    score: ScoreFunction
    wanted: Wanted
    combine: str = "geometric"
    layer_weights: str = "uniform"
    count: Callable[[int], None] = lambda images: None
    team: Team = ALONE

    def maps(self, network: Network, images: torch.Tensor, classes: torch.Tensor) -> Maps:
        """Raw maps by layer."""
        found = layer_maps(network, images, classes, self.score, self.wanted, self.team)
        self.count(len(images))
        return found

    def weights(self, maps: Maps) -> torch.Tensor:
        """The weight of each layer for each image, shape (n, layers)."""
        return weights_of(self.layer_weights, maps.raw, maps.activity)

    def combined(self, maps: Maps, size: torch.Size, pair: Pair | None = None) -> torch.Tensor:
        """The layers as one map of each image, shape (n, H, W); of a further pair if asked."""
        raw = maps.raw if pair is None else maps.more[pair]
        height, width = size[-2:]
        return combined(raw, (height, width), self.weights(maps), self.combine)

    def __call__(
        self, network: Network, images: torch.Tensor, classes: torch.Tensor
    ) -> torch.Tensor:
        """The combined maps of images, shape (n, H, W)."""
        return self.combined(self.maps(network, images, classes), images.shape)

    def at(self, layers: tuple[str, ...]) -> Explainer:
        """The same at these layers, and without further pairs."""
        return replace(self, wanted=replace(self.wanted, layers=layers, more=()))


def method_of(config: SaliencyConfig) -> Method:
    """The method that the settings name, with the phases that they put in its place.

    Raises:
        ConfigurationError: Phases are to be put into a method that is not made of a pair alone.
    """
    method = METHODS[config.map]
    if method.averaged and (config.virtual or config.aggregation):
        raise ConfigurationError(
            f"{config.map} averages the gradient over locations, which no pair of phases does",
            "leave --virtual and --aggregation out, or leave --map out",
        )
    virtual, aggregation = method.pair
    pair = Pair(config.virtual or virtual, config.aggregation or aggregation)
    return method._replace(pair=pair)


def explainer_of(
    problem: Problem, config: SaliencyConfig, count: Callable[[int], None]
) -> Explainer:
    """The explainer that the settings ask for."""
    method = method_of(config)
    real = method.pair.virtual == "real"
    more: tuple[Pair, ...] = ()
    for text in config.pairs:
        more += all_pairs(real=real) if text == "all" else (parse_pair(text),)
    # A chunk of an evaluation fits the memory, with its gradient.
    at_once = min(config.at_once, problem.data.chunk)
    by_activity = config.layer_weights == "activation"
    wanted = Wanted(method, config.layers, tuple(dict.fromkeys(more)), at_once, by_activity)
    score = Score(config.score, problem.objective.loss)
    return Explainer(score, wanted, config.combine, config.layer_weights, count, problem.team)
