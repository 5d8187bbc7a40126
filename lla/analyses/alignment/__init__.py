"""Does this model see several domains the same way? Hessian alignment (Hemati et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from lla.analyses.analysis import Analysis, Compared, Config, Remedy
from lla.analyses.fields import Plot, array, group, groups, metric

if TYPE_CHECKING:
    import numpy as np

    from lla.estimate import Estimate, Label

__all__ = [
    "ANALYSIS",
    "MEASURES",
    "AlignConfig",
    "AlignResult",
    "Attributes",
    "Calibration",
    "Domains",
    "Matrix",
    "Pair",
    "Ranks",
    "Tilting",
]

MEASURES = {
    "spectral": "‖H_a − H_b‖₂, spectral norm of the difference of the Hessians",
    "frobenius": "‖H_a − H_b‖_F, its Frobenius norm",
    "gradient": "‖g_a − g_b‖, distance of the gradients",
    "cosine": "cosine between the gradients",
    "hgp": "‖H_a g_a − H_b g_b‖, distance of the Hessian–gradient products",
    "diagonal": "‖diag H_a − diag H_b‖, distance of the Hessians' diagonals",
    "loss": "loss of the column's domain less that of the row's",
    "accuracy": "accuracy of the column's domain less that of the row's",
}
"""The matrices between domains, by name."""


class AlignConfig(Config):
    """Settings of the alignment between domains."""

    domains: dict[str, str] = Field(
        default_factory=dict,
        description="data of a domain, as shifted=other.npz?split=test; with one alone, the "
        "analysed data is the other",
    )
    by: str = Field(
        "", description="key of whole numbers in the data's file that split it into domains"
    )
    scope: str = Field(
        "head", description="head (the last layer), all, or globs of parameters, as 'head.*'"
    )
    probes: int = Field(
        300, ge=20, description="random signs behind diagonals, where there is no closed form"
    )
    max_products: int = Field(
        500, ge=4, description="Lanczos products of a pair, at most, without a closed form"
    )
    replicates: int = Field(200, ge=0, description="bootstrap replicates; 0: none")
    hgp_alpha: float = Field(1e-4, ge=0, description="weight of H_e g_e in the HGP penalty")
    hgp_beta: float = Field(5e-3, ge=0, description="weight of g_e in the HGP penalty")
    hutchinson_alpha: float = Field(1e-3, ge=0, description="weight of diagonals in its penalty")
    hutchinson_beta: float = Field(5e-3, ge=0, description="weight of g_e in that penalty")


@dataclass(frozen=True)
class Domains:
    """What each domain is like for the network."""

    plot = Plot(signal="loss", axes=("names",), band=("loss_low", "loss_high"))

    names: tuple[str, ...] = array("domains", ("names",))
    samples: np.ndarray = array("samples of each", ("names",))
    loss: np.ndarray = array("loss over each", ("names",), units="loss")
    loss_low: np.ndarray = array(
        "lower end of its bootstrap interval over samples", ("names",), units="loss"
    )
    loss_high: np.ndarray = array("upper end", ("names",), units="loss")
    accuracy: np.ndarray = array("share of right predictions", ("names",))
    accuracy_low: np.ndarray = array("lower end of its bootstrap interval over samples", ("names",))
    accuracy_high: np.ndarray = array("upper end", ("names",))
    gradient_norm: np.ndarray = array("‖g_e‖ over the scope", ("names",), units="loss")
    trace: np.ndarray = array("trace of H_e over the scope", ("names",), units="loss")


@dataclass(frozen=True)
class Matrix:
    """One measure between all domains.

    The interval is of the value for the data analysed; what begins with ``sampling`` is of the
    larger sets that domains are samples of.
    """

    plot = Plot(signal="value", axes=("names", "."))

    names: tuple[str, ...] = array("domains", ("names",))
    value: np.ndarray = array("the measure, for a row's and a column's domain", ("names", "other"))
    low: np.ndarray = array("lower end of its interval", ("names", "other"))
    high: np.ndarray = array("upper end of its interval", ("names", "other"))
    sampling_stderr: np.ndarray = array(
        "standard error over samples, by bootstrap; NaN: unknown", ("names", "other")
    )
    sampling_low: np.ndarray = array(
        "lower end of the basic bootstrap interval over samples", ("names", "other")
    )
    sampling_high: np.ndarray = array("upper end", ("names", "other"))
    noise: np.ndarray = array(
        "what sampling alone gives, up to the confidence: distance of two samples of these sizes "
        "that would not differ; NaN where the measure is no distance",
        ("names", "other"),
    )


@dataclass(frozen=True)
class Pair:
    """Which classes and features carry H_a − H_b of a linear head; K classes, D features.

    The last feature is the 1 that stands for the bias, if the head has one.
    """

    plot = Plot(signal="blocks", axes=("classes", "."))

    classes: np.ndarray = array("classes", ("classes",))
    features: np.ndarray = array("features", ("features",))
    blocks: np.ndarray = array(
        "Frobenius norm of each pair of classes' block", ("classes", "other"), units="loss"
    )
    class_share: np.ndarray = array("share of the square norm by class", ("classes",))
    feature_share: np.ndarray = array("share of the square norm by feature", ("features",))
    eigenvalues: np.ndarray = array(
        "outer eigenvalues of H_a − H_b, the largest absolute ones first", ("mode",), units="loss"
    )
    eigenvector_classes: np.ndarray = array(
        "share of each class in each eigenvector", ("mode", "classes")
    )
    eigenvector_features: np.ndarray = array(
        "share of each feature in each eigenvector", ("mode", "features")
    )


@dataclass(frozen=True)
class Attributes:
    """In which attributes pairs of domains differ, of those that known methods align."""

    methods: tuple[str, ...] = array("method that aligns the attribute", ("methods",))
    what: tuple[str, ...] = array("the attribute", ("methods",))
    pairs: tuple[str, ...] = array("pairs of domains", ("pairs",))
    distance: np.ndarray = array("distance of the attribute", ("methods", "pairs"))
    relative: np.ndarray = array("the same over the attribute's mean size", ("methods", "pairs"))
    noise: np.ndarray = array(
        "what sampling alone gives, up to the confidence; NaN: unknown", ("methods", "pairs")
    )
    differs: np.ndarray = array(
        "1 where the distance is beyond that noise, else 0; NaN: unknown", ("methods", "pairs")
    )


@dataclass(frozen=True)
class Tilting:
    """How far the boundaries between classes are tilted (Tanay & Griffin 2016)."""

    names: tuple[str, ...] = array("domains", ("names",))
    classes: np.ndarray = array("classes", ("classes",))
    counts: np.ndarray = array("predictions of each class", ("names", "classes"))
    angle: np.ndarray = array(
        "angle between w_i − w_j and μ_i − μ_j", ("names", "classes", "other"), units="rad"
    )
    strength: np.ndarray = array(
        "½‖μ_i − μ_j‖ over the distance of μ_i from the boundary; NaN: on its wrong side",
        ("names", "classes", "other"),
    )


@dataclass(frozen=True)
class Calibration:
    """How far confidences are to be believed in each domain; intervals are over samples."""

    plot = Plot(signal="ece", axes=("names",), band=("ece_low", "ece_high"))

    names: tuple[str, ...] = array("domains", ("names",))
    bin: np.ndarray = array("middle of each bin of confidence", ("bin",))
    confidence: np.ndarray = array("mean confidence; NaN: no predictions", ("names", "bin"))
    accuracy: np.ndarray = array("share of right predictions", ("names", "bin"))
    count: np.ndarray = array("predictions", ("names", "bin"))
    nll: np.ndarray = array("mean −log p of the label", ("names",))
    nll_low: np.ndarray = array("lower end of its bootstrap interval", ("names",))
    nll_high: np.ndarray = array("upper end", ("names",))
    brier: np.ndarray = array("Brier score, mean ‖p − y‖²", ("names",))
    brier_low: np.ndarray = array("lower end of its bootstrap interval", ("names",))
    brier_high: np.ndarray = array("upper end", ("names",))
    ece: np.ndarray = array("expected calibration error", ("names",))
    ece_low: np.ndarray = array("lower end of its bootstrap interval", ("names",))
    ece_high: np.ndarray = array("upper end", ("names",))
    aurc: np.ndarray = array("area under the risk–coverage curve", ("names",))
    aurc_low: np.ndarray = array("lower end of its bootstrap interval", ("names",))
    aurc_high: np.ndarray = array("upper end", ("names",))


@dataclass(frozen=True)
class Ranks:
    """How well distances from the first domain rank the others by their drop in accuracy."""

    measures: tuple[str, ...] = array("distances", ("measures",))
    correlation: np.ndarray = array("Spearman's rank correlation", ("measures",))
    low: np.ndarray = array("lower end, bootstrap over samples", ("measures",))
    high: np.ndarray = array("upper end", ("measures",))
    domains_low: np.ndarray = array("lower end, bootstrap over samples and domains", ("measures",))
    domains_high: np.ndarray = array("upper end", ("measures",))


@dataclass(frozen=True)
class AlignResult:
    """How far apart the domains' gradients and Hessians are."""

    spectral_distance: Estimate = metric("largest ‖H_a − H_b‖₂ over pairs of domains", units="loss")
    frobenius_distance: Estimate = metric("largest ‖H_a − H_b‖_F", units="loss")
    gradient_distance: Estimate = metric("largest ‖g_a − g_b‖", units="loss")
    hgp_distance: Estimate = metric("largest ‖H_a g_a − H_b g_b‖", units="loss²")
    diagonal_distance: Estimate = metric("largest ‖diag H_a − diag H_b‖", units="loss")
    gradient_cosine: Estimate = metric("smallest cosine between two domains' gradients")
    loss_difference: Estimate = metric("largest |L_a − L_b|", units="loss")
    accuracy_difference: Estimate = metric("largest difference of two domains' accuracies")
    hgp_penalty: Estimate = metric("(1/E) Σ [α‖H_e g_e − H̄ḡ‖² + β‖g_e − ḡ‖²]")
    hutchinson_penalty: Estimate = metric("(1/E) Σ [α‖d_e − d̄‖² + β‖g_e − ḡ‖²]")
    calibration_error: Estimate = metric("largest expected calibration error of a domain")
    drop_correlation: Estimate = metric(
        "rank correlation of ‖H_a − H_b‖₂ from the first domain with the drop in accuracy"
    )
    scope: Label = metric("by which parameters, and how")
    farthest: Label = metric("the pair of domains with the largest spectral distance")
    domains: Domains = group("the domains", Domains)
    distances: Mapping[str, Matrix] = groups("matrices between domains", Matrix)
    pairs: Mapping[str, Pair] = groups("what carries the difference of each pair", Pair)
    attributes: Attributes | None = group("in which attributes domains differ", Attributes)
    ranks: Ranks | None = group("distances against drops in accuracy", Ranks)
    tilting: Tilting | None = group("tilting of class boundaries", Tilting)
    calibration: Calibration | None = group("calibration of each domain", Calibration)


_DISTANCES = (
    "spectral_distance",
    "frobenius_distance",
    "gradient_distance",
    "hgp_distance",
    "diagonal_distance",
)

ANALYSIS = Analysis(
    name="align",
    about="Distance of gradients and Hessians between domains",
    group="alignment",
    config=AlignConfig,
    result=AlignResult,
    run="lla.analyses.alignment.run:run",
    work="lla.analyses.work:of_alignment",
    check="lla.analyses.alignment.domains:check_files",
    compared=Compared(
        # Not the domains themselves: another week's data under one name is what is compared.
        alike=("network", "align.scope"),
        also={
            "hgp_penalty": ("align.hgp_alpha", "align.hgp_beta"),
            "hutchinson_penalty": ("align.hutchinson_alpha", "align.hutchinson_beta"),
        },
        worse=(
            *_DISTANCES,
            "accuracy_difference",
            "calibration_error",
            "hgp_penalty",
            "hutchinson_penalty",
        ),
    ),
    figures="lla_plots.alignment:figures",
    depends=("run.confidence", "run.tolerance"),
    needs=("domains", "by"),
    files="lla.analyses.alignment.domains:files_of",
    question="Does it see the domains the same way?",
    summary=(
        "scope",
        "farthest",
        "spectral_distance",
        "gradient_distance",
        "gradient_cosine",
        "hgp_distance",
        "accuracy_difference",
        "hgp_penalty",
        "hutchinson_penalty",
    ),
    headline=(("spectral_distance", "‖ΔH‖₂ between domains"),),
    remedies=(
        Remedy(("frobenius_distance", "diagonal_distance", "hutchinson_penalty"), "probes", 4),
        Remedy(("spectral_distance",), "max_products", 4),
    ),
    sections="lla_plots.words.alignment:sections",
)
