"""Where in the image does the network look? NormGrad maps (Rebuffi et al., CVPR 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from lla.analyses.analysis import Analysis, Compared, Config, Remedy
from lla.analyses.fields import array, group, groups, metric
from lla.analyses.saliency.names import Aggregation, MethodName, Virtual, parse_pair
from lla.analyses.saliency.results import (
    CurvatureMaps,
    Deletion,
    LayerCurvature,
    PairMaps,
    Randomization,
    Ranking,
    SaliencyMap,
    Sheet,
)
from lla.analyses.spectrum import EIGENPAIRS

if TYPE_CHECKING:
    import numpy as np

    from lla.estimate import Estimate

__all__ = [
    "ANALYSIS",
    "CurvatureMaps",
    "Deletion",
    "LayerCurvature",
    "PairMaps",
    "Randomization",
    "Ranking",
    "SaliencyConfig",
    "SaliencyMap",
    "SaliencyResult",
    "Sheet",
]


def _listed(value: Any) -> Any:
    if isinstance(value, str):
        value = [value]
    if isinstance(value, (list, tuple)):
        return tuple(part for one in value for part in str(one).split(",") if part)
    return (value,)


def _pairs(value: tuple[str, ...]) -> tuple[str, ...]:
    for text in value:
        if text != "all":
            parse_pair(text)
    return value


def _target(value: Any) -> str:
    text = str(value)
    if text not in ("predicted", "true", "least") and not text.isdecimal():
        raise ValueError("it is predicted, true, least, or the number of a class")
    return text


_Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
_Numbers = Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_listed)]


class SaliencyConfig(Config):
    """Settings of the saliency maps."""

    images: int = Field(16, gt=0, description="images, drawn by the seed from the analysed data")
    indices: _Numbers = Field((), description="these images instead, by position in the split")
    classes: _Numbers = Field((), description="only images of these classes")
    per_class: int = Field(0, ge=0, description="so many images of each class instead; 0: any")
    files: _Names = Field((), description="image files instead, scaled as the recipe says")
    layers: _Names = Field(
        (),
        description="layers by name, input for the image; by default the last of each resolution",
    )
    map: MethodName = Field(
        "normgrad",
        description="normgrad, selective_normgrad, gradient, input_x_gradient, linear or grad_cam",
    )
    virtual: Virtual | Literal[""] = Field(
        "",
        description="virtual layer in place of the map's: bias, scaling, conv1x1, conv3x3, "
        "depthwise3x3, or real for the layer's own convolution",
    )
    aggregation: Aggregation | Literal[""] = Field(
        "", description="aggregation in place of the map's: norm, positive_norm, sum, max, max_abs"
    )
    pairs: Annotated[_Names, AfterValidator(_pairs)] = Field(
        (), description="further maps from the same passes, as scaling/sum; all for every pair"
    )
    target: Annotated[str, BeforeValidator(_target)] = Field(
        "predicted", description="class that is explained: predicted, true, least, or its number"
    )
    score: Literal["logit", "probability", "loss"] = Field(
        "logit", description="what of the class is explained: logit, probability or loss"
    )
    combine: Literal["geometric", "product", "sum"] = Field(
        "geometric", description="how layers are combined: geometric mean, product or sum"
    )
    layer_weights: Literal["uniform", "linear", "activation"] = Field(
        "uniform", description="weights of the layers: uniform, linear in depth, by activation"
    )
    at_once: int = Field(32, gt=0, description="images in one pass")
    sheet: int = Field(10, ge=0, description="classes whose maps a contact sheet shows; 0: none")
    meta: bool = Field(True, description="maps after a step of gradient descent on each image")
    meta_lr: float = Field(0.0025, ge=0, description="learning rate of that step")
    randomize: int = Field(
        3, ge=0, description="networks whose weights are drawn anew, layer by layer; 0: none"
    )
    curve_steps: int = Field(
        16, ge=0, description="steps of the deletion and insertion curves; 0: none"
    )
    baseline: Literal["mean", "zero", "blur"] = Field(
        "mean", description="what stands for deleted pixels: the data's mean, zero, or a blur"
    )
    noise: float = Field(
        0.01, ge=0, description="noise on the parameters, relative to each tensor's size; 0: none"
    )
    noise_draws: int = Field(4, gt=0, description="draws of that noise")
    curvature: int = Field(
        0, ge=0, description="eigenvectors of the Hessian along which signed maps are made"
    )
    ranked: int = Field(
        0, ge=0, description="samples that are ranked by their own sharpness; 0: all analysed"
    )


@dataclass(frozen=True)
class SaliencyResult:
    """Saliency maps of some images, and what they are worth."""

    class_sensitivity: Estimate = metric(
        "mean rank correlation of most- and least-likely-class maps; lower is more sensitive"
    )
    meta_class_sensitivity: Estimate = metric(
        "the same of maps after a step of gradient descent on the image"
    )
    meta_agreement: Estimate = metric("rank correlation of those maps with the plain ones")
    randomized: Estimate = metric("rank correlation with maps of networks with random weights")
    randomized_beyond: Estimate = metric(
        "the same, given what maps of untrained networks have in common; 0 if weights decide"
    )
    randomized_on_ink: Estimate = metric("the first among the pixels of ink alone, in drawings")
    untrained_agreement: Estimate = metric(
        "rank correlation of untrained networks' maps with each other: what needs no training"
    )
    image_agreement: Estimate = metric(
        "rank correlation of the maps with a blur of the image: what needs no network"
    )
    deletion_gain: Estimate = metric(
        "how much lower the deletion curve is than in a random order; larger is better"
    )
    insertion_gain: Estimate = metric(
        "how much higher the insertion curve is than in a random order; larger is better"
    )
    noise_agreement: Estimate = metric("rank correlation with maps under parameter noise")
    ink_share: Estimate = metric("share of the map's mass on ink, in drawings")
    ink_uniform: Estimate = metric("the same of a uniform map: the share of pixels that are ink")
    degenerate: Estimate = metric("share of maps that are constant and say nothing")
    mean_sharpness: Estimate = metric(
        "mean of vᵀH_iv over ranked samples; λ_max where all are ranked", units="loss"
    )
    sharpest_share: Estimate = metric("share of that sum from the sharpest tenth of the samples")
    images: np.ndarray | None = array(
        "the images, as the network takes them", ("image", "channel", "y", "x")
    )
    indices: np.ndarray | None = array("positions of the images in the split", ("image",))
    predicted: np.ndarray | None = array("predicted class", ("image",))
    explained: np.ndarray | None = array("class whose score is explained", ("image",))
    targets: np.ndarray | None = array("given class", ("image",))
    combined: np.ndarray | None = array(
        "the layers' normalized maps combined, at the images' size", ("image", "y", "x")
    )
    weights: np.ndarray | None = array("weight of each layer in it", ("image", "layer"))
    meta: np.ndarray | None = array("the same after a step on the image", ("image", "y", "x"))
    maps: Mapping[str, SaliencyMap] = groups("maps by layer", SaliencyMap)
    pairs: Mapping[str, PairMaps] = groups("maps of further pairs of phases", PairMaps)
    sheet: Sheet | None = group("maps for each class", Sheet)
    randomization: Randomization | None = group("maps of randomized networks", Randomization)
    curves: Deletion | None = group("deletion and insertion curves", Deletion)
    curvature: CurvatureMaps | None = group("maps along eigenvectors", CurvatureMaps)
    ranking: Ranking | None = group("samples by their sharpness", Ranking)


ANALYSIS = Analysis(
    name="saliency",
    about="Saliency maps of some images, and what they are worth",
    group="saliency",
    config=SaliencyConfig,
    result=SaliencyResult,
    run="lla.analyses.saliency.run:run",
    work="lla.analyses.work:of_saliency",
    compared=Compared(
        alike=("saliency.layers", "saliency.map", "saliency.virtual", "saliency.aggregation"),
        checks=("degenerate",),
    ),
    figures="lla_plots.saliency:figures",
    depends=("run.confidence", *EIGENPAIRS),
    files="lla.analyses.saliency.pictures:files_of",
    check="lla.analyses.saliency.usable:check",
    question="What did the network look at?",
    summary=("class_sensitivity", "randomized_beyond", "deletion_gain"),
    remedies=(Remedy(("class_sensitivity",), "images", 4),),
    sections="lla_plots.words.saliency:sections",
)
