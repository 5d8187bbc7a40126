"""Where in the image does the network look? NormGrad maps (Rebuffi et al., CVPR 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from lla.analyses.analysis import Analysis, Compared, Config, Remedy
from lla.analyses.fields import Plot, array, group, groups, metric
from lla.analyses.saliency.names import Aggregation, MethodName, Virtual, parse_pair
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
class SaliencyMap:
    """The maps of one layer."""

    plot = Plot(signal="raw", axes=(".", ".", "."))

    raw: np.ndarray = array(
        "what location u adds, aggregated over channels", ("image", "row", "column")
    )
    normalized: np.ndarray = array("scaled to [0, 1] per image", ("image", "row", "column"))
    degenerate: np.ndarray = array("whether the map is constant", ("image",))


@dataclass(frozen=True)
class PairMaps:
    """The maps of another virtual layer with another aggregation."""

    combined: np.ndarray = array("the layers' maps combined", ("image", "y", "x"))
    class_sensitivity: Estimate = metric("rank correlation of most- and least-likely-class maps")
    agreement: Estimate = metric("rank correlation with the main maps")


@dataclass(frozen=True)
class Sheet:
    """Maps of some images for each of some classes."""

    shown: np.ndarray = array("places of the images among those above", ("shown",))
    classes: np.ndarray = array("classes that are explained", ("class",))
    maps: np.ndarray = array(
        "the layers' maps combined, at most 64 pixels a side", ("shown", "class", "row", "column")
    )


@dataclass(frozen=True)
class Randomization:
    """Maps as weights are drawn anew from the output down (Adebayo et al. 2018)."""

    names: tuple[str, ...] = array("the last module drawn anew", ("depth",))
    correlation: np.ndarray = array("rank correlation with the checkpoint's maps", ("depth",))
    low: np.ndarray = array("its lower bound", ("depth",))
    high: np.ndarray = array("its upper bound", ("depth",))
    beyond: np.ndarray = array(
        "the same, given what maps of untrained networks have in common", ("depth",)
    )
    beyond_low: np.ndarray = array("its lower bound", ("depth",))
    beyond_high: np.ndarray = array("its upper bound", ("depth",))


@dataclass(frozen=True)
class Deletion:
    """Probability of the explained class as pixels are taken away, or given."""

    share: np.ndarray = array("share of the pixels", ("share",))
    deletion: np.ndarray = array("taken away, in the map's order; mean over images", ("share",))
    deletion_low: np.ndarray = array("its lower bound", ("share",))
    deletion_high: np.ndarray = array("its upper bound", ("share",))
    insertion: np.ndarray = array("given, in the map's order; mean over images", ("share",))
    insertion_low: np.ndarray = array("its lower bound", ("share",))
    insertion_high: np.ndarray = array("its upper bound", ("share",))
    random_deletion: np.ndarray = array("taken away in a random order", ("share",))
    random_insertion: np.ndarray = array("given in a random order", ("share",))


@dataclass(frozen=True)
class LayerCurvature:
    """A layer's share of the slope along eigenvectors, location by location."""

    raw: np.ndarray = array(
        "g_uᵀẏ_u, how the loss moves as the layer's weights do",
        ("direction", "image", "row", "column"),
        units="loss",
    )


@dataclass(frozen=True)
class CurvatureMaps:
    """Where images push along eigenvectors of the Hessian, and what makes their loss sharp."""

    eigenvalues: np.ndarray = array("eigenvalues", ("direction",), units="loss")
    residuals: np.ndarray = array("their residuals", ("direction",), units="loss")
    maps: np.ndarray = array(
        "shares of vᵀ∇L_i, with their signs", ("direction", "image", "y", "x"), units="loss"
    )
    slopes: np.ndarray = array("vᵀ∇L_i of each image's loss", ("direction", "image"), units="loss")
    elsewhere: np.ndarray = array(
        "the part of it from parameters that act at no place", ("direction", "image"), units="loss"
    )
    sharpness: np.ndarray = array(
        "vᵀH_iv of each image's loss along the first", ("image",), units="loss"
    )
    sharpness_maps: np.ndarray = array(
        "its derivative by each pixel", ("image", "channel", "y", "x"), units="loss/input"
    )
    layers: Mapping[str, LayerCurvature] = groups("maps by layer", LayerCurvature)


@dataclass(frozen=True)
class Ranking:
    """Samples by their own sharpness along the first eigenvector, the sharpest first."""

    sample: np.ndarray = array("positions in the split", ("sample",))
    sharpness: np.ndarray = array("vᵀH_iv of the sample's own loss", ("sample",), units="loss")
    shown: np.ndarray = array("places in this ranking: sharpest, then flattest", ("shown",))
    images: np.ndarray = array("those samples", ("shown", "channel", "y", "x"))
    targets: np.ndarray | None = array("their class", ("shown",))
    predicted: np.ndarray = array("their predicted class", ("shown",))


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
    question="What did the network look at?",
    summary=("class_sensitivity", "randomized_beyond", "deletion_gain"),
    remedies=(Remedy(("class_sensitivity",), "images", 4),),
    sections="lla_plots.words.saliency:sections",
)
