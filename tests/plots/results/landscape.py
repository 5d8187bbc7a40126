"""Results of landscapes: planes, lines, ways, bands."""

import math
from dataclasses import replace

import numpy as np

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
from lla.estimate import Estimate, Label
from tests.plots.results.values import certified, exact


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
