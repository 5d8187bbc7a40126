"""Where in the image does the network look? NormGrad maps (Rebuffi et al., CVPR 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from lla.analyses.analysis import Analysis, Compared, Config, Remedy
from lla.analyses.fields import Plot, array, groups, metric

if TYPE_CHECKING:
    import numpy as np

    from lla.estimate import Estimate

__all__ = ["ANALYSIS", "SaliencyConfig", "SaliencyMap", "SaliencyResult"]


class SaliencyConfig(Config):
    """Settings of the saliency maps."""

    images: int = Field(16, gt=0, description="images, drawn by the seed from the analysed data")
    layers: tuple[str, ...] = Field(
        (), description="layers by name; by default the last of each resolution"
    )


@dataclass(frozen=True)
class SaliencyMap:
    """The maps of one layer."""

    plot = Plot(signal="raw", axes=(".", ".", "."))

    raw: np.ndarray = array("‖a_u‖‖g_u‖ at each location u", ("image", "row", "column"))
    normalized: np.ndarray = array("scaled to [0, 1] per image", ("image", "row", "column"))
    degenerate: np.ndarray = array("whether the map is constant", ("image",))


@dataclass(frozen=True)
class SaliencyResult:
    """NormGrad maps of some images, and how much they depend on the class."""

    class_sensitivity: Estimate = metric(
        "mean rank correlation of most- and least-likely-class maps; lower is more sensitive"
    )
    images: np.ndarray | None = array(
        "the images, as the network takes them", ("image", "channel", "y", "x")
    )
    indices: np.ndarray | None = array("positions of the images in the split", ("image",))
    predicted: np.ndarray | None = array("predicted class, whose logit is explained", ("image",))
    targets: np.ndarray | None = array("given class", ("image",))
    combined: np.ndarray | None = array(
        "geometric mean of the normalized maps, at the images' size", ("image", "y", "x")
    )
    maps: Mapping[str, SaliencyMap] = groups("maps by layer", SaliencyMap)


ANALYSIS = Analysis(
    name="saliency",
    about="NormGrad saliency maps of some images",
    group="saliency",
    config=SaliencyConfig,
    result=SaliencyResult,
    run="lla.analyses.saliency.run:run",
    work="lla.analyses.work:of_saliency",
    compared=Compared(alike=("saliency.layers",)),
    figures="lla_plots.saliency:figures",
    depends=("run.confidence",),
    question="What did the network look at?",
    summary=("class_sensitivity",),
    remedies=(Remedy(("class_sensitivity",), "images", 4),),
    sections="lla_plots.words.saliency:sections",
)
