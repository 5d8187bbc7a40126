"""Where a loss' curvature along a line comes from: the Hessian, or kinks where the slope jumps.

Over t in [−h, h] the slope f′ = dᵀ∇L(θ + t d) changes by ∫ dᵀH(θ + t d)d dt plus the jumps at
kinks (of ReLU, max pooling, absolute values), which no second derivative sees. Both other parts can
be computed, and the jumps are what is left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from lla.analyses.landscape.checks import KINKS_SEEN
from lla.curvature import Hessian, gradient
from lla.errors import NoSecondDerivativeError
from lla.numbers import number
from lla.problem import Problem

__all__ = ["Bend", "bend_along"]

# Gauss–Legendre with 3 nodes, and Kronrod's extension to 7: the error is how much they differ.
_NODES = (0.9604912687080202, 0.7745966692414834, 0.4342437493468026, 0.0)
_WEIGHTS = (0.1046562260264673, 0.2684880898683334, 0.4013974147759622, 0.4509165386584741)
_COARSE = {0.7745966692414834: 5 / 9, 0.0: 8 / 9}


@dataclass(frozen=True)
class Bend:
    """Mean curvature of the loss over a piece of a line, and what it is made of.

    Attributes:
        reach: h: the piece is [−h, h].
        whole: (f′(h) − f′(−h)) / 2h.
        smooth: Mean of dᵀHd over the piece.
        error: Of their difference.
        ends: Smallest and largest dᵀHd that were met.
    """

    reach: float
    whole: float
    smooth: float
    error: float
    ends: tuple[float, float]

    @property
    def kinks(self) -> float:
        """What jumps of the slope add to the mean curvature."""
        return self.whole - self.smooth

    @property
    def has_kinks(self) -> bool:
        """Whether that is more than the error."""
        return abs(self.kinks) > KINKS_SEEN * self.error

    def __str__(self) -> str:
        """What was found, in words."""
        within = f"within ±{number(self.reach, 2)}"
        if self.has_kinks:
            return (
                f"{within} dᵀHd is {number(self.smooth, 4)} on average, and jumps of the slope at "
                f"kinks add {number(self.kinks, 3)} ± {number(self.error, 1)}"
            )
        low, high = (number(end, 4) for end in self.ends)
        return f"no kinks were found {within}, where dᵀHd goes from {low} to {high}"


def bend_along(
    problem: Problem,
    direction: torch.Tensor,
    reach: float,
    on_products: Callable[[int], None] = lambda count: None,
) -> Bend | None:
    """Take the change of the slope along a direction apart, by 2 gradients and 7 products.

    Args:
        problem: Network, data, loss; the checkpoint is the middle.
        direction: d, float64, shape (P,).
        reach: h, in units of ‖d‖.
        on_products: Told the products.

    Returns:
        None where the network can be differentiated only once.
    """

    def at(distance: float) -> Problem:
        place = problem.theta.double() + distance * direction
        return replace(problem, theta=place.to(problem.theta.dtype))

    slopes = [gradient(at(distance)) for distance in (-reach, reach)]
    forms: dict[float, float] = {}
    try:
        for place in sorted({sign * node for node in _NODES for sign in (1, -1)}):
            product = Hessian(at(place * reach), on_products=on_products)(direction)
            forms[place] = float(direction @ product)
    except NoSecondDerivativeError:
        return None
    fine, coarse = (
        sum(weight * forms[place] for node, weight in rule.items() for place in {node, -node}) / 2
        for rule in (dict(zip(_NODES, _WEIGHTS, strict=True)), _COARSE)
    )
    eps = torch.finfo(problem.theta.dtype).eps
    length = float(torch.linalg.vector_norm(direction))
    size = sum(float(torch.linalg.vector_norm(slope)) for slope in slopes) * length
    error = abs(fine - coarse) + 4 * eps * (size / (2 * reach) + abs(fine))
    whole = float(direction @ (slopes[1] - slopes[0])) / (2 * reach)
    met = np.array(list(forms.values()))
    return Bend(reach, whole, fine, error, (float(met.min()), float(met.max())))
