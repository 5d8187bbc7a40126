"""What the maps of some images are worth: each check by itself, as estimates over the images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from lla.analyses.saliency import Deletion, Randomization, SaliencyConfig, Sheet
from lla.analyses.saliency.curves import area, baseline_of, curves, ink_of
from lla.analyses.saliency.explaining import Explainer
from lla.analyses.saliency.maps import Network
from lla.analyses.saliency.meta import beside, meta_maps
from lla.analyses.saliency.randomization import OTHERS, cascade
from lla.analyses.saliency.ranks import averaged, rank_correlations
from lla.analyses.workspace import Workspace
from lla.estimate import Estimate
from lla.problem import Problem

__all__ = ["Shown", "blurred", "deletion", "ink", "meta", "noise", "randomization", "sheet"]

_SHEET_IMAGES, _SHEET_SIDE = 10, 64
_NO_DRAWINGS = "fewer than two images are drawings on a plain background with a map"


@dataclass(frozen=True)
class Shown:
    """The images, what is explained of them, and their maps.

    Attributes:
        problem: Network and data.
        config: The settings.
        workspace: Seed, confidence.
        explainer: How maps are made, at named layers.
        images: Shape (n, C, H, W).
        classes: The explained class, shape (n,).
        logits: Shape (n, K).
        plain: The combined maps, shape (n, H, W).
    """

    problem: Problem
    config: SaliencyConfig
    workspace: Workspace
    explainer: Explainer
    images: torch.Tensor
    classes: torch.Tensor
    logits: torch.Tensor
    plain: torch.Tensor

    def averaged(self, values: np.ndarray, what: str = "") -> Estimate:
        """The mean over images."""
        return averaged(values, self.workspace.confidence, what)


def meta(shown: Shown) -> tuple[torch.Tensor | None, Estimate, Estimate]:
    """Maps after a step on each image, their class sensitivity, and how they agree."""
    if not shown.config.meta:
        off = Estimate.missing("it was not asked for: --meta")
        return None, off, off
    lr = shown.config.meta_lr

    def maps(classes: torch.Tensor) -> torch.Tensor:
        return meta_maps(shown.problem, shown.explainer, shown.images, classes, lr)

    found = maps(shown.classes)
    step = f"a step of learning rate {lr:g} on each"
    # As without a step: for the most and the least likely class.
    most, least = shown.logits.argmax(1), shown.logits.argmin(1)
    likely = found if torch.equal(most, shown.classes) else maps(most)
    sensitivity = shown.averaged(rank_correlations(likely, maps(least)), step)
    return found, sensitivity, shown.averaged(rank_correlations(shown.plain, found), step)


def noise(shown: Shown) -> Estimate:
    """How maps agree with those at parameters beside the checkpoint."""
    config = shown.config
    if not config.noise:
        return Estimate.missing("it was not asked for: --noise 0.01")
    found = []
    for index in range(config.noise_draws):
        network = beside(shown.problem, config.noise, shown.workspace.seed, index)
        maps = shown.explainer(network, shown.images, shown.classes)
        found.append(rank_correlations(shown.plain, maps))
    how = f"{config.noise_draws} draws of {100 * config.noise:g} % noise on each tensor"
    return shown.averaged(np.mean(found, axis=0), how)


def randomization(shown: Shown) -> tuple[Randomization | None, dict[str, Estimate]]:
    """Maps as weights are drawn anew; correlations where all are, by the result's fields."""
    draws = shown.config.randomize
    names = ("randomized", "randomized_beyond", "randomized_on_ink", "untrained_agreement")
    if not draws:
        return None, dict.fromkeys(names, Estimate.missing("it was not asked for: --randomize 3"))
    drawn = ink_of(shown.images)
    found = cascade(
        shown.problem.module,
        shown.explainer,
        shown.images,
        shown.classes,
        shown.plain,
        drawn,
        seed=shown.workspace.seed,
        draws=draws,
    )
    how = f"all weights drawn anew {draws} times"
    straight = [shown.averaged(values, how) for values in found.correlation]
    given = f"{how}, given the mean map of {OTHERS} other untrained networks"
    beyond = [shown.averaged(values, given) for values in found.beyond]
    group = Randomization(found.names, *_columns(straight), *_columns(beyond))
    on_ink = (
        shown.averaged(found.within, f"{how}, ranks among the pixels of ink")
        if int(drawn.flatten(1).any(1).sum()) > 1
        else Estimate.missing(_NO_DRAWINGS)
    )
    alike = shown.averaged(found.untrained, f"{how}, with {OTHERS} other untrained networks")
    return group, dict(zip(names, (straight[-1], beyond[-1], on_ink, alike), strict=True))


def blurred(shown: Shown) -> Estimate:
    """How the maps agree with a blur of the image, which no network has made."""
    flat = shown.images.flatten(2)
    away = (flat - flat.median(2, keepdim=True).values).abs().sum(1)
    outline = F.avg_pool2d(away.view(len(away), 1, *shown.images.shape[2:]), 3, 1, 1)[:, 0]
    what = "distance from the image's median, averaged over 3 × 3 pixels"
    return shown.averaged(rank_correlations(shown.plain, outline), what)


def _columns(values: list[Estimate]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    columns = ([getattr(one, name) for one in values] for name in ("value", "low", "high"))
    first, second, third = (np.array(column) for column in columns)
    return first, second, third


def deletion(shown: Shown) -> tuple[Deletion | None, Estimate, Estimate]:
    """Both curves, and how far each beats a random order."""
    config = shown.config
    if not config.curve_steps:
        off = Estimate.missing("it was not asked for: --curve-steps 16")
        return None, off, off
    found = curves(
        shown.problem,
        shown.images,
        shown.classes,
        shown.plain,
        steps=config.curve_steps,
        baseline=baseline_of(shown.problem, shown.images, config.baseline),
        seed=shown.workspace.seed,
    )
    shown.workspace.tally("images")(4 * len(found.share) * len(shown.images))
    # A constant map has no order.
    varied = np.isfinite(rank_correlations(shown.plain, shown.plain))
    what = f"area between the curves, pixels replaced by {_BASELINES[config.baseline]}"
    lower = np.where(varied, area(found.random_deletion) - area(found.deletion), math.nan)
    higher = np.where(varied, area(found.insertion) - area(found.random_insertion), math.nan)
    both = (found.deletion, found.insertion)
    first, second = (_columns([shown.averaged(values) for values in curve]) for curve in both)
    group = Deletion(
        found.share,
        *first,
        *second,
        random_deletion=found.random_deletion.mean(axis=1),
        random_insertion=found.random_insertion.mean(axis=1),
    )
    return group, shown.averaged(lower, what), shown.averaged(higher, what)


_BASELINES = {"mean": "the data's mean", "zero": "zero", "blur": "a blur of the image"}


def ink(shown: Shown) -> tuple[Estimate, Estimate]:
    """The share of the maps' mass on the ink of drawings, and that of a uniform map."""
    drawn = ink_of(shown.images)
    count = drawn.flatten(1).double().mean(1)
    mass = shown.plain.double()
    whole = mass.flatten(1).sum(1)
    known = (count > 0) & (whole > 0)
    if int(known.sum()) < 2:
        return Estimate.missing(_NO_DRAWINGS), Estimate.missing(_NO_DRAWINGS)
    share = (mass * drawn).flatten(1).sum(1) / torch.where(known, whole, 1.0)
    nan = torch.full_like(share, math.nan)
    what = "ink: farther from the background than half the image's range"
    both = (torch.where(known, values, nan).cpu().numpy() for values in (share, count))
    first, second = (shown.averaged(values, what) for values in both)
    return first, second


def sheet(shown: Shown) -> Sheet | None:
    """Maps of some images for each of the likeliest classes."""
    count = min(shown.config.sheet, shown.logits.shape[1])
    if not count:
        return None
    place = _spaced(len(shown.images), _SHEET_IMAGES).to(shown.images.device)
    images = shown.images[place]
    score = shown.logits.softmax(1).mean(0)
    # Those that are explained first: they are on the sheet whatever the others are.
    score = score + torch.bincount(shown.classes[place], minlength=len(score))
    classes = score.argsort(descending=True, stable=True)[:count].sort().values
    size = (min(images.shape[-2], _SHEET_SIDE), min(images.shape[-1], _SHEET_SIDE))
    network, found = Network(shown.problem.module), []
    for label in classes:
        maps = shown.explainer.maps(network, images, label.expand(len(images)))
        found.append(shown.explainer.combined(maps, torch.Size(size)))
    stacked = torch.stack(found, dim=1)
    return Sheet(*(part.cpu().numpy() for part in (place, classes, stacked)))


def _spaced(count: int, most: int) -> torch.Tensor:
    """At most so many places, evenly over all."""
    return torch.linspace(0, count - 1, min(count, most)).round().long()
