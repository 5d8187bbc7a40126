"""Where the domains differ: classes, features, attributes, boundaries, confidences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lla.analyses.alignment import Attributes, Calibration, Pair, Ranks, Tilting
from lla.analyses.alignment.attributes import ATTRIBUTES, attribute_distances, attributes_of
from lla.analyses.alignment.bootstrap import Ends
from lla.analyses.alignment.calibration import BINS, Tally
from lla.analyses.alignment.closed import HeadSums, Predictions
from lla.analyses.alignment.distances import pairs_of
from lla.analyses.alignment.head import Head
from lla.analyses.alignment.tilting import Centroids, tilted
from lla.problem import Problem

__all__ = [
    "Collected",
    "Compared",
    "Extras",
    "boundaries",
    "calibrated",
    "carriers",
    "weights_of",
]

_SCORES = ("nll", "brier", "ece", "aurc")


@dataclass(frozen=True)
class Extras:
    """What there is beside the distances."""

    pairs: Mapping[str, Pair]
    attributes: Attributes
    tilting: Tilting | None
    calibration: Calibration | None
    ranks: Ranks | None


class Collected:
    """Gathers labels' statistics of one domain while it is passed.

    Args:
        groups: How many groups of samples there are.
        augmented: Whether a 1 stands behind the features.
        likely: Whether the outputs' softmax is what the loss takes as probabilities.
    """

    def __init__(self, groups: int, *, augmented: bool, likely: bool) -> None:
        self.tally = Tally(groups)
        self.centroids: Centroids | None = None
        self._augmented, self._likely = augmented, likely

    def add(self, group: int, found: Predictions) -> None:
        """Add a chunk's predictions."""
        classes = found.outputs.shape[1]
        if classes < 2 or not bool((found.labels >= 0).any()):
            return
        plain = found.features[:, :-1] if self._augmented else found.features
        if self.centroids is None:
            self.centroids = Centroids.empty(classes, plain.shape[1], plain.device)
        self.centroids.add(plain, found.labels)
        if self._likely:
            self.tally.add(group, found.outputs, found.labels)


def weights_of(problem: Problem, head: Head) -> torch.Tensor:
    """Θ, the head's weights with the bias as last column, shape (K, D), float64."""
    own = dict(problem.module.named_parameters())
    weight = own[head.names[0]].detach().double()
    if not head.augmented:
        return weight
    return torch.cat([weight, own[head.names[1]].detach().double()[:, None]], dim=1)


def carriers(
    matrices: torch.Tensor, outputs: int, ends: Mapping[tuple[int, int], Ends], names: Sequence[str]
) -> dict[str, Pair]:
    """For each pair of domains, which classes and features carry the difference of the Hessians.

    Args:
        matrices: H_e, shape (E, KD, KD).
        outputs: K.
        ends: Eigenpairs of the differences.
        names: Of the domains.
    """
    found = {}
    for one, other in pairs_of(len(names)):
        change = matrices[one] - matrices[other]
        size = len(change) // outputs
        squares = change.reshape(outputs, size, outputs, size).square()
        pair = ends[one, other]
        vectors = pair.vectors.T.reshape(-1, outputs, size)
        values = torch.einsum("mi,ij,mj->m", vectors.flatten(1), change, vectors.flatten(1))
        order = torch.argsort(values.abs(), descending=True)
        vectors, values = vectors[order], values[order]
        total = squares.sum()
        found[f"{names[one]}, {names[other]}"] = Pair(
            classes=np.arange(outputs),
            features=np.arange(size),
            blocks=squares.sum(dim=(1, 3)).sqrt().cpu().numpy(),
            class_share=(squares.sum(dim=(1, 2, 3)) / total).cpu().numpy(),
            feature_share=(squares.sum(dim=(0, 2, 3)) / total).cpu().numpy(),
            eigenvalues=values.cpu().numpy(),
            eigenvector_classes=vectors.square().sum(dim=2).cpu().numpy(),
            eigenvector_features=vectors.square().sum(dim=1).cpu().numpy(),
        )
    return found


def summed(sums: HeadSums) -> HeadSums:
    """The sums over all groups."""
    return HeadSums(*(part.sum(dim=0) for part in vars(sums).values()))


class Compared:
    """The attributes' distances, and the noise that replicates show of them.

    Args:
        sums: Of the domains.
        theta: Θ.
        names: Of the domains.
    """

    def __init__(self, sums: Sequence[HeadSums], theta: torch.Tensor, names: Sequence[str]) -> None:
        self._theta, self._names = theta, names
        self._pairs = list(pairs_of(len(names)))
        self._own = [attributes_of(summed(one), theta) for one in sums]
        self._noise: list[torch.Tensor] = []

    def add(self, drawn: Sequence[HeadSums]) -> None:
        """Note how far a replicate's attributes are from the domains' own."""
        found = [attributes_of(summed(one), self._theta) for one in drawn]
        moved = [
            {name: value - own[name] for name, value in one.items()}
            for one, own in zip(found, self._own, strict=True)
        ]
        self._noise.append(attribute_distances(moved, self._pairs))

    def result(self, confidence: float) -> Attributes:
        """The attributes as they are reported."""
        distance = attribute_distances(self._own, self._pairs).cpu().numpy()
        lengths = [
            [float(torch.linalg.vector_norm(one[name])) for one in self._own] for name in ATTRIBUTES
        ]
        size = np.array([[(row[a] + row[b]) / 2 for a, b in self._pairs] for row in lengths])
        noise = np.full(distance.shape, np.nan)
        if self._noise:
            noise = np.quantile(torch.stack(self._noise).cpu().numpy(), confidence, axis=0)
        differs = np.where(np.isnan(noise) | np.isnan(distance), np.nan, distance > noise)
        return Attributes(
            methods=tuple(ATTRIBUTES),
            what=tuple(ATTRIBUTES.values()),
            pairs=tuple(f"{self._names[a]}, {self._names[b]}" for a, b in self._pairs),
            distance=distance,
            relative=distance / np.where(size > 0, size, np.nan),
            noise=noise,
            differs=differs,
        )


def boundaries(
    found: Sequence[Collected], theta: torch.Tensor, names: Sequence[str], *, augmented: bool
) -> Tilting | None:
    """Angle and strength of each domain's class pairs; None without classes."""
    if any(one.centroids is None for one in found):
        return None
    weight = theta[:, :-1] if augmented else theta
    bias = theta[:, -1] if augmented else torch.zeros_like(theta[:, 0])
    means = [one.centroids.means for one in found if one.centroids is not None]
    parts = [tilted(mean, weight, bias) for mean in means]
    counts = [one.centroids.counts.cpu().numpy() for one in found if one.centroids is not None]
    return Tilting(
        names=tuple(names),
        classes=np.arange(len(theta)),
        counts=np.stack(counts).astype(np.int64),
        angle=torch.stack([part[0] for part in parts]).cpu().numpy(),
        strength=torch.stack([part[1] for part in parts]).cpu().numpy(),
    )


def calibrated(
    found: Sequence[Collected], names: Sequence[str], seed: int, replicates: int, confidence: float
) -> Calibration | None:
    """Scores and reliability diagrams; None without classes."""
    if any(not one.tally.each for one in found):
        return None
    scores = [
        one.tally.scores(name, seed, replicates, confidence)
        for one, name in zip(found, names, strict=True)
    ]
    made: dict[str, np.ndarray] = {}
    for place, name in enumerate(_SCORES):
        made[name] = np.array([one.value[place] for one in scores])
        made[f"{name}_low"] = np.array([one.low[place] for one in scores])
        made[f"{name}_high"] = np.array([one.high[place] for one in scores])
    return Calibration(
        names=tuple(names),
        bin=(np.arange(BINS) + 0.5) / BINS,
        confidence=np.stack([one.confidence for one in scores]),
        accuracy=np.stack([one.accuracy for one in scores]),
        count=np.stack([one.count for one in scores]).astype(np.int64),
        **made,
    )
