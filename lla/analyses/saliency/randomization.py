"""Cascading randomization: a map that does not change with the weights does not explain them.

Weights are drawn anew from the output down to the input, layer after layer (Adebayo et al. 2018,
"Sanity Checks for Saliency Maps", section 3.1), and each map is compared with the checkpoint's.
What maps of untrained networks have in common (the outlines of what is in the image: an
activation's norm is large where there is something to see, whatever the weights) makes magnitudes
correlate although the weights are gone. The partial correlation takes that away: it is given the
mean map of other untrained networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from lla.analyses.saliency.capture import captured
from lla.analyses.saliency.explaining import Explainer
from lla.analyses.saliency.maps import Network
from lla.analyses.saliency.ranks import partial_correlations, rank_correlations
from lla.problem import Batch
from lla.problem.forward import outputs_of
from lla.problem.objective import copied
from lla.seeding import generator, permutation

__all__ = ["Cascade", "cascade", "depths_of", "draw_anew"]

MOST_DEPTHS = 5
OTHERS = 8


@dataclass(frozen=True)
class Cascade:
    """How far maps are from the checkpoint's as weights are drawn anew.

    Attributes:
        names: The last module drawn anew at each depth; "" before the first.
        correlation: Rank correlation with the checkpoint's map, shape (depths, n).
        beyond: The same given the mean map of other untrained networks, shape (depths, n).
        within: The correlation among some pixels, with all weights drawn anew, shape (n,).
        untrained: That of such maps with the other untrained networks' maps, shape (n,).
    """

    names: tuple[str, ...]
    correlation: np.ndarray
    beyond: np.ndarray
    within: np.ndarray
    untrained: np.ndarray


def depths_of(
    module: nn.Module, image: torch.Tensor, most: int = MOST_DEPTHS
) -> list[tuple[str, ...]]:
    """The modules with parameters of their own, from the output down, in at most so many groups.

    Args:
        module: The network.
        image: One image, shape (1, C, H, W), to see in which order modules are called.
        most: Groups.
    """
    owners = [name for name, part in module.named_modules() if list(part.parameters(recurse=False))]
    with captured(module, owners) as seen:
        outputs_of(module, Batch(image, torch.zeros(1)))
    called = list(dict.fromkeys(call.name for call in reversed(seen.calls)))
    order = [*called, *(name for name in owners if name not in called)]
    parts = np.array_split(np.array(order, dtype=object), min(most, len(order)))
    return [tuple(part.tolist()) for part in parts if len(part)]


def draw_anew(module: nn.Module, names: Sequence[str], seed: int, draw: int) -> None:
    """Draw the own parameters of some modules anew, on the CPU: by their own initialization.

    Modules that have none get their parameters' values in a random order.
    """
    for name in names:
        part = module.get_submodule(name)
        if not _initialized(part, name, seed, draw):
            for own, parameter in part.named_parameters(recurse=False):
                flat = parameter.detach().reshape(-1)
                order = permutation(len(flat), seed, f"randomization {name}.{own}", draw)
                with torch.no_grad():
                    parameter.copy_(flat[order.to(flat.device)].view_as(parameter))


def _initialized(part: nn.Module, name: str, seed: int, draw: int) -> bool:
    """Whether a module has been initialized as its class does it."""
    anew: Any = copied(part).cpu()
    if not callable(getattr(anew, "reset_parameters", None)):
        return False
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(seed, f"randomization {name}", draw).initial_seed())
        try:
            anew.reset_parameters()
        except TypeError:  # it wants arguments that nobody knows
            return False
    part.load_state_dict(anew.state_dict())
    return True


def cascade(
    module: nn.Module,
    explainer: Explainer,
    images: torch.Tensor,
    classes: torch.Tensor,
    plain: torch.Tensor,
    among: torch.Tensor,
    *,
    seed: int,
    draws: int,
) -> Cascade:
    """Compare maps with the checkpoint's at each depth, over several draws.

    Args:
        module: The network; copies are drawn anew.
        explainer: How maps are made; its layers have to be named.
        images: Shape (n, C, H, W).
        classes: Shape (n,).
        plain: The checkpoint's maps, shape (n, H, W).
        among: Some pixels of each, of the same shape.
        seed: Of the run.
        draws: Networks.
    """
    groups = depths_of(module, images[:1].clone().requires_grad_(True))
    every = [name for group in groups for name in group]

    def untrained(draw: int) -> torch.Tensor:
        network = copied(module)
        draw_anew(network, every, seed, draw)
        return explainer(Network(network), images, classes)

    each = torch.stack([untrained(draws + index) for index in range(OTHERS)])
    others = each.mean(0)
    maps = []
    for draw in range(draws):
        network = copied(module)
        for group in groups:
            draw_anew(network, group, seed, draw)
            maps.append(explainer(Network(network), images, classes))
    all_maps = torch.stack(maps).view(draws, len(groups), *plain.shape)
    straight = np.ones((draws, len(groups) + 1, len(images)))
    beyond = np.ones_like(straight)
    same = rank_correlations(plain, plain)  # NaN where a map is constant
    straight[:, 0], beyond[:, 0] = same, same
    for draw in range(draws):
        for depth in range(len(groups)):
            found = all_maps[draw, depth]
            straight[draw, depth + 1] = rank_correlations(plain, found)
            beyond[draw, depth + 1] = partial_correlations(plain, found, others)
    names = ("", *(group[-1] or "the network's own" for group in groups))
    ends = all_maps[:, -1]
    within = np.stack([rank_correlations(plain, found, among) for found in ends])
    alike = np.stack([rank_correlations(found, other) for found in ends for other in each])
    return Cascade(names, *(_over_draws(of) for of in (straight, beyond, within, alike)))


def _over_draws(values: np.ndarray) -> np.ndarray:
    """The mean over those draws that have a value; NaN where none has."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    found: np.ndarray = np.where(
        count > 0, np.where(known, values, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan
    )
    return found
