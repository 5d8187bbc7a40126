"""A grid's values from fewer evaluations, with the error of each value that was filled in.

A coarse grid comes first. Two interpolants of different order then predict the rest; where they
disagree most, the next points are evaluated. Each evaluation shows what the prediction there was
off by, and so how far the disagreement can be trusted elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import LinearNDInterpolator, RBFInterpolator

__all__ = ["Filled", "refined"]

_COARSE = 8  # points per axis to begin with, about
_SHARE = 0.04  # of the grid, evaluated in one round
_WHOLE = 1200  # points up to which one spline goes through all of them
_NEIGHBOURS = 50  # of a point, beyond
_SAFETY = 1.5  # between the errors seen and those of the points that were not looked at


@dataclass(frozen=True)
class Filled:
    """Values over a grid.

    Attributes:
        values: One row per quantity, shape (q, n, m).
        evaluated: Where they were evaluated, shape (n, m).
        error: Estimated error of the first quantity, shape (n, m); 0 where it was evaluated.
        met: Whether the accuracy was reached before all points were evaluated.
    """

    values: np.ndarray
    evaluated: np.ndarray
    error: np.ndarray
    met: bool


def refined(
    evaluate: Callable[[np.ndarray], np.ndarray],
    shape: tuple[int, int],
    accuracy: float,
    *,
    most: int | None = None,
    ceiling: float = np.inf,
) -> Filled:
    """Evaluate a grid adaptively.

    Args:
        evaluate: Values at grid indices (k, 2), as rows of quantities (q, k); the first decides.
        shape: Points along both axes.
        accuracy: Error allowed, relative to the range of the first quantity.
        most: Points to evaluate at most; all if None.
        ceiling: Values above count as this in the range and in errors.

    Returns:
        All values. A feature narrower than the coarse grid's spacing can be missed: the estimate
        is of what the evaluations show.
    """
    survey = _Survey(evaluate, shape, ceiling)
    survey.look(_coarse(shape))
    limit = min(most or survey.total, survey.total)
    batch = max(8, int(_SHARE * survey.total))
    trust = np.inf
    while survey.count < limit:
        chosen = _largest(survey.spread, survey.evaluated, min(batch, limit - survey.count))
        predicted = survey.predicted[tuple(chosen.T)]
        spread = survey.spread[tuple(chosen.T)]
        survey.look(chosen)
        found = survey.first[tuple(chosen.T)]
        # What predictions were off by where they were least sure.
        missed = np.abs(found - predicted)
        trust = _ratio(missed, spread)
        if survey.worst(missed) <= accuracy and survey.worst(survey.error(trust)) <= accuracy:
            return survey.filled(trust, met=True)
    return survey.filled(trust, met=survey.count == survey.total)


class _Survey:
    """The evaluated points, and what they predict of the others."""

    def __init__(
        self,
        evaluate: Callable[[np.ndarray], np.ndarray],
        shape: tuple[int, int],
        ceiling: float,
    ) -> None:
        self.evaluate = evaluate
        self.shape = shape
        self.ceiling = ceiling
        self.total = shape[0] * shape[1]
        self.evaluated = np.zeros(shape, dtype=bool)
        self.values = np.empty((0, *shape))
        self.predicted = np.zeros(shape)
        self.spread = np.zeros(shape)
        rows, columns = np.indices(shape)
        # Both axes from 0 to 1: a range may be much longer than the other.
        self.place = np.stack(
            [rows / max(shape[0] - 1, 1), columns / max(shape[1] - 1, 1)], axis=-1
        )

    @property
    def count(self) -> int:
        return int(self.evaluated.sum())

    @property
    def first(self) -> np.ndarray:
        """The first quantity as it is interpolated: capped."""
        capped: np.ndarray = np.minimum(self.values[0], self.ceiling)
        return capped

    def look(self, chosen: np.ndarray) -> None:
        """Evaluate grid indices, shape (k, 2)."""
        found = self.evaluate(chosen)
        if not len(self.values):
            self.values = np.full((len(found), *self.shape), np.nan)
        self.values[:, chosen[:, 0], chosen[:, 1]] = found
        self.evaluated[chosen[:, 0], chosen[:, 1]] = True
        self._predict()

    def _predict(self) -> None:
        """Predict the rest, and how much two interpolants differ: infinite beside the broken."""
        known = self.known(0)
        self.predicted = self.smooth(0)
        linear = (
            LinearNDInterpolator(self.place[known], self.first[known])(self.place)
            if _plane(self.place[known])
            else np.nan
        )
        spread = np.abs(self.predicted - linear)
        self.spread = np.where(self.evaluated, 0.0, np.where(np.isfinite(spread), spread, np.inf))

    def known(self, quantity: int) -> np.ndarray:
        values = self.first if quantity == 0 else self.values[quantity]
        found: np.ndarray = self.evaluated & np.isfinite(values)
        return found

    def smooth(self, quantity: int) -> np.ndarray:
        """A local cubic spline through what is known, not finite nearest to what is not finite."""
        values = self.first if quantity == 0 else self.values[quantity]
        known = self.known(quantity)
        filled = np.where(self.evaluated, values, np.nan)
        if not _plane(self.place[known]):
            return filled
        spline = RBFInterpolator(
            self.place[known],
            values[known],
            neighbors=None if known.sum() <= _WHOLE else _NEIGHBOURS,
            kernel="cubic",
            degree=2,
        )
        rest = ~self.evaluated & ~self._beside_broken()
        if rest.any():
            filled[rest] = spline(self.place[rest])
        return filled

    def _beside_broken(self) -> np.ndarray:
        """Points whose nearest evaluated point is not finite."""
        broken = self.evaluated & ~np.isfinite(self.first)
        if not broken.any():
            return np.zeros(self.shape, dtype=bool)
        from scipy.spatial import cKDTree

        spots = np.argwhere(self.evaluated)
        nearest = cKDTree(spots).query(np.argwhere(np.ones(self.shape, dtype=bool)))[1]
        found: np.ndarray = broken[tuple(spots[nearest].T)].reshape(self.shape)
        return found & ~self.evaluated

    def worst(self, errors: np.ndarray) -> float:
        """The largest error relative to the range of the values."""
        known = self.first[self.known(0)]
        span = float(np.ptp(known)) if known.size else 0.0
        largest = float(np.max(errors, initial=0.0))
        if not np.isfinite(largest):
            return np.inf
        return largest / span if span > 0 else 0.0

    def error(self, trust: float) -> np.ndarray:
        """The error of each point, from the disagreement and what it was worth."""
        estimated = np.zeros(self.shape)
        rest = self.spread > 0
        estimated[rest] = trust * _SAFETY * self.spread[rest]
        return estimated

    def filled(self, trust: float, *, met: bool) -> Filled:
        error = self.error(trust)
        values = self.values.copy()
        for quantity in range(len(values)):
            rest = ~self.evaluated
            values[quantity][rest] = self.smooth(quantity)[rest]
        return Filled(values, self.evaluated.copy(), error, met)


def _plane(places: np.ndarray) -> bool:
    """Whether points (k, 2) determine a surface of second degree."""
    if len(places) < 6:
        return False
    x, y = places.T
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y])
    return bool(np.linalg.matrix_rank(terms) == 6)


def _coarse(shape: tuple[int, int]) -> np.ndarray:
    """Grid indices of a coarse grid with all corners, shape (k, 2)."""
    axes = [np.unique(np.round(np.linspace(0, n - 1, min(n, _COARSE))).astype(int)) for n in shape]
    found: np.ndarray = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    return found


def _largest(indicator: np.ndarray, evaluated: np.ndarray, count: int) -> np.ndarray:
    """The points of the largest indicator, no two side by side in one round where possible."""
    order = np.argsort(indicator, axis=None)[::-1]
    spots = np.stack(np.unravel_index(order, indicator.shape), axis=-1)
    free = ~evaluated
    taken: list[np.ndarray] = []
    blocked = np.zeros_like(evaluated)
    for spot in spots:
        if len(taken) == count:
            break
        row, column = spot
        if free[row, column] and not blocked[row, column]:
            taken.append(spot)
            blocked[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = True
    if not taken:
        taken = [spot for spot in spots if free[tuple(spot)]][:count]
    return np.array(taken)


def _ratio(missed: np.ndarray, spread: np.ndarray) -> float:
    """What predictions were off by, in units of the disagreement."""
    usable = np.isfinite(missed) & np.isfinite(spread) & (spread > 0)
    return float((missed[usable] / spread[usable]).max()) if usable.any() else 1.0
