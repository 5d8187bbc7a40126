"""What a series of checkpoints says: curvature against 2/η over a training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lla.analyses.fields import Plot, array

if TYPE_CHECKING:
    import numpy as np

    from lla.analyses.stability import StabilityConfig

__all__ = ["BETWEEN_NOTES", "TrainingSeries", "files_of"]

BETWEEN_NOTES = " · "

_DIMS = ("names",)


@dataclass(frozen=True)
class TrainingSeries:
    """Curvature at each checkpoint, and the curvature at which gradient descent is at its edge.

    Progressive sharpening and the edge of stability are Cohen et al. 2021 (arXiv 2103.00065); the
    batch sharpness of SGD is Andreyev & Beneventano 2024 (arXiv 2412.20553).
    """

    plot = Plot(signal="lambda_max", axes=("names",), band=("lambda_max_low", "lambda_max_high"))

    names: tuple[str, ...] = array("checkpoints in their order", _DIMS)
    epoch: np.ndarray = array("epoch that each checkpoint tells; NaN: none", _DIMS)
    lr: np.ndarray = array("learning rate η at each; NaN: unknown", _DIMS)
    edge: np.ndarray = array(
        "largest stable λ_max of gradient descent, 2/η; with momentum β 2(1+β)/η; NaN: none, the "
        "note says why",
        _DIMS,
        units="loss",
    )
    two_over_lr: np.ndarray = array(
        "2/η, where the batch sharpness settles; NaN: unknown", _DIMS, units="loss"
    )
    loss: np.ndarray = array("loss over the analysed data", _DIMS, units="loss")
    accuracy: np.ndarray = array("share of right predictions", _DIMS)
    lambda_max: np.ndarray = array("largest eigenvalue of the Hessian", _DIMS, units="loss")
    lambda_max_low: np.ndarray = array("lower end of its certified interval", _DIMS, units="loss")
    lambda_max_high: np.ndarray = array("upper end of its certified interval", _DIMS, units="loss")
    trace: np.ndarray = array("trace of the Hessian", _DIMS, units="loss")
    trace_low: np.ndarray = array("lower end of the trace's interval", _DIMS, units="loss")
    trace_high: np.ndarray = array("upper end of the trace's interval", _DIMS, units="loss")
    batch_sharpness: np.ndarray = array(
        "E[g_BᵀH_Bg_B/‖g_B‖²]; NaN: none, the note says why", _DIMS, units="loss"
    )
    batch_sharpness_low: np.ndarray = array("lower end of its interval", _DIMS, units="loss")
    batch_sharpness_high: np.ndarray = array("upper end of its interval", _DIMS, units="loss")
    converged: np.ndarray = array("whether each λ_max met its tolerance", _DIMS)
    note: tuple[str, ...] = array("what is missing at each, and why", _DIMS)


def files_of(config: StabilityConfig) -> list[str]:
    """The checkpoint files of a series, those that are there."""
    from lla.analyses.checkpoints import files_in

    return files_in(config.series)
