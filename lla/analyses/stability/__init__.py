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

    from lla.estimate import Estimate, Label, Verdict

__all__ = [
    "ANALYSIS",
    "BatchSizes",
    "Conditions",
    "StabilityConfig",
    "StabilityResult",
    "TrainingSeries",
]


class StabilityConfig(Config):
    """Settings of the stability conditions; the learning rate is one of [training]."""

    edge: float = Field(0.05, gt=0, lt=1, description="|η/η_max − 1| within which it is the edge")
    max_batches: int = Field(100, ge=4, description="batches behind the batch sharpness, at most")
    batch_tolerance: float = Field(
        0.02, gt=0, description="relative half-width that the batch sharpness aims for"
    )
    replacement: bool = Field(
        False, description="training drew the samples of a batch with replacement"
    )
    curvature_samples: int = Field(
        96, ge=8, description="samples whose own curvature is taken, drawn if there are more"
    )
    exact_parameters: int = Field(
        300, ge=0, description="parameters up to which the exact threshold is computed; 0: never"
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
class BatchSizes:
    """What each condition allows at other batch sizes; NaN where it does not apply."""

    plot = Plot(signal="max_lr", axes=("batch_size", "names"), band=("low", "high"))

    batch_size: np.ndarray = array("batch sizes", ("batch_size",), units="samples")
    names: tuple[str, ...] = array("conditions", ("names",))
    max_lr: np.ndarray = array(
        "largest stable learning rate", ("batch_size", "names"), units="learning rate"
    )
    low: np.ndarray = array(
        "lower end of its interval", ("batch_size", "names"), units="learning rate"
    )
    high: np.ndarray = array(
        "upper end of its interval", ("batch_size", "names"), units="learning rate"
    )
    smallest: np.ndarray = array(
        "smallest that any applicable condition allows", ("batch_size",), units="learning rate"
    )
    smallest_low: np.ndarray = array(
        "lower end of its interval", ("batch_size",), units="learning rate"
    )
    smallest_high: np.ndarray = array(
        "upper end of its interval", ("batch_size",), units="learning rate"
    )


@dataclass(frozen=True)
class StabilityResult:
    """Largest stable learning rates, and verdicts on the one in use."""

    lr: Estimate = metric("learning rate in use")
    batch_size: Estimate = metric("training batch size")
    momentum: Estimate = metric("momentum β of SGD")
    samples: Estimate = metric("size n of the training set")
    optimizer: Label = metric("optimizer, and how its steps are made")
    interpolates: Estimate = metric("1 if every training sample is fitted, else 0")
    sharpness_times_lr: Estimate = metric("λ_max · η / 2: 1 is the edge of stability")
    lr_over_max_lr: Estimate = metric(
        "η over the smallest limit of the conditions that apply: 1 is the edge"
    )
    gd_max_lr: Estimate = metric(
        "rule 1: 2/λ_max; with momentum β 2(1+β)/λ_max", units="learning rate"
    )
    preconditioned_lambda_max: Estimate = metric(
        "largest eigenvalue of P^-½HP^-½, P of the adaptive optimizer's state"
    )
    preconditioned_max_lr: Estimate = metric(
        "rule 1 of adaptive optimizers: 2(1+β₁)/((1−β₁)λ_max(P^-½HP^-½))", units="learning rate"
    )
    trace_max_lr: Estimate = metric(
        "rule 2: 2/tr(H), SGD with B = 1 (Wu & Su 2023)", units="learning rate"
    )
    trace_frobenius_max_lr: Estimate = metric(
        "rule 3: 2tr/(p·tr² + (1−p)‖H‖_F²)", units="learning rate"
    )
    nonuniformity: Estimate = metric("s = √λ_max(mean H_i² − H²)", units="loss")
    nonuniformity_max_lr: Estimate = metric(
        "condition 4, an indicator: the smaller of 2/λ_max and 1/(s√p) (Wu, Ma & E 2018)",
        units="learning rate",
    )
    alignment: Estimate = metric(
        "μ = Tr(ΣG)/(2L‖G‖_F²), Σ centred, square loss (Wu, Wang & Su 2022)"
    )
    alignment_max_lr: Estimate = metric("condition 5: 1/(‖G‖_F √(pμ))", units="learning rate")
    eigenvector_max_lr: Estimate = metric(
        "condition 6a: 2λ₁/(λ₁² + p Var_i(v₁ᵀH_iv₁))", units="learning rate"
    )
    norms_max_lr: Estimate = metric(
        "condition 6b: 2tr/((1−p)‖H‖_F² + p·mean ‖H_i‖_F²)", units="learning rate"
    )
    directions_max_lr: Estimate = metric(
        "condition 6c: 2/(vᵀHv + p Var_i(vᵀH_iv)/(vᵀHv)) at the v of an ascent",
        units="learning rate",
    )
    exact_max_lr: Estimate = metric(
        "condition 6: 2/λ_max(C†D), exact (Mulayoff & Michaeli 2024)", units="learning rate"
    )
    batch_sharpness: Estimate = metric(
        "E[g_BᵀH_Bg_B/‖g_B‖²] (Andreyev & Beneventano 2024)", units="loss"
    )
    batch_sharpness_max_lr: Estimate = metric("2 / batch sharpness", units="learning rate")
    sgd_max_lr: Estimate = metric(
        "smallest learning rate any applicable condition allows", units="learning rate"
    )
    conditions: Conditions = group("largest stable learning rate of each condition", Conditions)
    batch_sizes: BatchSizes | None = group(
        "largest stable learning rate of each condition over batch sizes", BatchSizes
    )
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
_BATCH = ("training.batch_size", "training.samples", "stability.replacement")
_ADAPTIVE = (*_CURVATURE, *_RULE, "training.betas", "training.eps")
_NOISE = (
    "nonuniformity_max_lr",
    "alignment_max_lr",
    "eigenvector_max_lr",
    "norms_max_lr",
    "directions_max_lr",
    "exact_max_lr",
)

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
            "lr_over_max_lr": (*_CURVATURE, *_RULE, *_BATCH),
            **dict.fromkeys(("preconditioned_lambda_max", "preconditioned_max_lr"), _ADAPTIVE),
            **dict.fromkeys(("nonuniformity", "alignment"), _CURVATURE),
            **dict.fromkeys(_NOISE, (*_CURVATURE, *_RULE, *_BATCH)),
            "gd_max_lr": (*_CURVATURE, *_RULE),
            "trace_max_lr": _CURVATURE,
            "trace_frobenius_max_lr": (*_CURVATURE, *_RULE, *_BATCH),
            "batch_sharpness": (*_CURVATURE, *_BATCH),
            "batch_sharpness_max_lr": (*_CURVATURE, *_RULE, *_BATCH),
            "sgd_max_lr": (*_CURVATURE, *_RULE, *_BATCH),
        },
        worse=("batch_sharpness",),
        given=("lr", "batch_size", "momentum", "samples"),
    ),
    figures="lla_plots.stability:figures",
    depends=(*ESTIMATES, "training"),
    files="lla.analyses.stability.series:files_of",
    check="lla.analyses.stability.along:check",
    question="Is it stable at its learning rate?",
    summary=(
        "lr",
        "batch_size",
        "lr_over_max_lr",
        "sharpness_times_lr",
        "gd_max_lr",
        "sgd_max_lr",
        "batch_sharpness",
    ),
    headline=(("lr", "learning rate in use"), ("sgd_max_lr", "largest stable rate")),
    remedies=(
        Remedy(("batch_sharpness",), "max_batches", 4),
        Remedy(("norms_max_lr", "alignment_max_lr"), "curvature_samples", 4),
    ),
    sections="lla_plots.words.stability:sections",
    steps="lla_plots.words.stability:steps",
)
