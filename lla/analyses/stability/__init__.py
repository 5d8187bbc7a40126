"""Would training stay at this minimum, at its learning rate and batch size?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from lla.analyses.analysis import Analysis, Compared, Config, Names, Remedy
from lla.analyses.fields import Plot, array, group, metric, verdicts
from lla.analyses.spectrum import ESTIMATES
from lla.analyses.stability.series import TrainingSeries

if TYPE_CHECKING:
    import numpy as np

    from lla.estimate import Estimate, Verdict

__all__ = ["ANALYSIS", "Conditions", "StabilityConfig", "StabilityResult", "TrainingSeries"]


class StabilityConfig(Config):
    """Settings of the stability conditions; the learning rate is one of [training]."""

    edge: float = Field(0.05, gt=0, lt=1, description="|η/η_max − 1| within which it is the edge")
    max_batches: int = Field(100, ge=4, description="batches behind the batch sharpness, at most")
    batch_tolerance: float = Field(
        0.02, gt=0, description="relative half-width that the batch sharpness aims for"
    )
    series: Names = Field(
        (), description="checkpoints of a training, as 'epoch-*.pt': curvature against 2/η over it"
    )


@dataclass(frozen=True)
class Conditions:
    """Each condition's largest stable learning rate, for a figure."""

    plot = Plot(signal="max_lr", axes=("names",), band=("low", "high"))

    names: tuple[str, ...] = array("conditions", ("names",))
    max_lr: np.ndarray = array(
        "largest stable learning rate; NaN: none", ("names",), units="learning rate"
    )
    low: np.ndarray = array(
        "lower end of the interval of max_lr", ("names",), units="learning rate"
    )
    high: np.ndarray = array(
        "upper end of the interval of max_lr", ("names",), units="learning rate"
    )
    verdict: tuple[str, ...] = array("what each condition says", ("names",))


@dataclass(frozen=True)
class StabilityResult:
    """Largest stable learning rates, and verdicts on the one in use."""

    lr: Estimate = metric("learning rate in use")
    batch_size: Estimate = metric("training batch size")
    sharpness_times_lr: Estimate = metric("λ_max · η / 2: 1 is the edge of stability")
    gd_max_lr: Estimate = metric(
        "rule 1: 2/λ_max; with momentum β 2(1+β)/λ_max", units="learning rate"
    )
    trace_max_lr: Estimate = metric(
        "rule 2: 2/tr(H), SGD with B = 1 (Wu & Su 2023)", units="learning rate"
    )
    trace_frobenius_max_lr: Estimate = metric(
        "rule 3: 2tr/(p·tr² + (1−p)‖H‖_F²)", units="learning rate"
    )
    batch_sharpness: Estimate = metric(
        "E[g_BᵀH_Bg_B/‖g_B‖²] (Andreyev & Beneventano 2024)", units="loss"
    )
    batch_sharpness_max_lr: Estimate = metric("2 / batch sharpness", units="learning rate")
    sgd_max_lr: Estimate = metric(
        "smallest learning rate any applicable condition allows", units="learning rate"
    )
    interpolates: Estimate = metric("1 if every training sample is fitted, else 0")
    conditions: Conditions = group("largest stable learning rate of each condition", Conditions)
    verdicts: tuple[Verdict, ...] = verdicts("what each condition says of the learning rate")
    series: TrainingSeries | None = group(
        "curvature at each checkpoint of a training, if asked for", TrainingSeries
    )


# What the rules take from the training, so that a change of it is not taken for one of the minimum.
_CURVATURE = ("network",)
_RULE = (
    "training.optimizer",
    "training.momentum",
    "training.nesterov",
    "training.weight_decay",
)
_BATCH = ("training.batch_size", "training.samples")

ANALYSIS = Analysis(
    name="stability",
    about="Stability conditions of (S)GD at the checkpoint's learning rate and batch size",
    group="stability",
    config=StabilityConfig,
    result=StabilityResult,
    run="lla.analyses.stability.run:run",
    work="lla.analyses.work:of_stability",
    compared=Compared(
        alike=(),
        also={
            "sharpness_times_lr": _CURVATURE,
            "gd_max_lr": (*_CURVATURE, *_RULE),
            "trace_max_lr": _CURVATURE,
            "trace_frobenius_max_lr": (*_CURVATURE, *_BATCH),
            "batch_sharpness": (*_CURVATURE, *_BATCH),
            "batch_sharpness_max_lr": (*_CURVATURE, *_RULE, *_BATCH),
            "sgd_max_lr": (*_CURVATURE, *_RULE, *_BATCH),
        },
        worse=("batch_sharpness",),
        given=("lr", "batch_size"),
    ),
    figures="lla_plots.stability:figures",
    depends=(*ESTIMATES, "training"),
    files="lla.analyses.stability.series:files_of",
    check="lla.analyses.stability.along:check",
    question="Is it stable at its learning rate?",
    summary=(
        "lr",
        "batch_size",
        "sharpness_times_lr",
        "gd_max_lr",
        "sgd_max_lr",
        "batch_sharpness",
    ),
    headline=(("lr", "learning rate in use"), ("sgd_max_lr", "largest stable rate")),
    remedies=(Remedy(("batch_sharpness",), "max_batches", 4),),
    sections="lla_plots.words.stability:sections",
    steps="lla_plots.words.stability:steps",
)
