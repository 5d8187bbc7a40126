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
from lla.analyses.landscape import (
    Axes,
    Band,
    LandscapeResult,
    Panel,
    Path,
    Profiles,
    Surface,
    Topology,
    Trajectory,
)
from lla.analyses.saliency import (
    CurvatureMaps,
    Deletion,
    PairMaps,
    Randomization,
    Ranking,
    SaliencyMap,
    SaliencyResult,
    Sheet,
)
from lla.analyses.sharpness import MEASURES, Measures, SharpnessResult
from lla.analyses.spectrum import Density, Layers, SpectrumResult
from lla.analyses.stability import BatchSizes, Conditions, StabilityResult, TrainingSeries
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
        kinks=None,
        kinks_error=None,
    )


def trajectory(count=4, names=()):
    """A way into the checkpoint."""
    t = np.linspace(0, 1, count)
    return Trajectory(
        names=names or tuple(f"epoch_{index:02d}.pt" for index in range(count)),
        coordinates=np.stack([0.45 * (1 - t) * np.cos(3 * t), 0.9 * (1 - t)], axis=1),
        loss=2 - 1.5 * t,
        accuracy=t,
        plane_loss=2 - 1.2 * t,
        distance=1 - t,
        epoch=np.arange(count, dtype=np.float64),
    )


def topology():
    """Two minima within the plane of :func:`wells`, and the saddle between them."""
    nan = math.nan
    return Topology(
        alpha=np.array([0.0, 0.0]),
        beta=np.array([0.75, -0.25]),
        loss=np.array([0.05, 0.1]),
        saddle_alpha=np.array([nan, 0.0]),
        saddle_beta=np.array([nan, 0.25]),
        saddle_loss=np.array([nan, 0.2]),
        persistence=np.array([nan, 0.1]),
        parent=np.array([-1, 0]),
    )


def wells():
    """A plane with two minima, a trajectory into one of them, and a metric."""
    plain = landscape()
    a, b = np.meshgrid(plain.surface.alpha, plain.surface.beta, indexing="ij")
    b = b - 0.25
    loss = 0.2 + 4 * a**2 + 2.4 * (b**4 - 0.5 * b**2) - 0.05 * b
    surface = replace(
        plain.surface, loss=loss, metrics=("margin",), metric_values=(1 - loss - a)[None]
    )
    return replace(plain, surface=surface, topology=topology(), trajectory=trajectory(6))


def lines_of_four(**changes):
    """Four lines, the second of fewer points, with further data."""
    distance = np.stack([np.linspace(-1, 1, 9)] * 4)
    distance[1, 6:] = np.nan
    bend = np.array([[4.0], [2.0], [0.5], [-0.3]])
    loss = 0.5 + bend * distance**2 / 2 + 0.2 * distance**4
    profiles = Profiles(
        names=(
            "eigenvector of λ_max",
            "eigenvector 2 from the largest eigenvalue",
            "gradient",
            "eigenvector of λ_min",
        ),
        distance=distance,
        loss=loss,
        accuracy=1 - loss / 4,
        quadratic=0.5 + bend * distance**2 / 2,
        also_loss=loss + 0.1,
        also_accuracy=None,
        metrics=("margin",),
        metric_values=(2 - loss)[None],
        also_metric_values=(1.8 - loss)[None],
    )
    first = axes()
    four = {
        name: np.resize(getattr(first, name), 4)
        for name in ("eigenvalues", "residuals", "norms", "slope", "curvature", "measured")
    }
    four |= dict.fromkeys(("measured_low", "measured_high"), four["measured"])
    four["eigenvalues"] = np.array([4.0, 2.0, np.nan, -0.3])
    held = replace(first, names=profiles.names, cosines=np.eye(4), **four)
    bends = {"curvature_alpha": certified(4.0), "curvature_beta": certified(2.0)}
    return landscape(surface=None, profiles=profiles, axes=held, **bends, **changes)


def way():
    """A barrier on the line to another checkpoint, and a curve around it."""
    t = np.linspace(0, 1, 11)
    path = Path(
        t=t,
        loss=0.1 + 0.1 * t + 0.15 * np.sin(np.pi * t),
        accuracy=1 - t / 10,
        straight_loss=0.1 + 0.1 * t + 1.2 * np.sin(np.pi * t) ** 2,
        straight_accuracy=1 - t / 2,
        length=np.array([3.0, 2.0]),
        kind=("bezier",),
    )
    return lines_of_four(path=path, barrier=certified(1.15, 0.02), curve_barrier=certified(0.1))


def beside():
    """A plane with a band and two further planes."""
    plain = landscape()
    surface = plain.surface
    bowl = replace(surface, loss=0.01 + (surface.loss - 0.01) / 4, alpha=surface.alpha / 2)
    scaled = replace(
        axes(),
        names=("random direction 0", "random direction 1"),
        eigenvalues=np.full(2, np.nan),
        residuals=np.full(2, np.nan),
        norms=np.array([13.3, 12.9]),
        curvature=np.array([30.0, 25.0]),
    )
    planes = np.stack([surface.loss * factor for factor in (0.5, 1.0, 2.0)])
    band = Band(
        alpha=surface.alpha,
        beta=surface.beta,
        mean=planes.mean(axis=0),
        low=planes[0],
        high=planes[2],
        loss=planes,
    )
    panel = {
        name: Panel(normalization=("filter",), surface=bowl, axes=scaled)
        for name in ("random filter", "random none")
    }
    return replace(plain, band=band, panel=panel)


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
            metrics=None,
            metric_values=None,
            also_metric_values=None,
        ),
        profiles=None,
        trajectory=None,
        topology=None,
        path=None,
        band=None,
        panel={},
    )
    return replace(result, **changes)


def batch_sizes():
    """A sharpness that no batch size changes, noise that larger batches have less of, one point."""
    sizes = np.array([1.0, 8.0, 64.0, 1437.0])
    noise = 0.2 / (1 + 192 / sizes)
    point = np.array([np.nan, np.nan, 0.07, np.nan])
    limits = np.stack([np.full(4, 0.2), noise, point], axis=1)
    least = np.minimum(noise, 0.2)
    return BatchSizes(
        sizes, ("λ_max (GD)", "norms of samples' H", "batch sharpness"), limits, 0.9 * limits,
        1.2 * limits, least, 0.9 * least, 1.2 * least,
    )  # fmt: skip


def stability(lr=0.1, **changes):
    nan = math.nan
    outcomes = ("consistent", "violated", "not_applicable", "inconclusive", "at_edge")
    result = StabilityResult(
        lr=exact(lr) if lr else Estimate.missing("the learning rate is unknown; pass --lr"),
        batch_size=exact(64.0),
        momentum=exact(0.0),
        samples=exact(1437.0),
        optimizer=Label("sgd", "without momentum"),
        sharpness_times_lr=certified(0.5),
        lr_over_max_lr=sampled(2.0, 0.4),
        gd_max_lr=certified(0.2),
        preconditioned_lambda_max=Estimate.missing("sgd has no preconditioner"),
        preconditioned_max_lr=Estimate.missing("sgd has no preconditioner"),
        nonuniformity=sampled(3.0),
        nonuniformity_max_lr=sampled(0.15, 0.02),
        alignment=Estimate.missing("it is of the square loss"),
        alignment_max_lr=Estimate.missing("it is of the square loss"),
        eigenvector_max_lr=certified(0.15),
        norms_max_lr=sampled(0.12, 0.02),
        directions_max_lr=certified(0.14),
        exact_max_lr=Estimate.missing("for networks of up to 300 parameters"),
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
        batch_sizes=batch_sizes(),
        verdicts=tuple(
            Verdict(f"stability.{name}", outcome, f"why {name}")
            for name, outcome in zip("abcde", outcomes, strict=True)
        ),
        series=None,
    )
    return replace(result, **changes)


def series(count=6, **changes):
    """A training at learning rate 0.1, lowered to 0.05 at the end, that sharpens to its edge."""
    rate = np.full(count, 0.1)
    rate[-1] = 0.05
    top = 2.2 / rate * (1 - 0.9 * np.exp(-np.arange(count)))
    found = TrainingSeries(
        names=tuple(f"epoch_{index + 1:02d}.pt" for index in range(count)),
        epoch=np.arange(1.0, count + 1),
        lr=rate,
        edge=2 / rate,
        two_over_lr=2 / rate,
        loss=np.exp(-np.arange(count) / 2),
        accuracy=np.full(count, 0.9),
        lambda_max=top,
        lambda_max_low=top * 0.999,
        lambda_max_high=top * 1.001,
        trace=5 * top,
        trace_low=4.8 * top,
        trace_high=5.2 * top,
        batch_sharpness=0.8 * top,
        batch_sharpness_low=0.7 * top,
        batch_sharpness_high=0.9 * top,
        converged=np.ones(count, dtype=bool),
        note=("",) * count,
    )
    return replace(found, **changes)


def sharpness(**changes):
    missing = Estimate.missing("the batch size is unknown; pass --m or --batch-size")
    result = SharpnessResult(
        sam=certified(0.02, 1e-4),
        sam_order1=exact(0.01),
        sam_order2=certified(0.018, 1e-4),
        m_sharpness=missing,
        asam=certified(0.03, 1e-4),
        asam_order1=exact(0.015),
        asam_order2=certified(0.028, 1e-4),
        average=sampled(0.004, 0.0004),
        average_order2=sampled(0.0012, 0.0001),
        scaled_average=sampled(0.006, 0.0005),
        scaled_average_order2=sampled(0.005, 0.001),
        fisher_rao=certified(0.2, 1e-3),
        relative_flatness=certified(3.0),
        layer=Label("head", "the last linear layer that is called"),
        measures=Measures(
            tuple(MEASURES),
            tuple(invariant for invariant, _ in MEASURES.values()),
            tuple(source for _, source in MEASURES.values()),
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
    off = Estimate.missing("it was not asked for")
    result = SaliencyResult(
        class_sensitivity=sampled(0.5, 0.1),
        meta_class_sensitivity=sampled(0.4, 0.1),
        meta_agreement=sampled(0.95, 0.02),
        randomized=sampled(0.7, 0.1),
        randomized_beyond=sampled(0.1, 0.1),
        deletion_gain=sampled(0.2, 0.05),
        insertion_gain=sampled(0.3, 0.05),
        noise_agreement=sampled(0.99, 0.005),
        ink_share=off,
        ink_uniform=off,
        degenerate=exact(1 / count),
        mean_sharpness=off,
        sharpest_share=off,
        images=random.random((count, 3, 8, 8)),
        indices=np.arange(count),
        predicted=np.full(count, 7),
        explained=np.full(count, 7),
        targets=np.array([7] * (count - 1) + [4]),
        combined=random.random((count, 8, 8)),
        weights=np.full((count, 2), 0.5),
        meta=None,
        maps=maps,
        pairs={},
        sheet=None,
        randomization=None,
        curves=None,
        curvature=None,
        ranking=None,
    )
    return replace(result, **changes)


def saliency_checks(count=3):
    """What the checks add to a result of saliency maps."""
    random = np.random.default_rng(1)
    share = np.linspace(0, 1, 9)
    down, up = 0.9 * (1 - share) ** 2 + 0.1, 0.9 * share**0.5 + 0.1
    level = np.array([1.0, 0.8, 0.72])
    beyond = np.array([1.0, 0.3, 0.05])
    shown = np.arange(count)
    return {
        "pairs": {
            "scaling_sum": PairMaps(random.random((count, 8, 8)), sampled(0.1), sampled(0.4)),
            "bias_norm": PairMaps(random.random((count, 8, 8)), sampled(0.2), sampled(0.5)),
        },
        "sheet": Sheet(shown, np.array([4, 7]), random.random((count, 2, 8, 8))),
        "randomization": Randomization(
            ("", "head", "conv"), level, level - 0.05, level + 0.05,
            beyond, beyond - 0.1, beyond + 0.1,
        ),
        "curves": Deletion(
            share, down, down - 0.05, down + 0.05, up, up - 0.05, up + 0.05,
            1 - 0.9 * share, 0.1 + 0.9 * share,
        ),
        "curvature": CurvatureMaps(
            np.array([10.0]), np.array([1e-3]), random.normal(size=(1, count, 8, 8)),
            random.normal(size=(1, count)), random.normal(size=(1, count)),
            random.random(count), random.normal(size=(count, 3, 8, 8)), {},
        ),
        "ranking": Ranking(
            np.arange(20), np.linspace(9, -1, 20), np.array([0, 1, 18, 19]),
            random.random((4, 3, 8, 8)), np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5]),
        ),
        "mean_sharpness": exact(4.0),
        "sharpest_share": exact(0.22),
    }  # fmt: skip


def no_saliency():
    why = Estimate.missing("the inputs are no images")
    plain = saliency()
    nothing = {
        name: why if isinstance(value, Estimate) else {} if isinstance(value, dict) else None
        for name, value in vars(plain).items()
    }
    return SaliencyResult(**nothing)


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
        "sharpness": sharpness(),
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
