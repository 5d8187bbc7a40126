"""How far off products are, and what that does to sums over random probes, measured on a few.

Where products are approximate or coarser than the network's own precision, a trace taken from them
is that of another matrix. For a Rademacher z, zᵀ(P − W)z has the mean tr P − tr W, and hardly any
variance where the precise products P and the working ones W are near each other: a few precise
products correct what many working ones say.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from lla.curvature import SummedOperator
from lla.estimate import Estimate, student_quantile
from lla.krylov import Eigenpairs, Probes
from lla.krylov.operator import drawn

__all__ = [
    "ProbeErrors",
    "corrected",
    "measured_errors",
    "product_errors",
    "scaled",
    "shifted",
    "widened",
]

_VECTORS = 5


@dataclass(frozen=True)
class ProbeErrors:
    """How far sums from working products are off, in the order (trace, square, *blocks).

    Attributes:
        shift: What to add to each.
        half: Half-width of the interval that holds what is then still wrong.
        diagonal: Root mean square error of each entry of the diagonal, shape (P,).
    """

    shift: np.ndarray
    half: np.ndarray
    diagonal: torch.Tensor


def product_errors(
    pairs: Eigenpairs,
    operator: SummedOperator[Any],
    precise: SummedOperator[Any],
    *,
    mix: bool = True,
) -> tuple[float, float]:
    """How far off a product is, and how far the precise one: measured on one unit vector.

    The vector is a mixture of all pairs, so that no direction of theirs is left out; or, without
    ``mix``, that of the largest eigenvalue, so that no further vector is held.
    """
    coarser = precise.coarser()
    if precise is operator and coarser is None:
        return 0.0, 0.0
    if mix:
        mixed = pairs.vectors.sum(dim=0)
        mixed /= torch.linalg.vector_norm(mixed)
    else:
        mixed = pairs.vectors[0]
    found = precise(mixed)
    others = (None if precise is operator else operator, coarser)
    error, reference = (
        float(torch.linalg.vector_norm(other(mixed).sub_(found))) if other else 0.0
        for other in others
    )
    return error, reference


def measured_errors(
    working: SummedOperator[Any],
    precise: SummedOperator[Any],
    draw: Callable[[int], torch.Tensor],
    blocks: tuple[slice, ...],
    confidence: float,
) -> ProbeErrors:
    """Products of both operators on the same vectors.

    Differences of gradients have no better products to be held against: what doubling their step
    changes bounds what is wrong with the precise ones.

    Args:
        working: W.
        precise: P.
        draw: Rademacher vector by index, shape (P,).
        blocks: Places of the diagonal blocks whose traces are wanted.
        confidence: Of the intervals.
    """
    vectors = drawn(working, draw, range(_VECTORS))
    found = precise(vectors)
    off = found - working(vectors) if working is not precise else torch.zeros_like(found)
    sums = _sums(vectors, found, blocks)
    changes = sums - _sums(vectors, found - off, blocks)
    shift, half = _mean(changes, confidence)
    coarser = precise.coarser()
    if coarser is not None:
        coarse = coarser(vectors)
        more, spread = _mean(_sums(vectors, coarse, blocks) - sums, confidence)
        half = half + np.abs(more) + spread
        off = off.abs() + (coarse - found).abs()
    return ProbeErrors(shift, half, off.square().mean(dim=0).sqrt())


def _sums(vectors: torch.Tensor, products: torch.Tensor, blocks: tuple[slice, ...]) -> np.ndarray:
    """Shape (vectors, 2 + blocks)."""
    parts = [(vectors[:, place] * products[:, place]).sum(dim=1) for place in blocks]
    trace, square = (vectors * products).sum(dim=1), products.square().sum(dim=1)
    return torch.stack([trace, square, *parts], dim=1).cpu().numpy()


def _mean(values: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean over rows, and half the width of Student's interval."""
    spread = values.std(axis=0, ddof=1) / math.sqrt(len(values))
    return values.mean(axis=0), student_quantile(confidence, len(values) - 1) * spread


def corrected(probes: Probes, errors: ProbeErrors) -> Probes:
    """The probes with their sums moved to those of precise products."""
    trace, square, parts = errors.shift[0], errors.shift[1], errors.shift[2:]
    samples = tuple(
        replace(one, trace=one.trace + trace, square=one.square + square, parts=one.parts + parts)
        for one in probes.samples
    )
    diagonal = probes.diagonal
    if diagonal is not None:
        diagonal = diagonal[0], diagonal[1].hypot(errors.diagonal)
    return replace(probes, samples=samples, diagonal=diagonal)


def shifted(found: Estimate, shift: float) -> Estimate:
    """The estimate with value and interval moved."""
    return replace(found, value=found.value + shift, low=found.low + shift, high=found.high + shift)


def scaled(found: Estimate, factor: float) -> Estimate:
    """The estimate and all its errors, times a positive factor."""

    def times(error: float | None) -> float | None:
        return None if error is None else factor * error

    return replace(
        found,
        value=factor * found.value,
        low=factor * found.low,
        high=factor * found.high,
        stderr=times(found.stderr),
        sampling_stderr=times(found.sampling_stderr),
    )


def widened(found: Estimate, half: float) -> Estimate:
    """The estimate with its interval wider by ``half`` on both sides."""
    return replace(found, low=found.low - float(half), high=found.high + float(half))
