"""What does the loss look like around these weights?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from lla.analyses.analysis import Analysis, Compared, Config, Names
from lla.analyses.fields import Plot, array, group, groups, metric
from lla.analyses.spectrum import EIGENPAIRS

if TYPE_CHECKING:
    import numpy as np

    from lla.estimate import Estimate, Label

__all__ = [
    "ANALYSIS",
    "EVALUATED",
    "FILLED",
    "NOT_EVALUATED",
    "NOT_FINITE",
    "Axes",
    "Band",
    "LandscapeConfig",
    "LandscapeResult",
    "Panel",
    "Path",
    "Profiles",
    "Surface",
    "Topology",
    "Trajectory",
    "parse_range",
]

NOT_EVALUATED, EVALUATED, NOT_FINITE, FILLED = 0, 1, 2, 3


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
NormalizationName = Literal["auto", "none", "filter", "layer", "model", "weight"]


class LandscapeConfig(Config):
    """Settings of the loss landscape."""

    axes: Names = Field(
        ("hessian",),
        description="directions: hessian, random, gradient, adam, between, pca, file:PATH; a "
        "member as hessian:0, hessian:-1, hessian:0..9",
    )
    form: Literal["auto", "plane", "lines"] = Field(
        "auto", description="a plane of two directions, or a line along each; auto: by their number"
    )
    x: Range = Field(
        "",
        description="range of α, or of every line, as start:stop:points; all points are evaluated",
    )
    y: Range = Field(
        "",
        description="range of β, or of the second line, as start:stop:points; all points are "
        "evaluated",
    )
    points: int = Field(31, ge=3, description="points per axis where no range is given")
    accuracy: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="error allowed where points are filled in, over the loss' range; 0: evaluate "
        "all; left out: 0.01 where no range is given",
    )
    rise: float = Field(
        1.0,
        gt=0,
        description="rise of ½|λ|α² at the edge; the loss itself rises at most three times as much",
    )
    residual: float = Field(
        0.1, gt=0, description="share of the rise from which the quadratic model counts as broken"
    )
    normalization: NormalizationName = Field(
        "auto",
        description="none, filter, layer, model or weight; auto: filter for random directions",
    )
    order: Literal["l1", "l2"] = Field("l2", description="norm of the normalization")
    ignore: Literal["none", "biasbn"] = Field(
        "none", description="biasbn: biases and batch norm's parameters do not move"
    )
    move: Names = Field((), description="globs of the parameters that move; all if empty")
    freeze: Names = Field((), description="globs of the parameters that do not move")
    orthogonal: bool = Field(
        False, description="make the second direction orthogonal to the first, after normalization"
    )
    rule: Literal["add", "adam"] = Field(
        "add", description="add: θ + αd₁ + βd₂; adam: θ − α·m₁/(√m₂ + β), of the optimizer's state"
    )
    statistics: Literal["fixed", "recomputed"] = Field(
        "fixed", description="batch norm's statistics: the checkpoint's, or each point's own"
    )
    checkpoints: Names = Field(
        (), description="other checkpoints of the same network, for between and pca"
    )
    curve: Literal["none", "bezier", "chain"] = Field(
        "none", description="train a curve of low loss to the other checkpoint"
    )
    curve_steps: int = Field(300, ge=1, description="training steps of the curve")
    curve_lr: float = Field(0.0, ge=0, description="their learning rate; 0: from the distance")
    workers: int = Field(
        0,
        ge=0,
        description="points evaluated at once, each by a copy of the network: on the cores, or on "
        "as many GPUs; 0: measured",
    )
    metrics: Names = Field(
        (),
        description="further metrics of the same passes: top5, nll, margin, confidence, brier, or "
        "file.py:function(outputs, targets)",
    )
    also: str = Field("", description="further data beside, as data.npz?split=test")
    repeats: int = Field(1, ge=1, description="planes of random directions, for a band over them")
    panel: Names = Field(
        (), description="further planes beside, as AXES/NORMALIZATION: random/filter,hessian/none"
    )


@dataclass(frozen=True)
class Surface:
    """Loss and accuracy over the plane θ₀ + α d₁ + β d₂."""

    plot = Plot(signal="loss", axes=("alpha", "beta"))

    alpha: np.ndarray = array("distance along d₁", ("alpha",), units="‖d₁‖")
    beta: np.ndarray = array("distance along d₂", ("beta",), units="‖d₂‖")
    loss: np.ndarray = array("loss over the analysed data", ("alpha", "beta"), units="loss")
    accuracy: np.ndarray = array("share of right predictions", ("alpha", "beta"))
    quadratic: np.ndarray = array("second-order model", ("alpha", "beta"), units="loss")
    status: np.ndarray = array(
        "1 evaluated, 2 evaluated and not finite, 3 filled in, 0 not evaluated (of an import)",
        ("alpha", "beta"),
    )
    error: np.ndarray = array(
        "estimated error of the loss where it is filled in", ("alpha", "beta"), units="loss"
    )
    also_loss: np.ndarray | None = array(
        "loss over the further data", ("alpha", "beta"), units="loss"
    )
    also_accuracy: np.ndarray | None = array(
        "share of right predictions on the further data", ("alpha", "beta")
    )
    metrics: tuple[str, ...] | None = array("names of further metrics", ("metric",))
    metric_values: np.ndarray | None = array(
        "mean of each over the analysed data", ("metric", "alpha", "beta")
    )
    also_metric_values: np.ndarray | None = array(
        "mean of each over the further data", ("metric", "alpha", "beta")
    )


@dataclass(frozen=True)
class Profiles:
    """Loss and accuracy along lines through the checkpoint.

    Lines may have ranges of their own: those of fewer points end in NaN, in all arrays.
    """

    names: tuple[str, ...] = array("directions", ("line",))
    distance: np.ndarray = array(
        "distance along each; NaN beyond a line's own points", ("line", "point"), units="‖d‖"
    )
    loss: np.ndarray = array("loss over the analysed data", ("line", "point"), units="loss")
    accuracy: np.ndarray = array("share of right predictions", ("line", "point"))
    quadratic: np.ndarray = array("second-order model", ("line", "point"), units="loss")
    also_loss: np.ndarray | None = array("loss over the further data", ("line", "point"), "loss")
    also_accuracy: np.ndarray | None = array(
        "share of right predictions on the further data", ("line", "point")
    )
    metrics: tuple[str, ...] | None = array("names of further metrics", ("metric",))
    metric_values: np.ndarray | None = array(
        "mean of each over the analysed data", ("metric", "line", "point")
    )
    also_metric_values: np.ndarray | None = array(
        "mean of each over the further data", ("metric", "line", "point")
    )


@dataclass(frozen=True)
class Axes:
    """The directions."""

    names: tuple[str, ...] = array("what they are", ("axis",))
    eigenvalues: np.ndarray = array("their eigenvalues; NaN for others", ("axis",), units="loss")
    residuals: np.ndarray = array("their residuals; NaN for others", ("axis",), units="loss")
    norms: np.ndarray = array("their Euclidean norms", ("axis",), units="parameter norm")
    slope: np.ndarray = array("gᵀd, the loss' slope along each", ("axis",), units="loss")
    curvature: np.ndarray = array("dᵀHd, the loss' curvature along each", ("axis",), units="loss")
    measured: np.ndarray = array(
        "the same by finite differences of the loss", ("axis",), units="loss"
    )
    measured_low: np.ndarray = array("its lower bound", ("axis",), units="loss")
    measured_high: np.ndarray = array("its upper bound", ("axis",), units="loss")
    cosines: np.ndarray = array("cosines between the directions", ("axis", "other"))
    kinks: np.ndarray | None = array(
        "what jumps of the slope at kinks add to the curvature within the differences' step, "
        "looked for where the two differ; NaN elsewhere",
        ("axis",),
        units="loss",
    )
    kinks_error: np.ndarray | None = array("its error", ("axis",), units="loss")


@dataclass(frozen=True)
class Trajectory:
    """Other checkpoints of the network, projected on the plane."""

    names: tuple[str, ...] = array("checkpoints", ("checkpoint",))
    coordinates: np.ndarray = array("(α, β) of the nearest point", ("checkpoint", "axis"))
    loss: np.ndarray = array("their own loss", ("checkpoint",), units="loss")
    accuracy: np.ndarray = array("their own accuracy", ("checkpoint",))
    plane_loss: np.ndarray = array("loss at the nearest point", ("checkpoint",), units="loss")
    distance: np.ndarray = array("distance from the plane", ("checkpoint",), units="parameter norm")
    epoch: np.ndarray | None = array("epochs; NaN where a file does not say", ("checkpoint",))


@dataclass(frozen=True)
class Topology:
    """Minima of the surface and the saddles at which their basins meet deeper ones."""

    alpha: np.ndarray = array("where each minimum is", ("minimum",), units="‖d₁‖")
    beta: np.ndarray = array("where each minimum is", ("minimum",), units="‖d₂‖")
    loss: np.ndarray = array("loss at each minimum", ("minimum",), units="loss")
    saddle_alpha: np.ndarray = array(
        "where its basin meets a deeper one; NaN for the deepest", ("minimum",), units="‖d₁‖"
    )
    saddle_beta: np.ndarray = array("the same along β", ("minimum",), units="‖d₂‖")
    saddle_loss: np.ndarray = array("loss at that saddle", ("minimum",), units="loss")
    persistence: np.ndarray = array("the saddle's loss less its own", ("minimum",), units="loss")
    parent: np.ndarray = array("place of the deeper minimum in this list; −1: none", ("minimum",))


@dataclass(frozen=True)
class Path:
    """A curve between two checkpoints, and the straight line beside it."""

    t: np.ndarray = array("0 at the checkpoint, 1 at the other", ("point",))
    loss: np.ndarray = array("loss along the curve", ("point",), units="loss")
    accuracy: np.ndarray = array("share of right predictions", ("point",))
    straight_loss: np.ndarray = array("loss along the line", ("point",), units="loss")
    straight_accuracy: np.ndarray = array("share of right predictions there", ("point",))
    length: np.ndarray = array("lengths of curve and line", ("curve",), units="parameter norm")
    kind: tuple[str, ...] = array("bezier or chain", ("label",))


@dataclass(frozen=True)
class Band:
    """The loss over repeated planes, each with random directions of its own."""

    plot = Plot(signal="mean", axes=("alpha", "beta"))

    alpha: np.ndarray = array("distance along d₁", ("alpha",), units="‖d₁‖")
    beta: np.ndarray = array("distance along d₂", ("beta",), units="‖d₂‖")
    mean: np.ndarray = array("mean over the planes", ("alpha", "beta"), units="loss")
    low: np.ndarray = array("10 % quantile over the planes", ("alpha", "beta"), units="loss")
    high: np.ndarray = array("90 % quantile over the planes", ("alpha", "beta"), units="loss")
    loss: np.ndarray = array("every plane", ("plane", "alpha", "beta"), units="loss")


@dataclass(frozen=True)
class Panel:
    """A further plane beside the first."""

    normalization: tuple[str, ...] = array("how directions were scaled", ("label",))
    surface: Surface = group("loss over the plane", Surface)
    axes: Axes = group("directions", Axes)


@dataclass(frozen=True)
class LandscapeResult:
    """The loss over a plane or along lines, and the checks that it passed or failed."""

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
    evaluated: Estimate = metric("share of the grid's points that were evaluated")
    filling_error: Estimate = metric("largest estimated error of a filled point", units="loss")
    barrier: Estimate = metric("rise of the loss on the line to another checkpoint", units="loss")
    curve_barrier: Estimate = metric("the same on the curve that was trained", units="loss")
    checks: Label = metric("whether the picture agrees with the checkpoint and its curvature")
    axes: Axes = group("directions", Axes)
    surface: Surface | None = group("loss over the plane", Surface)
    profiles: Profiles | None = group("loss along lines", Profiles)
    trajectory: Trajectory | None = group("other checkpoints", Trajectory)
    topology: Topology | None = group("minima and saddles of the surface", Topology)
    path: Path | None = group("curve to another checkpoint", Path)
    band: Band | None = group("repeated planes", Band)
    panel: dict[str, Panel] = groups("further planes", Panel)


ANALYSIS = Analysis(
    name="landscape",
    about="Loss over a plane or along lines through the checkpoint",
    group="landscape",
    config=LandscapeConfig,
    result=LandscapeResult,
    run="lla.analyses.landscape.run:run",
    work="lla.analyses.work:of_landscape",
    compared=Compared(
        alike=("network",),
        also={
            "quadratic_radius": ("landscape.*",),
            "barrier": ("landscape.*",),
            "curve_barrier": ("landscape.*",),
        },
        checks=(
            "center_error",
            "curvature_alpha",
            "curvature_beta",
            "cosine",
            "non_finite",
            "evaluated",
            "filling_error",
        ),
    ),
    figures="lla_plots.landscape:figures",
    depends=EIGENPAIRS,
    files="lla.analyses.landscape.series:files_of",
    check="lla.analyses.landscape.usable:check",
    question="What does the loss look like around it?",
    sections="lla_plots.words.landscape:sections",
    steps="lla_plots.words.landscape:steps",
    summary=(
        "checks",
        "center_error",
        "curvature_alpha",
        "curvature_beta",
        "quadratic_radius",
        "evaluated",
        "filling_error",
    ),
)
