"""Small results and reports made by hand."""

import math
from dataclasses import replace

import numpy as np

from lla.analyses.alignment import (
    AlignResult,
    Attributes,
    Calibration,
    Domains,
    Matrix,
    Pair,
    Ranks,
    Tilting,
)
from lla.analyses.baseline import BaselineResult
from lla.analyses.landscape import Axes, LandscapeResult, Surface
from lla.analyses.saliency import SaliencyMap, SaliencyResult
from lla.analyses.spectrum import Density, Layers, SpectrumResult
from lla.analyses.stability import Conditions, StabilityResult
from lla.estimate import Estimate, Label, Verdict
from lla.report import CheckpointFacts, Report, Stage

CAPTION = "net.pt · sha256 0123456789ab · 100 parameters"


def certified(value, half=0.01):
    return Estimate(value, value - half, value + half, method="by hand")


def sampled(value, half=0.5, **more):
    return Estimate(
        value, value - half, value + half, 0.95, stderr=half / 2, method="by hand", **more
    )


def exact(value):
    return Estimate.exact(value, method="by hand")


def spectrum(**changes):
    x = np.linspace(-2, 12, 128)
    density = np.exp(-(x**2) / 0.1) + 1e-3 * np.exp(-((x - 10) ** 2) / 0.1)
    nodes = np.array([[-1.0, 0.001, 3.0, 10.0], [-0.8, 0.002, 4.0, 10.0]])
    weights = np.array([[0.1, 0.8, 0.05, 0.05], [0.1, 0.85, 0.04, 0.01]])
    result = SpectrumResult(
        lambda_max=certified(10.0),
        lambda_min=certified(-1.0),
        trace=sampled(17.0),
        frobenius=sampled(11.0),
        effective_rank=sampled(2.4),
        r_e=certified(0.1, 0.001),
        C_t=certified(-0.1, 0.001),
        K_H1=sampled(0.2, 0.05),
        K_H05=sampled(0.3, 0.05),
        near_zero=sampled(0.8, 0.1),
        operator=Label("hessian", "Hessian"),
        type=Label("mainly_positive", "C_t = -0.1"),
        eigenvalues=np.array([10.0, 4.0, -1.0]),
        residuals=np.array([1e-4, 0.5, 1e-3]),
        sampling=np.array([0.1, 0.05, 0.01]),
        converged=np.array([True, False, True]),
        density=Density(x, density, 0.5 * density, 1.5 * density, exact(0.2), nodes, weights),
        layers=Layers(
            ("first", "second"),
            np.array([40, 60]),
            np.array([12.0, 5.0]),
            np.array([11.0, 4.5]),
            np.array([13.0, 5.5]),
            np.array([12 / 17, 5 / 17]),
            np.array([8.0, 3.0]),
            np.array([7.5, 2.5]),
            np.array([8.5, 3.5]),
        ),
        eigenvectors=None,
        diagonal=None,
    )
    return replace(result, **changes)


def axes():
    curvature = np.array([10.0, -1.0])
    return Axes(
        names=("eigenvector of λ_max", "eigenvector of λ_min"),
        eigenvalues=curvature,
        residuals=np.array([1e-4, 1e-3]),
        norms=np.ones(2),
        slope=np.zeros(2),
        curvature=curvature,
        measured=curvature,
        measured_low=curvature - 0.01,
        measured_high=curvature + 0.01,
        cosines=np.eye(2),
    )


def landscape(hole=False, **changes):
    alpha, beta = np.linspace(-0.5, 0.5, 7), np.linspace(-1, 1, 9)
    a, b = np.meshgrid(alpha, beta, indexing="ij")
    loss = 0.01 + 5 * a**2 + 3 * b**4
    status = np.ones(loss.shape, dtype=np.int8)
    if hole:
        loss[0, 1:3], status[0, 1:3] = np.nan, 2
    result = LandscapeResult(
        center_error=exact(0.0),
        curvature_alpha=certified(10.0),
        curvature_beta=certified(-1.0),
        cosine=exact(0.0),
        quadratic_radius=certified(0.25),
        non_finite=exact(float((status == 2).sum())),
        evaluated=exact(1.0),
        filling_error=exact(0.0),
        barrier=Estimate.missing("there is no other checkpoint"),
        curve_barrier=Estimate.missing("there is no other checkpoint"),
        checks=Label("passed"),
        axes=axes(),
        surface=Surface(
            alpha=alpha,
            beta=beta,
            loss=loss,
            accuracy=loss * 0 + 0.5,
            quadratic=0.01 + 5 * a**2 - b**2 / 2,
            status=status,
            error=np.zeros(loss.shape),
            also_loss=None,
            also_accuracy=None,
        ),
        profiles=None,
        trajectory=None,
        topology=None,
        path=None,
        band=None,
        panel={},
    )
    return replace(result, **changes)


def stability(lr=0.1, **changes):
    nan = math.nan
    outcomes = ("consistent", "violated", "not_applicable", "inconclusive", "at_edge")
    result = StabilityResult(
        lr=exact(lr) if lr else Estimate.missing("the learning rate is unknown; pass --lr"),
        batch_size=exact(64.0),
        sharpness_times_lr=certified(0.5),
        gd_max_lr=certified(0.2),
        trace_max_lr=certified(0.05),
        trace_frobenius_max_lr=Estimate.missing("it holds for the square loss only"),
        batch_sharpness=sampled(20.0, converged=False),
        batch_sharpness_max_lr=sampled(0.1, 0.02),
        sgd_max_lr=sampled(0.05, 0.01),
        interpolates=exact(1.0),
        conditions=Conditions(
            ("λ_max (GD)", "tr H", "tr H and ‖H‖", "batch sharpness", "another"),
            np.array([0.2, 0.05, nan, 0.1, np.inf]),
            np.array([0.19, 0.04, nan, 0.08, 0.1]),
            np.array([0.21, 0.06, nan, np.inf, np.inf]),
            outcomes,
        ),
        verdicts=tuple(
            Verdict(f"stability.{name}", outcome, f"why {name}")
            for name, outcome in zip("abcde", outcomes, strict=True)
        ),
    )
    return replace(result, **changes)


def calm():
    """Changes to a stability result after which nothing is left to do."""
    judged = (Verdict("stability.gd", "consistent", "below it"),)
    return {"verdicts": judged, "batch_sharpness": sampled(20.0)}


def saliency(count=3, **changes):
    random = np.random.default_rng(0)
    degenerate = np.zeros(count, dtype=bool)
    degenerate[-1] = True
    maps = {
        name: SaliencyMap(raw, raw, degenerate)
        for name, raw in (("a", random.random((count, 4, 4))), ("b", random.random((count, 2, 2))))
    }
    result = SaliencyResult(
        class_sensitivity=sampled(0.5, 0.1),
        images=random.random((count, 3, 8, 8)),
        indices=np.arange(count),
        predicted=np.full(count, 7),
        targets=np.array([7] * (count - 1) + [4]),
        combined=random.random((count, 8, 8)),
        maps=maps,
    )
    return replace(result, **changes)


def no_saliency():
    why = "the inputs are no images"
    return SaliencyResult(Estimate.missing(why), None, None, None, None, None, {})


SIGNED = ("cosine", "loss", "accuracy")
ATTRIBUTES = {
    "V-REx": "loss",
    "IRM": "slope by a common scale of the logits",
    "IGA": "gradient",
    "Fish": "direction of the gradient",
    "Fishr": "variance of gradients",
    "CORAL": "covariance",
}


def matrix(names, value, sure=0.05, noise=0.4):
    """A matrix between domains, with noise that some of its distances do not exceed."""
    value = np.asarray(value, dtype=float)
    spread = np.full(value.shape, sure)
    return Matrix(
        names, value, value, value, spread, value - sure, value + sure, np.full(value.shape, noise)
    )


def alignment(classes=True, **changes):
    """Three domains, of which the last lies apart."""
    names = ("train", "week 12", "night")
    far = np.array([[0, 0.3, 2.1], [0.3, 0, 1.9], [2.1, 1.9, 0]])
    cosine = np.array([[1, 0.8, -0.4], [0.8, 1, -0.1], [-0.4, -0.1, 1]])
    drop = np.array([[0, -0.05, -0.5], [0.05, 0, -0.45], [0.5, 0.45, 0]])
    matrices = {
        "spectral": far, "frobenius": 1.4 * far, "gradient": far / 2, "cosine": cosine,
        "hgp": far * 3, "diagonal": far / 3, "loss": -3 * drop, "accuracy": drop,
    }  # fmt: skip
    bins = (np.arange(15) + 0.5) / 15
    right = np.stack([bins, np.clip(bins + 0.1, 0, 1), bins**2])
    right[:, :3] = np.nan
    count = np.stack([np.r_[0, 0, 0, np.arange(12)] * n for n in (10, 5, 2)])
    scores = {
        f"{name}{end}": np.array([0.1, 0.2, 0.6]) + shift
        for name in ("nll", "brier", "ece", "aurc")
        for end, shift in (("", 0.0), ("_low", -0.05), ("_high", 0.05))
    }
    share = np.array([0.2, 0.5, 0.3])
    pair = Pair(
        np.arange(3), np.arange(3), np.full((3, 3), 0.5), share, share[::-1],
        np.array([2.1, -0.7]), np.stack([share, share]), np.stack([share, share]),
    )  # fmt: skip
    pairs = ("train, week 12", "train, night", "week 12, night")
    apart = np.array([[0.0, 1.0, 1.0]] * 6)
    tilt = np.where(np.eye(3, dtype=bool), np.nan, 0.9) * np.ones((3, 1, 1))
    named = {
        name: sampled(value)
        for name, value in (
            ("spectral_distance", 2.1), ("frobenius_distance", 2.9), ("gradient_distance", 1.0),
            ("hgp_distance", 6.3), ("diagonal_distance", 0.7), ("gradient_cosine", -0.4),
            ("loss_difference", 1.5), ("accuracy_difference", 0.5), ("hgp_penalty", 0.01),
            ("hutchinson_penalty", 0.02), ("calibration_error", 0.6), ("drop_correlation", 0.9),
        )
    }  # fmt: skip
    named["spectral_distance"] = replace(exact(2.1), sampling_stderr=0.2)
    accuracy = np.array([0.97, 0.92, 0.47]) * (1 if classes else np.nan)
    result = AlignResult(
        **named,
        scope=Label("head, 12 parameters", "closed form"),
        farthest=Label("train and night"),
        domains=Domains(
            names, np.array([1437, 360, 90]), np.array([0.1, 0.2, 1.7]), np.array([0.08, 0.1, 1.3]),
            np.array([0.12, 0.3, 2.1]), accuracy, accuracy - 0.03, accuracy + 0.03,
            np.array([0.1, 0.3, 1.2]), np.array([2.0, 2.2, 4.0]),
        ),
        distances={
            name: matrix(names, value, noise=np.nan if name in SIGNED else 0.4)
            for name, value in matrices.items()
        },
        pairs=dict.fromkeys(pairs, pair),
        attributes=Attributes(
            tuple(ATTRIBUTES), tuple(ATTRIBUTES.values()), pairs, apart + 0.1, apart / 2 + 0.1,
            apart * 0 + 0.4, apart,
        ),
        ranks=Ranks(
            ("spectral",), np.array([0.9]), *(np.array([end]) for end in (0.8, 1.0, 0.3, 1.0))
        ),
        tilting=Tilting(names, np.arange(3), np.ones((3, 3)), tilt, 1 / np.cos(tilt)),
        calibration=Calibration(names, bins, right, right, count, **scores) if classes else None,
    )  # fmt: skip
    return replace(result, **changes)


def report(path="runs/net.pt", **results):
    results = {
        "baseline": BaselineResult(exact(0.01), exact(1.0), exact(0.02)),
        "spectrum": spectrum(),
        "stability": stability(),
        "landscape": landscape(),
        "saliency": saliency(),
        **results,
    }
    return Report(
        checkpoint=CheckpointFacts(path, "0123456789ab" + "0" * 52, "torch", 100),
        results={name: result for name, result in results.items() if result is not None},
        stages={"spectrum": Stage("done", 1.5, {"matvecs": 300})},
        plan={"chunk": 256},
        provenance={
            "versions": {"lla": "0.1.0"},
            "settings": {"seed": 0, "dtype": "float32"},
            "configuration": {
                "run": {"tolerance": 0.02},
                "spectrum": {"max_probes": 200},
                "stability": {"max_batches": 100},
            },
            "origins": {"run.tolerance": "--tolerance"},
            "data": {"source": "digits.npz", "split": "train", "samples": 50, "sha256": "beef"},
        },
    )


def texts(figure):
    """Everything that a figure says."""
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text) if text.get_visible())


def lines(axes):
    """The lines of some axes by their labels."""
    return {line.get_label(): line for line in axes.lines}
