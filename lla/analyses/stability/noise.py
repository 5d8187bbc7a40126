"""What is known of SGD's noise: the curvature of samples, as estimates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from lla.analyses.stability.second_moments import Rule, Threshold
from lla.estimate import Estimate, student_quantile

__all__ = ["Directions", "Norms", "SampleCurvature", "jackknifed"]


@dataclass(frozen=True)
class Directions:
    """The samples' curvature q_i = vᵀH_iv along some unit vectors, the first of them v₁.

    Attributes:
        mean: vᵀHv, shape (b,).
        squares: ‖Hv‖², shape (b,).
        moments: Second to fourth central moments of q_i over the samples, shape (b, 3).
        samples: n, the samples analysed.
        population: Samples that the loss is meant to be over.
        rounding: Relative error of a q_i.
    """

    mean: np.ndarray
    squares: np.ndarray
    moments: np.ndarray
    samples: int
    population: int
    rounding: float = 0.0


@dataclass(frozen=True)
class Norms:
    """Sums over pairs of samples, and what they are without each of the draws.

    Attributes:
        values: tr H, mean ‖H_i‖_F², ‖H‖_F², mean g_iᵀHg_i, shape (4,).
        left: The same without each draw, shape (m, 4); no rows where every sample was taken.
        parameters: P.
        confidence: Of intervals.
    """

    values: np.ndarray
    left: np.ndarray
    parameters: int
    confidence: float

    def estimate(self, column: int) -> Estimate:
        """One of the values with its interval."""
        return jackknifed(
            lambda row: float(row[column]), self.values, self.left, self.confidence,
            method=f"Jacobians of {len(self.left) or 'all'} samples", units="loss",
        )  # fmt: skip


@dataclass(frozen=True)
class SampleCurvature:
    """What is known of the samples' curvature; what is not has its reason under its name.

    Attributes:
        matrix: Which matrices H_i are: "H_i", or "Gauss–Newton" in their place.
        directions: Along single vectors.
        norms: Traces and norms.
        exact: The exact threshold as a function of (rule, p, weight decay).
        nonuniformity: s = √λ_max(mean H_i² − H²).
        loss: L.
        mean_form: ḡᵀHḡ, for the centred noise.
        why: Reasons for what is None, by name.
    """

    matrix: str = "H_i"
    directions: Directions | None = None
    norms: Norms | None = None
    exact: Callable[[Rule, float, float], Threshold] | None = None
    nonuniformity: Estimate = field(
        default_factory=lambda: Estimate.missing("the samples' curvature was not computed")
    )
    loss: float = math.nan
    mean_form: float = 0.0
    why: dict[str, str] = field(default_factory=dict)

    def reason(self, name: str) -> str:
        """Why something is not known."""
        return self.why.get(name) or self.why.get("") or "it was not computed"


def jackknifed(
    function: Callable[[np.ndarray], float], values: np.ndarray, left: np.ndarray,
    confidence: float, *, method: str, units: str = "",
) -> Estimate:  # fmt: skip
    """A positive function of means over draws, with its delete-one jackknife interval.

    The interval is one of the logarithm (Efron & Stein 1981, for the variance): it stays positive.

    Args:
        function: Of values of shape (k,).
        values: The means, shape (k,).
        left: The means without each draw, shape (m, k); without rows, the values are exact.
        confidence: Of the interval.
        method: How it was obtained.
        units: Of the function.
    """
    value = function(values)
    if not len(left):
        return Estimate.exact(value, method=method, units=units)
    count = len(left)
    each = np.array([function(row) for row in left])
    if not np.isfinite(each).all() or (each <= 0).any():
        return Estimate(value, 0.0, math.inf, confidence, converged=False, method=method,
                        units=units)  # fmt: skip
    logs = np.log(each)
    stderr = math.sqrt((count - 1) / count * float(((logs - logs.mean()) ** 2).sum()))
    half = student_quantile(confidence, count - 1) * stderr
    return Estimate(
        value, value * math.exp(-half), value * math.exp(half), confidence,
        stderr=value * stderr, method=method, units=units,
    )  # fmt: skip
