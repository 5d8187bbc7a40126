"""Which samples the curvature of single ones is taken of, and sums over pairs of them.

Confident predictions have almost no curvature, and a few others nearly all of it: samples are drawn
with replacement, half of the draws evenly and half in proportion to tr ∇²ℓ_i by the outputs, which
one evaluation gives. Weighted by the inverse of their chance, means over draws are unbiased (Hansen
& Hurwitz 1943), and draws are independent, so that pairs of them are U-statistics.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lla.curvature.samples import Samples
from lla.problem import Problem
from lla.seeding import generator

__all__ = ["Draws", "all_samples", "draw_samples", "pair_sums"]


@dataclass(frozen=True)
class Draws:
    """Drawn samples.

    Attributes:
        positions: Different positions of samples, shape (u,).
        draws: Index into the positions for each draw, shape (m,).
        weights: 1/(n·chance) of each draw, shape (m,): their mean is about 1.
        complete: Whether every sample is there, once.
    """

    positions: torch.Tensor
    draws: torch.Tensor
    weights: torch.Tensor
    complete: bool

    @property
    def shares(self) -> torch.Tensor:
        """What each position weighs in a mean over samples, shape (u,); in all 1."""
        made = torch.zeros(len(self.positions), dtype=torch.float64)
        made.index_add_(0, self.draws, self.weights / len(self.draws))
        return made / made.sum()


def all_samples(count: int) -> Draws:
    """Every sample once."""
    places = torch.arange(count)
    return Draws(places, places, torch.ones(count, dtype=torch.float64), True)


def draw_samples(problem: Problem, samples: Samples | None, count: int, seed: int) -> Draws:
    """Draw samples; all of them where there are no more than asked for.

    Args:
        problem: Network, data and loss.
        samples: Their derivatives, for tr ∇²ℓ_i; None to draw evenly.
        count: Of draws.
        seed: Of the run.
    """
    n = len(problem.data)
    if count >= n:
        return all_samples(n)
    chances = torch.full((n,), 1 / n, dtype=torch.float64)
    if samples is not None:
        parts = [
            samples.loss_curvature(batch)[1].diagonal(dim1=1, dim2=2).sum(1).cpu()
            for batch in problem.data.chunks()
        ]
        size = torch.cat(parts).clamp_min(0)
        if float(size.sum()) > 0:
            chances = (chances + size / size.sum()) / 2
    random = generator(seed, "samples of curvature")
    drawn = torch.multinomial(chances, count, replacement=True, generator=random)
    positions, draws = torch.unique(drawn, return_inverse=True)
    return Draws(positions, draws, 1 / (n * chances[drawn]), False)


def pair_sums(factors: torch.Tensor, coordinates: torch.Tensor, draws: Draws) -> np.ndarray:
    """Tr H, mean ‖H_i‖_F², ‖H‖_F² and mean g_iᵀHg_i from pairs of samples, and without each draw.

    Args:
        factors: A_i with H_i = A_iᵀA_i, shape (u, K, P).
        coordinates: c_i with g_i = A_iᵀc_i, shape (u, K).
        draws: Which samples they are of.

    Returns:
        float64, shape (1 + m, 4): the values, then each without one draw; (1, 4) if complete.
    """
    count, outputs, _ = factors.shape
    rows = factors.flatten(0, 1)
    gram = (rows @ rows.T).double().view(count, outputs, count, outputs).transpose(1, 2)
    traces = gram.diagonal(dim1=0, dim2=1).diagonal(dim1=0, dim2=1).sum(1).cpu().numpy()
    squares = gram.square().sum((2, 3)).cpu().numpy()
    # ‖A_jA_iᵀc_i‖², of i in rows and j in columns.
    forms = torch.einsum("jikl,il->ijk", gram, coordinates).square().sum(2).cpu().numpy()
    at, weights = draws.draws.numpy(), draws.weights.numpy()
    traces, squares, forms = traces[at], squares[np.ix_(at, at)], forms[np.ix_(at, at)]
    m = len(at)
    single = np.stack([traces * weights, squares.diagonal() * weights])
    if draws.complete:
        pairs = np.array([squares.mean(), forms.mean()])
        return np.concatenate((single.mean(1), pairs))[None]
    both = weights[:, None] * weights[None, :]
    np.fill_diagonal(both, 0.0)
    found = [single.sum(1) / m]
    found[0] = np.append(found[0], [(squares * both).sum(), (forms * both).sum()])
    found[0][2:] /= m * (m - 1)
    lost = np.stack([(x * both).sum(0) + (x * both).sum(1) for x in (squares, forms)])
    total = found[0][2:, None] * m * (m - 1)
    without = np.concatenate(
        ((single.sum(1, keepdims=True) - single) / (m - 1), (total - lost) / ((m - 1) * (m - 2)))
    )
    return np.concatenate((found[0][None], without.T))
