"""Moments and distances by products of the curvature engine, for heads without a closed form.

Nothing of P × P or P × n is held: the diagonal and ‖H_a − H_b‖_F come from random signs, the
spectral norm from a Lanczos run on H_a − H_b.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lla.analyses.alignment.distances import Moments, pairs_of
from lla.estimate import student_quantile
from lla.krylov import Eigenpairs, Search, extreme_eigenpairs
from lla.krylov.operator import Difference, LinearOperator, drawn

__all__ = [
    "Diagonals",
    "SpectralDifference",
    "distance_of_diagonals",
    "hutchinson_diagonal",
    "moments_by_products",
    "random_products",
    "spectral_difference",
]

_TOGETHER = 10
_BATCHES = 10  # groups of probes whose spread tells the error


def hutchinson_diagonal(
    operator: LinearOperator, draw: Callable[[int], torch.Tensor], probes: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean of z ⊙ Az over Rademacher z, and its variance Σ_{j≠i} A_ij² / m, estimated.

    Args:
        operator: A.
        draw: Rademacher vector by index, shape (P,).
        probes: m, at least 2.

    Returns:
        Estimates of the diagonal and of their variances, shape (P,) each.
    """
    total = torch.zeros(operator.size, dtype=torch.float64, device=operator.device)
    square = torch.zeros_like(total)
    for start in range(0, probes, _TOGETHER):
        signs = drawn(operator, draw, range(start, min(start + _TOGETHER, probes)))
        found = signs * operator(signs)
        total += found.sum(dim=0)
        square += found.square().sum(dim=0)
    mean = total / probes
    spread = (square / probes - mean.square()).clamp_min(0) / (probes - 1)
    return mean, spread


@dataclass(frozen=True)
class Diagonals:
    """What products of the same random signs say of E domains.

    Attributes:
        batches: Hutchinson's diagonals from each of several groups of probes, shape (E, B, P).
        squares: ‖(H_a − H_b) z‖² of each probe, by pair, shape (m,).
        norms: ‖H_e‖_F, estimated as the root of the mean of ‖H_e z‖², shape (E,).
    """

    batches: torch.Tensor
    squares: dict[tuple[int, int], np.ndarray]
    norms: np.ndarray

    @property
    def diagonal(self) -> torch.Tensor:
        """Hutchinson's estimate from all probes, shape (E, P)."""
        return self.batches.mean(dim=1)


def random_products(
    operators: Sequence[LinearOperator], draw: Callable[[int], torch.Tensor], probes: int
) -> Diagonals:
    """Products of the domains' operators with the same m probes.

    Shared probes leave of the variance of a difference only what belongs to H_a − H_b.

    Args:
        operators: H_e, one for each domain.
        draw: Rademacher vector by index, shape (P,).
        probes: m; rounded up to whole groups.
    """
    first = operators[0]
    each = max(1, math.ceil(probes / _BATCHES))
    sums = torch.zeros(
        (len(operators), _BATCHES, first.size), dtype=torch.float64, device=first.device
    )
    sizes = np.zeros(len(operators))
    squares: dict[tuple[int, int], list[torch.Tensor]] = {p: [] for p in pairs_of(len(operators))}
    for batch in range(_BATCHES):
        for start in range(0, each, _TOGETHER):
            places = range(batch * each + start, batch * each + min(start + _TOGETHER, each))
            signs = drawn(first, draw, places)
            products = [operator(signs) for operator in operators]
            for index, product in enumerate(products):
                sums[index, batch] += (signs * product).sum(dim=0) / each
                sizes[index] += float(product.square().sum())
            for one, other in squares:
                squares[one, other].append((products[one] - products[other]).square().sum(dim=1))
    found = {pair: torch.cat(parts).cpu().numpy() for pair, parts in squares.items()}
    return Diagonals(sums, found, np.sqrt(sizes / (each * _BATCHES)))


def distance_of_diagonals(batches: torch.Tensor, confidence: float) -> tuple[float, float, float]:
    """‖d_a − d_b‖ from independent estimates of d_a − d_b, without the estimates' own noise.

    The mean of the products of two different estimates is the square without bias; what leaving
    one estimate out changes tells its error (jackknife).

    Args:
        batches: Estimates, shape (B, P), B ≥ 3.
        confidence: Of the interval.

    Returns:
        The distance and both ends of its interval.
    """
    gram = (batches @ batches.T).cpu().numpy()
    count = len(gram)

    def unbiased(kept: np.ndarray) -> float:
        part = gram[np.ix_(kept, kept)]
        return float((part.sum() - np.trace(part)) / (len(part) * (len(part) - 1)))

    places = np.arange(count)
    whole = unbiased(places)
    left_out = np.array([unbiased(places[places != one]) for one in places])
    stderr = math.sqrt((count - 1) / count * float(np.square(left_out - left_out.mean()).sum()))
    half = student_quantile(confidence, count - 1) * stderr
    low, value, high = (math.sqrt(max(0.0, whole + move)) for move in (-half, 0.0, half))
    return value, low, high


@dataclass(frozen=True)
class SpectralDifference:
    """Extreme eigenpairs of H_a − H_b.

    Attributes:
        pairs: The eigenpairs.
        value: ‖H_a − H_b‖₂.
        low: Its lower bound: a Rayleigh quotient less rounding.
        high: Its upper bound, from the residual.
    """

    pairs: Eigenpairs
    value: float
    low: float
    high: float

    @property
    def converged(self) -> bool:
        """Whether the larger end's residual is within the tolerance."""
        return bool(self.pairs.converged[int(np.abs(self.pairs.values).argmax())])


def spectral_difference(
    one: LinearOperator,
    other: LinearOperator,
    draw: Callable[[int], torch.Tensor],
    *,
    tolerance: float,
    products: int,
    rounding: float = 0.0,
) -> SpectralDifference:
    """The spectral norm of H_a − H_b by one Lanczos run on the difference.

    Args:
        one: H_a.
        other: H_b.
        draw: Random vector by index, shape (P,).
        tolerance: Residual bound, relative to the norm.
        products: Largest number of products with each.
        rounding: What rounding may have moved a quotient by.
    """
    operator = Difference(one, other)
    pairs = extreme_eigenpairs(operator, draw, Search(2, 2, tolerance, products))
    place = int(np.abs(pairs.values).argmax())
    value, residual = abs(float(pairs.values[place])), float(pairs.residuals[place])
    return SpectralDifference(pairs, value, max(0.0, value - rounding), value + residual + rounding)


def moments_by_products(
    operators: Sequence[LinearOperator],
    loss: torch.Tensor,
    accuracy: torch.Tensor,
    gradient: torch.Tensor,
    diagonal: torch.Tensor,
) -> Moments:
    """Moments of operators: one block of E + 1 products for each domain.

    Args:
        operators: H_e.
        loss: L_e, shape (E,).
        accuracy: Shape (E,).
        gradient: g_e, shape (E, P).
        diagonal: Of H_e, estimated or exact, shape (E, P).
    """
    mean = gradient.mean(dim=0)
    products = [
        operator(torch.stack([slope, mean]))
        for operator, slope in zip(operators, gradient, strict=True)
    ]
    hgp = torch.stack([product[0] for product in products])
    mean_hgp = torch.stack([product[1] for product in products]).mean(dim=0)
    return Moments(loss, accuracy, gradient, hgp, mean_hgp, diagonal)
