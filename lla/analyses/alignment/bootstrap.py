"""How far the distances may be off because the domains are samples: a Poisson bootstrap.

A replicate counts each group of samples a Poisson number of times (Oza & Russell 2001 count each
sample so; a group of random samples has the same variance in the mean). Sums of groups make all
replicates: no further pass over the data, no sample kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from lla.analyses.alignment.closed import HeadSums, dense
from lla.analyses.alignment.distances import Difference, Measures, Moments, measures
from lla.seeding import generator

__all__ = [
    "Ends",
    "Replicate",
    "Spread",
    "counts_of",
    "exact_measures",
    "moments_of",
    "replicates",
    "spectral_norm_near",
    "spread_of",
]

_START = 4  # eigenvectors of each end that a replicate's search starts from
_LEAST_GROUPS = 8


@dataclass(frozen=True)
class Spread:
    """What replicates say of a value.

    Attributes:
        stderr: Standard error.
        low: Lower end of the basic bootstrap interval.
        high: Upper end.
    """

    stderr: np.ndarray
    low: np.ndarray
    high: np.ndarray


def counts_of(groups: int, replicate: int, seed: int, domain: str) -> torch.Tensor:
    """How often each group counts in a replicate: Poisson with mean 1, not all zero; (groups,)."""
    source = generator(seed, f"bootstrap of {domain}", replicate)
    while True:
        found = torch.poisson(torch.ones(groups, dtype=torch.float64), generator=source)
        if found.any():
            return found


def moments_of(sums: Sequence[HeadSums]) -> tuple[Moments, torch.Tensor]:
    """Moments and Hessians (E, P, P) of domains' sums, over all of their groups."""
    whole = [HeadSums(*(part.sum(dim=0) for part in vars(one).values())) for one in sums]
    outputs = whole[0].gradient.shape[0]
    matrices = torch.stack([dense(one.blocks, outputs) / one.weight for one in whole])
    gradient = torch.stack([one.gradient.reshape(-1) / one.weight for one in whole])
    loss = torch.stack([one.loss / one.weight for one in whole])
    accuracy = torch.stack([one.correct[0] / one.correct[1] for one in whole])
    return Moments.of_matrices(loss, accuracy, gradient, matrices), matrices


@dataclass(frozen=True)
class Ends:
    """Eigenpairs of the difference of two domains' Hessians.

    Attributes:
        values: All eigenvalues, ascending, shape (P,).
        vectors: Those of both ends in columns, shape (P, 2 · _START) or fewer.
    """

    values: torch.Tensor
    vectors: torch.Tensor


def exact_measures(
    moments: Moments, matrices: torch.Tensor, hgp: Sequence[float], hutchinson: Sequence[float]
) -> tuple[Measures, dict[tuple[int, int], Ends]]:
    """The distances with spectral norms from all eigenvalues of H_a − H_b."""
    ends: dict[tuple[int, int], Ends] = {}

    def difference(one: int, other: int) -> tuple[float, float]:
        matrix = matrices[one] - matrices[other]
        values, vectors = torch.linalg.eigh(matrix)
        kept = min(_START, len(values) // 2)
        places = [*range(kept), *range(len(values) - kept, len(values))] or [0]
        ends[one, other] = Ends(values, vectors[:, places])
        return float(values.abs().max()), float(torch.linalg.matrix_norm(matrix))

    return measures(moments, difference, hgp=hgp, hutchinson=hutchinson), ends


def spectral_norm_near(matrix: torch.Tensor, start: torch.Tensor) -> float:
    """‖A‖₂ from below, by Rayleigh–Ritz on two block Krylov steps from nearby eigenvectors."""
    once = matrix @ start
    space = torch.cat([start, once, matrix @ once], dim=1)
    space = space / torch.linalg.vector_norm(space, dim=0).clamp_min(1e-300)
    basis, _ = torch.linalg.qr(space)
    inner = basis.T @ matrix @ basis
    return float(torch.linalg.eigvalsh((inner + inner.T) / 2).abs().max())


@dataclass(frozen=True)
class Replicate:
    """The domains drawn anew.

    Attributes:
        moments: Of the drawn domains.
        measures: Between them.
        noise: The distances that are left where each domain's own value is taken out, (E, E): what
            two samples of a domain would show.
        sums: Of the drawn domains, one group each.
    """

    moments: Moments
    measures: Measures
    noise: dict[str, torch.Tensor]
    sums: Sequence[HeadSums]


def replicates(
    sums: Sequence[HeadSums],
    names: Sequence[str],
    known: tuple[Moments, torch.Tensor],
    ends: Mapping[tuple[int, int], Ends],
    count: int,
    seed: int,
    weights: tuple[Sequence[float], Sequence[float]],
) -> Iterator[Replicate]:
    """Replicates of all quantities; domains are drawn independently of each other.

    Args:
        sums: Of the domains; none comes where one has too few groups.
        names: Of the domains: they seed the draws.
        known: Moments and Hessians of the data as it is.
        ends: Eigenvectors that the search for spectral norms starts from.
        count: How many replicates.
        seed: Of the draws.
        weights: α and β of the two penalties.
    """
    if min(len(one.loss) for one in sums) < _LEAST_GROUPS:
        return
    for index in range(count):
        drawn = [
            one.weighted(counts_of(len(one.loss), index, seed, name).to(one.loss.device))
            for one, name in zip(sums, names, strict=True)
        ]
        moments, matrices = moments_of(drawn)
        near = {pair: found.vectors for pair, found in ends.items()}
        hgp, hutchinson = weights
        found = measures(moments, _ritz(matrices, near), hgp=hgp, hutchinson=hutchinson)
        yield Replicate(moments, found, _noise(moments, matrices, known, near), drawn)


def _ritz(matrices: torch.Tensor, near: Mapping[tuple[int, int], torch.Tensor]) -> Difference:
    def difference(one: int, other: int) -> tuple[float, float]:
        matrix = matrices[one] - matrices[other]
        return (
            spectral_norm_near(matrix, near[one, other]),
            float(torch.linalg.matrix_norm(matrix)),
        )

    return difference


def _noise(
    moments: Moments,
    matrices: torch.Tensor,
    known: tuple[Moments, torch.Tensor],
    near: Mapping[tuple[int, int], torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Distances between the domains' deviations from what they are."""
    own, whole = known
    moved = replace(
        moments,
        gradient=moments.gradient - own.gradient,
        hgp=moments.hgp - own.hgp,
        diagonal=moments.diagonal - own.diagonal,
    )
    found = measures(moved, _ritz(matrices - whole, near))
    names = ("spectral", "frobenius", "gradient", "hgp", "diagonal")
    return {name: getattr(found, name) for name in names}


def spread_of(
    value: np.ndarray, found: np.ndarray, groups: int, confidence: float, least: float = -math.inf
) -> Spread:
    """The spread of replicates around a value, as standard error and basic bootstrap interval.

    The basic interval reflects the replicates at the value (Davison & Hinkley 1997, section 5.2):
    a norm's replicates lie above it, because they carry the sampling noise twice, and their own
    quantiles would leave the value out.

    Args:
        value: Shape (…).
        found: Replicates, shape (count, …).
        groups: How many groups there are: their spread is smaller by (G − 1)/G in the mean.
        confidence: Of the interval.
        least: Smallest possible value.
    """
    if not len(found):
        missing = np.full(np.shape(value), math.nan)
        return Spread(missing, missing, missing)
    scale = math.sqrt(groups / (groups - 1))
    tail = (1 - confidence) / 2
    deviations = (found - value) * scale
    low, high = np.quantile(deviations, [tail, 1 - tail], axis=0)
    return Spread(
        np.sqrt(np.square(deviations - deviations.mean(axis=0)).mean(axis=0)),
        np.maximum(value - high, least),
        np.maximum(value - low, least),
    )
