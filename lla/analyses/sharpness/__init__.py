"""How much does the loss rise around these weights, by each measure of the literature?

A room of its own, because it asks of the weights alone: no learning rate, no verdict, another page
section, and other invariances than the stability conditions, which speak of a training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from lla.analyses.analysis import Analysis, Compared, Config, Remedy
from lla.analyses.fields import array, group, metric
from lla.analyses.spectrum import ESTIMATES

if TYPE_CHECKING:
    from lla.estimate import Estimate, Label

__all__ = ["ANALYSIS", "DEPENDS", "MEASURES", "Measures", "SharpnessConfig", "SharpnessResult"]

DEPENDS = (*ESTIMATES, "training.batch_size")

_NOTHING = "rotations of θ only"
_ELEMENTS = "positive rescaling of weights, as of nodes and layers of ReLU nets"
_LAYERS = "rescaling of whole layers of ReLU nets"
MEASURES = {
    "sam": (_NOTHING, "Foret et al. 2021, arXiv 2010.01412"),
    "m_sharpness": (_NOTHING, "Foret et al. 2021, section 4.1"),
    "asam": (_ELEMENTS, "Kwon et al. 2021, arXiv 2102.11600"),
    "average": (_NOTHING, "Neyshabur et al. 2017, arXiv 1706.08947"),
    "scaled_average": (_ELEMENTS, "Andriushchenko et al. 2023, arXiv 2302.07011"),
    "fisher_rao": (
        "every linear change of θ that keeps the network's function",
        "Liang et al. 2019, arXiv 1711.01530",
    ),
    "relative_flatness": (_LAYERS, "Petzka et al. 2021, arXiv 2001.00939"),
}
"""What leaves each measure unchanged, and where it comes from."""


class SharpnessConfig(Config):
    """Settings of the sharpness measures."""

    rho: float = Field(0.05, gt=0, description="radius ρ of SAM's ball ‖ε‖ ≤ ρ")
    adaptive_rho: float = Field(0.5, gt=0, description="radius ρ of ASAM's ball ‖ε/(|θ|+η)‖ ≤ ρ")
    eta: float = Field(
        0.0, ge=0, description="η that ASAM adds to |θ|; above 0 the measure is not invariant"
    )
    ascent: int = Field(5, ge=1, description="gradient steps towards the worst point of a ball")
    sigma: float = Field(0.01, gt=0, description="σ of the noise θ + σz of the average case")
    scaled_sigma: float = Field(0.1, gt=0, description="σ of the relative noise θ + σ|θ|z")
    max_pairs: int = Field(50, ge=4, description="antithetic pairs of random points, at most")
    max_batches: int = Field(20, ge=4, description="random batches of the m-sharpness, at most")
    share: float = Field(
        0.2, gt=0, lt=1, description="relative half-width that sampled measures aim for"
    )
    m: int = Field(0, ge=0, description="samples of a batch of the m-sharpness; 0: as trained")
    layer: str = Field(
        "", description="linear layer of the relative flatness; by default the last one called"
    )


@dataclass(frozen=True)
class Measures:
    """What leaves each measure unchanged, and its source."""

    names: tuple[str, ...] = array("measure", ("names",))
    invariant: tuple[str, ...] = array("does not change under", ("names",))
    source: tuple[str, ...] = array("source", ("names",))


@dataclass(frozen=True)
class SharpnessResult:
    """Rises of the loss around the checkpoint, and norms that bound them."""

    sam: Estimate = metric(
        "SAM sharpness: the largest rise found within ‖ε‖ ≤ ρ, a lower bound of the maximum",
        units="loss",
    )
    sam_order1: Estimate = metric("its first-order form ρ‖g‖", units="loss")
    sam_order2: Estimate = metric("its form ρ‖g‖ + ½ρ² gᵀHg/‖g‖²", units="loss")
    m_sharpness: Estimate = metric(
        "m-sharpness: mean over batches of each one's rise after its own step of length ρ",
        units="loss",
    )
    asam: Estimate = metric(
        "ASAM sharpness: the largest rise found within ‖ε/(|θ|+η)‖ ≤ ρ, a lower bound",
        units="loss",
    )
    asam_order1: Estimate = metric("its first-order form ρ‖Tg‖, T = |θ|+η", units="loss")
    asam_order2: Estimate = metric("its form ρ‖Tg‖ + ½ρ² (T²g)ᵀH(T²g)/‖Tg‖²", units="loss")
    average: Estimate = metric("average-case sharpness E[L(θ+σz)] − L(θ)", units="loss")
    average_order2: Estimate = metric("its second-order form ½σ² tr(H)", units="loss")
    scaled_average: Estimate = metric(
        "the same relative to each weight, E[L(θ+σ|θ|z)] − L(θ)", units="loss"
    )
    scaled_average_order2: Estimate = metric("its second-order form ½σ² Σ θ²H_ii", units="loss")
    fisher_rao: Estimate = metric("squared Fisher–Rao norm θᵀFθ, F of the data's own targets")
    relative_flatness: Estimate = metric(
        "relative flatness Σ ⟨w_s, w_s'⟩ tr(H_ss') of one layer", units="loss"
    )
    layer: Label = metric("the layer of the relative flatness")
    measures: Measures = group("what the measures are", Measures)


_SAM = ("sharpness.rho", "sharpness.ascent")
_ASAM = ("sharpness.adaptive_rho", "sharpness.eta")

ANALYSIS = Analysis(
    name="sharpness",
    about="Sharpness measures: SAM, ASAM, average-case, Fisher–Rao, relative flatness",
    group="sharpness",
    config=SharpnessConfig,
    result=SharpnessResult,
    run="lla.analyses.sharpness.run:run",
    work="lla.analyses.work:of_sharpness",
    compared=Compared(
        alike=("network",),
        also={
            "sam": _SAM,
            "sam_order1": _SAM[:1],
            "sam_order2": _SAM[:1],
            "m_sharpness": ("sharpness.rho", "sharpness.m", "training.batch_size"),
            "asam": (*_ASAM, "sharpness.ascent"),
            "asam_order1": _ASAM,
            "asam_order2": _ASAM,
            "average": ("sharpness.sigma",),
            "average_order2": ("sharpness.sigma",),
            "scaled_average": ("sharpness.scaled_sigma",),
            "scaled_average_order2": ("sharpness.scaled_sigma",),
            "relative_flatness": ("sharpness.layer",),
        },
        worse=("sam", "asam", "average", "scaled_average"),
    ),
    figures="lla_plots.sharpness:figures",
    depends=DEPENDS,
    question="How much does the loss rise around it?",
    summary=("sam", "asam", "average", "relative_flatness"),
    remedies=(
        Remedy(("average", "scaled_average"), "max_pairs", 4),
        Remedy(("m_sharpness",), "max_batches", 4),
    ),
    sections="lla_plots.words.sharpness:sections",
)
