"""What does the loss look like around these weights?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from lla.analyses.analysis import Analysis, Compared, Config
from lla.analyses.fields import Plot, array, group, metric
from lla.analyses.spectrum import EIGENPAIRS

if TYPE_CHECKING:
    import numpy as np

    from lla.estimate import Estimate

__all__ = ["ANALYSIS", "Axes", "LandscapeConfig", "LandscapeResult", "Surface", "parse_range"]


def parse_range(text: str) -> tuple[float, float, int]:
    """Read ``start:stop:points``.

    Raises:
        ValueError: The text is not of that form, or the range is empty.
    """
    parts = text.split(":")
    if len(parts) != 3:
        raise ValueError(f"'{text}' is not of the form start:stop:points, as -1:1:51")
    start, stop, points = float(parts[0]), float(parts[1]), int(parts[2])
    if not start < stop or points < 2:
        raise ValueError(f"'{text}' needs start < stop and at least 2 points")
    return start, stop, points


def _checked(text: str) -> str:
    if text:
        parse_range(text)
    return text


Range = Annotated[str, AfterValidator(_checked)]


class LandscapeConfig(Config):
    """Settings of the loss landscape."""

    axes: Literal["hessian"] = Field("hessian", description="eigenvectors of λ_max and λ_min")
    x: Range = Field("", description="range of α as start:stop:points")
    y: Range = Field("", description="range of β as start:stop:points")
    points: int = Field(31, ge=3, description="points per axis where no range is given")
    rise: float = Field(
        1.0,
        gt=0,
        description="rise of ½|λ|α² at the edge; the loss itself rises at most three times as much",
    )
    residual: float = Field(
        0.1, gt=0, description="share of the rise from which the quadratic model counts as broken"
    )


@dataclass(frozen=True)
class Surface:
    """Loss and accuracy over the plane θ₀ + α d₁ + β d₂."""

    plot = Plot(signal="loss", axes=("alpha", "beta"))

    alpha: np.ndarray = array("distance along d₁", ("alpha",), units="parameter norm")
    beta: np.ndarray = array("distance along d₂", ("beta",), units="parameter norm")
    loss: np.ndarray = array("loss over the analysed data", ("alpha", "beta"), units="loss")
    accuracy: np.ndarray = array("share of right predictions", ("alpha", "beta"))
    quadratic: np.ndarray = array("second-order model of the loss", ("alpha", "beta"), units="loss")
    status: np.ndarray = array("status: 1 evaluated, 2 evaluated and not finite", ("alpha", "beta"))


@dataclass(frozen=True)
class Axes:
    """The two directions of the plane."""

    names: tuple[str, ...] = array("what the directions are", ("axis",))
    eigenvalues: np.ndarray = array("eigenvalues of the directions", ("axis",), units="loss")
    residuals: np.ndarray = array("residuals of the eigenvalues", ("axis",), units="loss")
    norms: np.ndarray = array(
        "Euclidean norms of the directions", ("axis",), units="parameter norm"
    )


@dataclass(frozen=True)
class LandscapeResult:
    """The surface and the checks that it passed or failed."""

    center_error: Estimate = metric("|L − L₀| at α = β = 0 by the grid's own path", units="loss")
    curvature_alpha: Estimate = metric(
        "curvature of the loss along d₁, by finite differences", units="loss"
    )
    curvature_beta: Estimate = metric(
        "curvature of the loss along d₂, by finite differences", units="loss"
    )
    cosine: Estimate = metric("cosine between d₁ and d₂")
    quadratic_radius: Estimate = metric(
        "distance up to which the quadratic model holds", units="parameter norm"
    )
    non_finite: Estimate = metric("number of points where the loss is not finite")
    surface: Surface = group("loss over the plane", Surface)
    axes: Axes = group("directions", Axes)


ANALYSIS = Analysis(
    name="landscape",
    about="Loss over a plane through the checkpoint, along Hessian axes",
    group="landscape",
    config=LandscapeConfig,
    result=LandscapeResult,
    run="lla.analyses.landscape.run:run",
    work="lla.analyses.work:of_landscape",
    compared=Compared(
        alike=("network",),
        also={"quadratic_radius": ("landscape.*",)},
        checks=("center_error", "curvature_alpha", "curvature_beta", "cosine", "non_finite"),
    ),
    figures="lla_plots.landscape:figures",
    depends=EIGENPAIRS,
    question="What does the loss look like around it?",
    summary=("center_error", "curvature_alpha", "curvature_beta", "quadratic_radius"),
    sections="lla_plots.words.landscape:sections",
    steps="lla_plots.words.landscape:steps",
)
