"""The groups of what a saliency analysis finds: layers' maps, pairs, checks, curvature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lla.analyses.fields import Plot, array, groups, metric

if TYPE_CHECKING:
    import numpy as np

    from lla.estimate import Estimate

__all__ = [
    "CurvatureMaps",
    "Deletion",
    "LayerCurvature",
    "PairMaps",
    "Randomization",
    "Ranking",
    "SaliencyMap",
    "Sheet",
]


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
