"""Traces by products alone, without a Krylov space: Hutch++ and XTrace.

Both project out the range of a sketch of A and estimate what remains. Hutch++ (Meyer, Musco,
Musco, Woodruff 2021) uses other probes for the rest than for the sketch; XTrace (Epperly, Tropp,
Webber 2024) uses each probe for both, leaving it out of its own sketch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from lla.krylov.basis import Basis, orthonormalized
from lla.krylov.operator import LinearOperator, drawn, team_of

__all__ = ["hutchpp", "xtrace"]


def hutchpp(
    operator: LinearOperator, draw: Callable[[int], torch.Tensor], probes: int
) -> np.ndarray:
    """Independent estimates of tr A whose mean is Hutch++.

    Args:
        operator: A.
        draw: Random vector by index, shape (P,).
        probes: k; 3k products are made.

    Returns:
        One estimate for each of k probes, independent of each other given the sketch: their mean
        has Student's interval. Shape (k,).
    """
    sketch = operator(drawn(operator, draw, range(probes)))
    rows, _ = orthonormalized(sketch, _floor(operator, sketch))
    known = float((rows * operator(rows)).sum()) if len(rows) else 0.0
    basis = Basis(operator.size, operator.device, team=team_of(operator))
    basis.append(rows)
    rest = drawn(operator, draw, range(probes, 2 * probes))
    basis.remove(rest)
    return known + (rest * operator(rest)).sum(dim=1).cpu().numpy()


def xtrace(
    operator: LinearOperator, draw: Callable[[int], torch.Tensor], probes: int
) -> np.ndarray:
    """Exchangeable estimates of tr A whose mean is XTrace.

    Args:
        operator: A.
        draw: Random vector by index, shape (P,).
        probes: k; 2k products are made.

    Returns:
        The leave-one-out estimates, shape (k,). Their standard error is what Epperly et al.
        propose as XTrace's error estimate (section 2.2); its level is not proven.
    """
    vectors = drawn(operator, draw, range(probes))
    images = operator(vectors)
    rows, factors = orthonormalized(images, _floor(operator, images))
    if len(rows) < probes:
        # The sketch spans the range: the trace is known, up to rounding.
        exact = float((rows * operator(rows)).sum()) if len(rows) else 0.0
        return np.full(probes, exact)
    products = operator(rows)
    inner = _numpy(rows @ products.T)  # Qᵀ A Q
    coordinates = _numpy(rows @ vectors.T)  # W = Qᵀ Ω
    cross = _numpy(vectors @ products.T)  # Ωᵀ A Q
    own = _numpy((vectors * images).sum(dim=1))  # ωᵀ A ω
    squares = _numpy(vectors.square().sum(dim=1))
    # The sketch without probe i spans Q less the direction Q s_i, s_i along row i of R⁻¹.
    left_out = np.linalg.inv(factors)
    left_out /= np.linalg.norm(left_out, axis=1, keepdims=True)
    found = np.empty(probes)
    for index, (s, w) in enumerate(zip(left_out, coordinates.T, strict=True)):
        along = float(s @ w)
        outside = own[index] - 2 * w @ factors[:, index] + w @ inner @ w
        mixed = (cross[index] - w @ inner) @ s
        rest = outside + 2 * along * mixed + along**2 * (s @ inner @ s)
        length = squares[index] - w @ w + along**2
        scale = (operator.size - probes + 1) / length
        found[index] = np.trace(inner) - s @ inner @ s + scale * rest
    return found


def _floor(operator: LinearOperator, block: torch.Tensor) -> float:
    return 10 * operator.eps * float(torch.linalg.vector_norm(block, dim=1).max())


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.cpu().numpy()
