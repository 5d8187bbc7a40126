"""Stochastic Lanczos quadrature: the spectral density seen by random probes.

For a unit start vector z, the Ritz values θ_i and the squared first components w_i of T's
eigenvectors are the Gauss quadrature of the measure Σ (v_jᵀz)² δ(λ − λ_j) (Golub & Meurant 2010;
Lin, Saad, Yang 2016; Ghorbani et al. 2019 for networks).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from lla.krylov.lanczos import Krylov

__all__ = ["Quadrature", "smoothed_density"]


@dataclass(frozen=True)
class Quadrature:
    """Nodes and weights of one probe each.

    Probes whose Krylov space was exhausted early have fewer nodes; NaN nodes with weight 0 fill
    the rest.

    Attributes:
        nodes: Ritz values, shape (probes, steps).
        weights: They sum to 1 for each probe, shape (probes, steps).
    """

    nodes: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, runs: list[tuple[np.ndarray, np.ndarray]]) -> Quadrature:
        """Collect runs of possibly unequal length."""
        steps = max(len(nodes) for nodes, _ in runs)
        nodes = np.full((len(runs), steps), np.nan)
        weights = np.zeros((len(runs), steps))
        for row, (values, shares) in enumerate(runs):
            nodes[row, : len(values)] = values
            weights[row, : len(shares)] = shares
        return cls(nodes, weights)

    @staticmethod
    def rule(krylov: Krylov) -> tuple[np.ndarray, np.ndarray]:
        """Nodes and weights of one Lanczos run, shapes (m,)."""
        values, vectors = krylov.ritz()
        return values, vectors[0] ** 2

    def power_sums(self, power: float, sign: int, floor: float = 0.0) -> np.ndarray:
        """Σ (|θ|w)ᵖ over the nodes of one sign (+1 or −1), per probe: shape (probes,).

        Nodes within ``floor`` of zero are rounding, and left out.
        """
        chosen = np.nan_to_num(self.nodes) * sign > floor
        terms = np.where(chosen, np.abs(np.nan_to_num(self.nodes)) * self.weights, 0.0)
        sums: np.ndarray = np.where(chosen, terms**power, 0.0).sum(axis=1)
        return sums

    def share_within(self, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Share of the spectrum within ``radius`` of zero, per probe.

        A Gauss rule says little of a short interval: its nodes rarely fall inside. What it does
        bound is the measure up to each node (Chebyshev–Markov–Stieltjes): the weights of the nodes
        inside, less those at its ends, and with those just outside.

        Returns:
            The weight of the nodes inside, a lower and an upper bound, each of shape (probes,).
        """
        inside, low, high = (np.zeros(len(self.nodes)) for _ in range(3))
        for row, (nodes, weights) in enumerate(zip(self.nodes, self.weights, strict=True)):
            kept = np.isfinite(nodes)
            order = np.argsort(nodes[kept])
            places, shares = nodes[kept][order], weights[kept][order]
            first, last = np.searchsorted(places, [-radius, radius])
            inside[row] = shares[first:last].sum()
            low[row] = shares[first + 1 : max(last - 1, first + 1)].sum()
            high[row] = shares[max(0, first - 1) : last + 1].sum()
        return inside, low, high


def smoothed_density(quadrature: Quadrature, edges: np.ndarray, width: float) -> np.ndarray:
    """Each probe's density over the cells between ``edges``, smoothed by a Gaussian.

    The Gaussian is integrated over each cell, so that narrow peaks keep their mass on any grid.

    Args:
        quadrature: Nodes and weights.
        edges: Cell edges, ascending, shape (cells + 1,).
        width: Standard deviation of the Gaussian, in the nodes' units.

    Returns:
        Density per probe, shape (probes, cells).
    """
    nodes = np.nan_to_num(quadrature.nodes)[:, :, None]
    below = ndtr((edges[None, None, :] - nodes) / width)
    mass = np.diff(below, axis=2) / np.diff(edges)
    density: np.ndarray = (quadrature.weights[:, :, None] * mass).sum(axis=1)
    return density
