"""How the gradients and Hessians of domains differ: matrices and penalties (Hemati et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch

__all__ = ["Difference", "Measures", "Moments", "measures", "pairs_of", "penalty"]


@dataclass(frozen=True)
class Moments:
    """What is known of E domains' losses as functions of P parameters, float64.

    Attributes:
        loss: L_e, shape (E,).
        accuracy: Share of right predictions; NaN without classes, shape (E,).
        gradient: g_e, shape (E, P).
        hgp: H_e g_e, shape (E, P).
        mean_hgp: H̄ ḡ of the mean loss, shape (P,).
        diagonal: Diagonals of H_e or estimates of them, shape (E, P).
    """

    loss: torch.Tensor
    accuracy: torch.Tensor
    gradient: torch.Tensor
    hgp: torch.Tensor
    mean_hgp: torch.Tensor
    diagonal: torch.Tensor

    @classmethod
    def of_matrices(
        cls,
        loss: torch.Tensor,
        accuracy: torch.Tensor,
        gradient: torch.Tensor,
        matrices: torch.Tensor,
    ) -> Moments:
        """Of dense Hessians, shape (E, P, P)."""
        hgp = torch.einsum("eij,ej->ei", matrices, gradient)
        mean = matrices.mean(dim=0) @ gradient.mean(dim=0)
        diagonal = torch.diagonal(matrices, dim1=1, dim2=2)
        return cls(loss, accuracy, gradient, hgp, mean, diagonal)


@dataclass(frozen=True)
class Measures:
    """The distances between E domains, float64 (E, E), and the penalties.

    ``loss`` and ``accuracy`` are of the column's domain less the row's; ``cosine`` is NaN where a
    gradient vanishes; the others are norms.
    """

    gradient: torch.Tensor
    cosine: torch.Tensor
    hgp: torch.Tensor
    diagonal: torch.Tensor
    spectral: torch.Tensor
    frobenius: torch.Tensor
    loss: torch.Tensor
    accuracy: torch.Tensor
    hgp_penalty: torch.Tensor
    hutchinson_penalty: torch.Tensor


Difference = Callable[[int, int], tuple[float, float]]


def pairs_of(count: int) -> Iterator[tuple[int, int]]:
    """Each pair of domains once, the first before the second."""
    return combinations(range(count), 2)


def penalty(
    vectors: torch.Tensor, of_mean: torch.Tensor, gradient: torch.Tensor, alpha: float, beta: float
) -> torch.Tensor:
    """(1/E) Σ_e [α‖v_e − v̄‖² + β‖g_e − ḡ‖²], v the HGP or the diagonal (equations 9 and 10).

    Args:
        vectors: v_e, shape (E, P).
        of_mean: v̄ of the mean loss, shape (P,).
        gradient: g_e, shape (E, P).
        alpha: α.
        beta: β.
    """
    curved = (vectors - of_mean).square().sum(dim=1)
    sloped = (gradient - gradient.mean(dim=0)).square().sum(dim=1)
    return (alpha * curved + beta * sloped).mean()


def measures(
    moments: Moments,
    difference: Difference,
    *,
    hgp: Sequence[float] = (1e-4, 5e-3),
    hutchinson: Sequence[float] = (1e-3, 5e-3),
) -> Measures:
    """All matrices and both penalties.

    Args:
        moments: Of the domains.
        difference: ‖H_a − H_b‖₂ and ‖H_a − H_b‖_F of two domains.
        hgp: α and β of the penalty on Hessian–gradient products.
        hutchinson: α and β of the penalty on diagonals.
    """
    count = len(moments.loss)
    spectral = moments.loss.new_zeros((count, count))
    frobenius = torch.zeros_like(spectral)
    for one, other in pairs_of(count):
        found = difference(one, other)
        for matrix, value in zip((spectral, frobenius), found, strict=True):
            matrix[one, other] = matrix[other, one] = value
    return Measures(
        gradient=_norms(moments.gradient),
        cosine=_cosines(moments.gradient),
        hgp=_norms(moments.hgp),
        diagonal=_norms(moments.diagonal),
        spectral=spectral,
        frobenius=frobenius,
        loss=moments.loss[None, :] - moments.loss[:, None],
        accuracy=moments.accuracy[None, :] - moments.accuracy[:, None],
        hgp_penalty=penalty(moments.hgp, moments.mean_hgp, moments.gradient, *hgp),
        hutchinson_penalty=penalty(
            moments.diagonal, moments.diagonal.mean(dim=0), moments.gradient, *hutchinson
        ),
    )


def _norms(vectors: torch.Tensor) -> torch.Tensor:
    """‖v_a − v_b‖, shape (E, E): by differences, which leave identical domains at zero."""
    return torch.stack([torch.linalg.vector_norm(vectors - one, dim=1) for one in vectors])


def _cosines(vectors: torch.Tensor) -> torch.Tensor:
    lengths = torch.linalg.vector_norm(vectors, dim=1)
    unit = vectors / lengths.where(lengths > 0, torch.nan)[:, None]
    found: torch.Tensor = unit @ unit.T
    return found.clamp(-1.0, 1.0)
