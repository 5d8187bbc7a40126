"""Which attributes of two domains differ, of those that methods of domain generalization align.

Hemati et al. 2023 (section 4) place the methods by what of the head's gradient or Hessian they
align. Each attribute is a vector of a domain; domains differ in it where the vectors' distance is
beyond what sampling alone gives.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lla.analyses.alignment.closed import HeadSums

__all__ = ["ATTRIBUTES", "attribute_distances", "attributes_of"]

ATTRIBUTES = {
    "V-REx": "loss",
    "IRM": "slope of the loss by a common scale of the logits",
    "IGA": "gradient",
    "Fish": "direction of the gradient",
    "Fishr": "variance of the samples' gradients",
    "CORAL": "covariance of the features",
}
"""What each method aligns: Krueger et al. 2021, Arjovsky et al. 2019, Koyama & Yamaguchi 2021,
Shi et al. 2022, Rame et al. 2022, Sun & Saenko 2016."""


def attributes_of(sums: HeadSums, theta: torch.Tensor) -> dict[str, torch.Tensor]:
    """Each attribute of a domain as a vector.

    Args:
        sums: Of all its samples, one group.
        theta: The head's weights with the bias as last column, shape (K, D).
    """
    gradient = sums.gradient / sums.weight
    length = torch.linalg.vector_norm(gradient)
    total = sums.predictions
    mean = sums.features / total
    covariance = sums.second / total - torch.outer(mean, mean)
    variance = sums.squares / total - (sums.gradient / total).square()
    return {
        "V-REx": (sums.loss / sums.weight).reshape(1),
        "IRM": (theta * gradient).sum().reshape(1),  # Σ r·o, as o = Θz
        "IGA": gradient.flatten(),
        "Fish": (gradient / length.where(length > 0, torch.nan)).flatten(),
        "Fishr": variance.flatten(),
        "CORAL": covariance.flatten(),
    }


def attribute_distances(
    found: Sequence[dict[str, torch.Tensor]], pairs: Sequence[tuple[int, int]]
) -> torch.Tensor:
    """‖a_A − a_B‖ of each attribute and pair, shape (attributes, pairs)."""
    return torch.stack(
        [
            torch.stack(
                [torch.linalg.vector_norm(found[a][name] - found[b][name]) for a, b in pairs]
            )
            for name in ATTRIBUTES
        ]
    )
