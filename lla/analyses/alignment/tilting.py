"""How far class boundaries are tilted away from the line between class centroids.

Tanay & Griffin 2016, "A boundary tilting perspective on the phenomenon of adversarial examples":
a boundary that is tilted by δ lies nearer to the centroids than the nearest-centroid classifier's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["Centroids", "tilted"]


@dataclass
class Centroids:
    """Sums of features by class.

    Attributes:
        sums: Without the 1 behind, shape (K, d).
        counts: Predictions of each class, shape (K,).
    """

    sums: torch.Tensor
    counts: torch.Tensor

    @classmethod
    def empty(cls, classes: int, features: int, device: torch.device) -> Centroids:
        """Zeros."""
        sums = torch.zeros((classes, features), dtype=torch.float64, device=device)
        return cls(sums, sums.new_zeros(classes))

    def add(self, features: torch.Tensor, labels: torch.Tensor) -> None:
        """Add predictions that have a label: features (m, d), labels (m,), −1 for none."""
        kept = labels >= 0
        self.sums.index_add_(0, labels[kept], features[kept])
        self.counts += torch.bincount(labels[kept], minlength=len(self.counts))

    @property
    def means(self) -> torch.Tensor:
        """μ, shape (K, d); NaN for a class without samples."""
        return self.sums / self.counts.where(self.counts > 0, torch.nan)[:, None]


def tilted(
    means: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Deviation angle and adversarial strength of each pair of classes.

    With w = w_i − w_j and z = μ_i − μ_j the angle δ is that between w and z. The strength is how
    many times nearer to μ_i the boundary between i and j is than the one that bisects the
    centroids: ½‖z‖ over μ_i's distance; 1/cos δ where the boundary goes through their middle.

    Args:
        means: μ, shape (K, d).
        weight: Shape (K, d).
        bias: Shape (K,).

    Returns:
        δ in radians and the strength, shape (K, K) each, [i, j]; NaN on the diagonal, for classes
        without samples, and the strength where μ_i lies on the other side.
    """
    across = weight[:, None] - weight[None]
    between = means[:, None] - means[None]
    steep = torch.linalg.vector_norm(across, dim=2)
    apart = torch.linalg.vector_norm(between, dim=2)
    size = (steep * apart).where(steep * apart > 0, torch.nan)
    angle = torch.arccos(((across * between).sum(dim=2) / size).clamp(-1.0, 1.0))
    logits = means @ weight.T + bias
    own = torch.diagonal(logits)[:, None] - logits  # of μ_i: logit i less logit j
    away = own / steep.where(steep > 0, torch.nan)
    return angle, (apart / 2) / away.where(away > 0, torch.nan)
