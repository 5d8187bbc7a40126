"""How sharp is the loss, in which directions, and what does the whole spectrum look like?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from lla.analyses.analysis import Analysis, Compared, Config, Remedy
from lla.analyses.fields import Plot, array, group, metric
from lla.curvature.names import OperatorName

if TYPE_CHECKING:
    import numpy as np

    from lla.estimate import Estimate, Label

__all__ = [
    "ANALYSIS",
    "EIGENPAIRS",
    "ESTIMATES",
    "Density",
    "Layers",
    "SpectrumConfig",
    "SpectrumResult",
    "Vectors",
]

# What the shared spectral products depend on (lla.analyses.spectral): whoever takes them does too.
EIGENPAIRS = (
    "spectrum.largest",
    "spectrum.smallest",
    "spectrum.residual_tolerance",
    "spectrum.max_steps",
    "spectrum.block",
    "spectrum.steps",
    "spectrum.probes",
    "training.samples",
)
ESTIMATES = (
    *EIGENPAIRS,
    "spectrum.nodes",
    "spectrum.max_probes",
    "spectrum.trace_method",
    "run.tolerance",
    "run.confidence",
)
TraceMethod = Literal["hutchinson", "hutchpp", "xtrace"]


class SpectrumConfig(Config):
    """Settings of the Hessian's spectrum."""

    largest: int = Field(5, ge=1, description="largest eigenvalues to certify")
    smallest: int = Field(2, ge=1, description="smallest eigenvalues to certify")
    operator: OperatorName = Field(
        "hessian", description="hessian, ggn, fisher or empirical_fisher"
    )
    residual_tolerance: float = Field(
        0.0, ge=0, description="residual over ‖H‖ at which a pair counts; 0: 1e-3, float64 1e-6"
    )
    max_steps: int = Field(300, ge=2, description="products for the eigenvalues, at most")
    block: int = Field(1, ge=1, description="vectors that the eigenvalues' iteration starts from")
    probes: int = Field(10, ge=2, description="random probes behind the density")
    steps: int = Field(
        100, ge=2, description="Lanczos steps behind the density, the eigenvalues' among them"
    )
    nodes: int = Field(20, ge=2, description="nodes of a probe's Gauss rule, behind K_H0.5")
    max_probes: int = Field(200, ge=2, description="probes for the trace, at most")
    trace_method: TraceMethod = Field("hutchinson", description="hutchinson, hutchpp or xtrace")
    layer_steps: int = Field(
        0, ge=0, description="Lanczos steps for each layer's largest eigenvalue; 0: from the whole"
    )
    eigenvectors: bool = Field(False, description="store the eigenvectors")
    diagonal: bool = Field(False, description="store the diagonal")


@dataclass(frozen=True)
class Density:
    """The smoothed spectral density with its band, and the quadrature it comes from."""

    plot = Plot(signal="density", axes=("eigenvalue",), band=("low", "high"))

    eigenvalue: np.ndarray = array(
        "eigenvalue, at the centre of each cell", ("eigenvalue",), units="loss"
    )
    density: np.ndarray = array(
        "share of eigenvalues per unit, mean over probes", ("eigenvalue",), units="1/loss"
    )
    low: np.ndarray = array(
        "lower end of the density's interval over probes", ("eigenvalue",), units="1/loss"
    )
    high: np.ndarray = array(
        "upper end of the density's interval over probes", ("eigenvalue",), units="1/loss"
    )
    width: Estimate = metric("standard deviation of the Gaussian that smooths", units="loss")
    nodes: np.ndarray = array("Ritz values of each probe", ("probe", "step"), units="loss")
    weights: np.ndarray = array(
        "weights of the Ritz values; each probe's sum to 1", ("probe", "step")
    )


@dataclass(frozen=True)
class Layers:
    """How the trace is shared among layers."""

    plot = Plot(signal="trace", axes=("names",), band=("low", "high"))

    names: tuple[str, ...] = array("layers", ("names",))
    parameters: np.ndarray = array("number of parameters", ("names",))
    trace: np.ndarray = array("trace of the layer's Hessian block", ("names",), units="loss")
    low: np.ndarray = array("lower end of the trace's interval", ("names",), units="loss")
    high: np.ndarray = array("upper end of the trace's interval", ("names",), units="loss")
    share: np.ndarray = array("share of the whole trace", ("names",))
    lambda_max: np.ndarray = array(
        "largest eigenvalue of the layer's block", ("names",), units="loss"
    )
    lambda_max_low: np.ndarray = array(
        "lower bound of the largest eigenvalue", ("names",), units="loss"
    )
    lambda_max_high: np.ndarray = array(
        "upper bound of the largest eigenvalue", ("names",), units="loss"
    )


@dataclass(frozen=True)
class Diagonal:
    """The diagonal, parameter by parameter, in the order of the flat vector."""

    value: np.ndarray = array("diagonal, mean over probes", ("parameter",), units="loss")
    stderr: np.ndarray = array("standard error of the diagonal", ("parameter",), units="loss")


@dataclass(frozen=True)
class Vectors:
    """Unit eigenvectors in the order of the eigenvalues, and where each parameter lies."""

    values: np.ndarray = array("eigenvectors in rows", ("pair", "parameter"))
    names: tuple[str, ...] = array("parameters", ("names",))
    start: np.ndarray = array("where each parameter begins", ("names",))


@dataclass(frozen=True)
class SpectrumResult:
    """Extreme eigenvalues, trace and norm, criteria, density."""

    lambda_max: Estimate = metric("algebraically largest eigenvalue", units="loss")
    lambda_min: Estimate = metric("algebraically smallest eigenvalue", units="loss")
    trace: Estimate = metric("trace of the matrix", units="loss")
    frobenius: Estimate = metric("Frobenius norm of the matrix", units="loss")
    effective_rank: Estimate = metric("tr(H)² / ‖H‖_F²")
    r_e: Estimate = metric("|λ_min / λ_max| (Gabdullin 2024)")
    C_t: Estimate = metric("λ_min / λ_max where λ_min < 0 (Gabdullin 2025)")
    K_H1: Estimate = metric("negative over positive mass of the spectrum, Σ|θ|w / Σθw")
    K_H05: Estimate = metric("the same with exponent ½; depends on the number of nodes", "K_H0.5")
    near_zero: Estimate = metric("share of eigenvalues within 0.001·‖H‖ of zero")
    operator: Label = metric("which matrix all of this is of")
    type: Label = metric("kind of spectrum: mainly positive, mainly negative or quasi-singular")
    eigenvalues: np.ndarray = array("certified eigenvalues, descending", ("pair",), units="loss")
    residuals: np.ndarray = array("‖Hv − λv‖ of each eigenvalue", ("pair",), units="loss")
    sampling: np.ndarray = array(
        "standard error of each eigenvalue from having used a sample", ("pair",), units="loss"
    )
    converged: np.ndarray = array("whether each residual met its tolerance", ("pair",))
    density: Density = group("spectral density", Density)
    layers: Layers = group("trace and largest eigenvalue by layer", Layers)
    eigenvectors: Vectors | None = group("eigenvectors, if asked for", Vectors)
    diagonal: Diagonal | None = group("diagonal, if asked for", Diagonal)


ANALYSIS = Analysis(
    name="spectrum",
    about="Hessian eigenvalues, trace, density and the criteria drawn from them",
    group="hessian",
    config=SpectrumConfig,
    result=SpectrumResult,
    run="lla.analyses.spectrum.run:run",
    work="lla.analyses.work:of_spectrum",
    compared=Compared(
        alike=("network", "operator"),
        also={"K_H0.5": ("spectrum.nodes", "spectrum.probes", "spectrum.steps")},
        worse=("lambda_max", "trace", "frobenius"),
        # It moves with where the quadrature's nodes fall: on equal weights with two seeds, by more
        # than its interval, which is over the probes of one run.
        indicative=("K_H0.5",),
    ),
    figures="lla_plots.spectrum:figures",
    sharded=True,
    depends=ESTIMATES,
    question="How sharp is it?",
    summary=(
        "lambda_max",
        "lambda_min",
        "trace",
        "frobenius",
        "effective_rank",
        "r_e",
        "C_t",
        "K_H1",
        "K_H0.5",
        "type",
    ),
    headline=(("lambda_max", "λ_max"), ("trace", "trace of the Hessian")),
    remedies=(
        Remedy(("lambda_max", "lambda_min"), "max_steps", 2),
        Remedy(("trace", "frobenius", "effective_rank"), "max_probes", 4),
        Remedy(("K_H1", "near_zero"), "steps", 4),
        Remedy(("K_H0.5",), "probes", 4),
    ),
    sections="lla_plots.words.spectrum:sections",
)
