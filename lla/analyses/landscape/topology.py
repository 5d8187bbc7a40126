"""Minima and saddles of a surface, and how long each minimum lives as the level rises.

The grid's values are taken as they are: no noise is added and nothing is smoothed. A grid point's
neighbours are the eight around it.
"""

from __future__ import annotations

import numpy as np

from lla.analyses.landscape import Topology

__all__ = ["topology_of"]

_AROUND = tuple((i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j)
_TRUSTED = 2.0  # errors that a persistence has to exceed where points were filled in


def topology_of(
    alpha: np.ndarray, beta: np.ndarray, loss: np.ndarray, error: np.ndarray
) -> Topology:
    """The merge tree of the sublevel sets {L ≤ level}, by its branches.

    Points enter in the order of their loss. One without lower neighbours begins a component; one
    that joins two ends the younger (the elder rule), at the saddle that it is: the branch's
    persistence is the saddle's loss less the minimum's (Edelsbrunner & Harer 2010, "Computational
    Topology", chapter VII).

    Args:
        alpha: Shape (n,).
        beta: Shape (m,).
        loss: Shape (n, m); points that are not finite belong to no sublevel set.
        error: Estimated error of each loss, shape (n, m).

    Returns:
        The branches, the most persistent first; the lowest minimum of a connected region never
        ends. Branches no longer than twice the error at either end are left out.
    """
    branches = [branch for branch in _branches(loss) if _trusted(branch, loss, error)]
    lives = [
        np.inf if saddle < 0 else loss.flat[saddle] - loss.flat[low] for low, saddle, _ in branches
    ]
    order = sorted(range(len(branches)), key=lambda index: (-lives[index], branches[index][0]))
    kept = [branches[index] for index in order]
    place = {low: index for index, (low, _, _) in enumerate(kept)}
    minima = np.array([low for low, _, _ in kept], dtype=np.int64)
    saddles = np.array([saddle for _, saddle, _ in kept], dtype=np.int64)
    ended = saddles >= 0
    rows, columns = np.unravel_index(minima, loss.shape)
    over, across = np.unravel_index(np.where(ended, saddles, 0), loss.shape)

    def where_ended(values: np.ndarray) -> np.ndarray:
        return np.where(ended, values, np.nan)

    height = where_ended(loss[over, across])
    return Topology(
        alpha=alpha[rows],
        beta=beta[columns],
        loss=loss[rows, columns],
        saddle_alpha=where_ended(alpha[over]),
        saddle_beta=where_ended(beta[across]),
        saddle_loss=height,
        persistence=height - loss[rows, columns],
        parent=np.array([_kept_parent(parent, place, branches) for _, _, parent in kept]),
    )


def _trusted(branch: tuple[int, int, int], loss: np.ndarray, error: np.ndarray) -> bool:
    low, saddle, _ = branch
    if saddle < 0:
        return True
    unsure = float(np.nan_to_num(error.flat[low]) + np.nan_to_num(error.flat[saddle]))
    return bool(loss.flat[saddle] - loss.flat[low] > _TRUSTED * unsure)


def _kept_parent(parent: int, place: dict[int, int], branches: list[tuple[int, int, int]]) -> int:
    """The nearest branch above that is listed, or −1."""
    above = {low: elder for low, _, elder in branches}
    while parent >= 0 and parent not in place:
        parent = above.get(parent, -1)
    return place.get(parent, -1)


def _branches(loss: np.ndarray) -> list[tuple[int, int, int]]:
    """(minimum, saddle or −1, the elder minimum or −1), as flat indices; none of no length."""
    rows, columns = loss.shape
    flat = loss.ravel()
    root = np.full(flat.size, -1, dtype=np.int64)
    found: list[tuple[int, int, int]] = []

    def top(point: int) -> int:
        while root[point] != point:
            root[point] = root[root[point]]
            point = int(root[point])
        return point

    # A component's root is its oldest point, its minimum; ties are older at the lower index.
    age = np.empty(flat.size, dtype=np.int64)
    order = [int(point) for point in np.argsort(flat, kind="stable") if np.isfinite(flat[point])]
    age[order] = np.arange(len(order))
    for point in order:
        root[point] = point
        row, column = divmod(point, columns)
        for i, j in _AROUND:
            if not (0 <= row + i < rows and 0 <= column + j < columns):
                continue
            other = (row + i) * columns + column + j
            if root[other] < 0:
                continue
            elder, younger = sorted((top(point), top(other)), key=lambda one: age[one])
            if elder != younger:
                root[younger] = elder
                if flat[point] > flat[younger]:
                    found.append((younger, point, elder))
    found += [(point, -1, -1) for point in order if root[point] == point]
    return found
