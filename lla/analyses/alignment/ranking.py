"""Does the distance from the first domain rank the other domains as their loss of accuracy does?

Measured, not assumed: the bound of Hemati et al. is one-sided, and nothing makes it tight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import rankdata

from lla.analyses.alignment import Ranks
from lla.seeding import generator

__all__ = ["LEAST", "rank_correlation", "ranks_of"]

LEAST = 4
"""Domains beside the first: ranks of fewer say nothing."""
_MEASURES = ("spectral", "frobenius", "gradient", "hgp", "diagonal")


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's rank correlation of two vectors; NaN where one is constant."""
    first, second = rankdata(one), rankdata(other)
    if not np.ptp(first) or not np.ptp(second):
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def ranks_of(
    values: Mapping[str, np.ndarray],
    drawn: Mapping[str, Sequence[np.ndarray]],
    seed: int,
    confidence: float,
) -> Ranks | None:
    """Rank correlation of each distance from the first domain with the drop in accuracy.

    Args:
        values: Matrices by name, (E, E).
        drawn: Replicates of each.
        seed: Of the draws of domains.
        confidence: Of the intervals.

    Returns:
        None where there are fewer than four other domains, or no accuracy.
    """
    drop = -values["accuracy"][0, 1:]
    if len(drop) < LEAST or not np.isfinite(drop).all():
        return None
    drops = [-matrix[0, 1:] for matrix in drawn["accuracy"]]
    found = [rank_correlation(values[name][0, 1:], drop) for name in _MEASURES]
    ends = {name: _ends(name, drawn, drops, seed, confidence) for name in _MEASURES}
    low, high, wide_low, wide_high = (np.array(part) for part in zip(*ends.values(), strict=True))
    return Ranks(_MEASURES, np.array(found), low, high, wide_low, wide_high)


def _ends(
    name: str,
    drawn: Mapping[str, Sequence[np.ndarray]],
    drops: Sequence[np.ndarray],
    seed: int,
    confidence: float,
) -> tuple[float, float, float, float]:
    """Percentiles of the replicates: with the domains as they are, and with them drawn as well."""
    plain, wide = [], []
    for index, (matrix, drop) in enumerate(zip(drawn[name], drops, strict=True)):
        distance = matrix[0, 1:]
        plain.append(rank_correlation(distance, drop))
        kept = _chosen(len(drop), seed, index)
        wide.append(rank_correlation(distance[kept], drop[kept]))
    return (*_percentiles(plain, confidence), *_percentiles(wide, confidence))


def _chosen(count: int, seed: int, index: int) -> np.ndarray:
    """Domains drawn with replacement."""
    import torch

    source = generator(seed, "domains", index)
    return torch.randint(count, (count,), generator=source).numpy()


def _percentiles(found: Sequence[float], confidence: float) -> tuple[float, float]:
    known = [value for value in found if value == value]
    if not known:
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)
