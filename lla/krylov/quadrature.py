"""Stochastic Lanczos quadrature: the spectral density seen by random probes.

For a unit vector z, the Ritz values θ_i and the squared first components w_i of T's
eigenvectors are the Gauss quadrature of the measure Σ (v_jᵀz)² δ(λ − λ_j) (Golub & Meurant 2010;
Lin, Saad, Yang 2016; Ghorbani et al. 2019 for networks).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

__all__ = ["Quadrature", "gauss_rule", "smoothed_density"]


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

    def power_sums(self, power: float, sign: int, floor: float = 0.0) -> np.ndarray:
        """Σ (|θ|w)ᵖ over the nodes of one sign (+1 or −1), per probe: shape (probes,).

        Nodes within ``floor`` of zero are rounding, and left out.
        """
        nodes = np.nan_to_num(self.nodes)
        terms = (np.abs(nodes) * self.weights) ** power
        sums: np.ndarray = np.where(nodes * sign > floor, terms, 0.0).sum(axis=1)
        return sums

    def share_within(self, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Share of the spectrum within ``radius`` of zero, both ends included, per probe.

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
            first = np.searchsorted(places, -radius, side="left")
            last = np.searchsorted(places, radius, side="right")
            inside[row] = shares[first:last].sum()
            low[row] = shares[first + 1 : max(last - 1, first + 1)].sum()
            high[row] = shares[max(0, first - 1) : last + 1].sum()
        return inside, low, high


def gauss_rule(matrix: np.ndarray, vector: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The Gauss rule of a small matrix and a vector, with ``steps`` nodes or fewer.

    Args:
        matrix: Symmetric, shape (m, m).
        vector: Not zero, shape (m,).
        steps: Nodes; exact for polynomials up to degree 2·steps − 1.

    Returns:
        Nodes, ascending, and their weights, which sum to 1; nothing for an empty matrix.
    """
    if not len(matrix):
        return np.empty(0), np.empty(0)
    scale = float(np.abs(matrix).max()) or 1.0
    rows = [vector / np.linalg.norm(vector)]
    for _ in range(min(steps, len(matrix)) - 1):
        known = np.array(rows)
        new = matrix @ rows[-1]
        for _ in range(2):
            new = new - known.T @ (known @ new)
        norm = float(np.linalg.norm(new))
        if norm <= 1e-12 * scale:
            break
        rows.append(new / norm)
    basis = np.array(rows)
    nodes, vectors = np.linalg.eigh(basis @ matrix @ basis.T)
    return nodes, vectors[0] ** 2


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
