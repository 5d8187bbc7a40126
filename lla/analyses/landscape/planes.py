"""Surfaces over a plane: exact or adaptive, repeated, and with other checkpoints on them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from lla.analyses.landscape import (
    EVALUATED,
    FILLED,
    NOT_FINITE,
    Band,
    LandscapeConfig,
    Surface,
    Trajectory,
)
from lla.analyses.landscape.adaptive import Filled, refined
from lla.analyses.landscape.evaluation import Surveyor, grid_points
from lla.analyses.landscape.setting import Setting, setting_of
from lla.analyses.workspace import Workspace
from lla.problem import Dataset, Problem
from lla.progress import Progress

__all__ = ["Drawn", "band_of", "surface_of", "trajectory_of"]

_ACCURACY = 0.01  # of the range, where neither range nor accuracy is stated
_QUANTILES = (0.1, 0.9)


@dataclass(frozen=True)
class Drawn:
    """A surface, the largest estimated error in it, and the share of its points evaluated."""

    surface: Surface
    error: float
    share: float


def surface_of(
    setting: Setting, config: LandscapeConfig, progress: Progress, other: Dataset | None
) -> Drawn:
    """The loss over a plane.

    Args:
        setting: Two directions and their ranges.
        config: Whether all points are evaluated, and how exact the others have to be.
        progress: Told the points.
        other: Further data, drawn beside.
    """
    alpha, beta = setting.axes
    surveyors = [setting.surveyor]
    if other is not None:
        surveyors.append(setting.surveyor.on(other))
    filled = _filled(surveyors, alpha, beta, _accuracy(config), progress)
    metrics = setting.surveyor.problem.metrics
    count = 2 + len(metrics)
    values = _bounded(filled, losses=(0, count))
    loss, accuracy = values[:2]
    also = values[count:]
    status = np.where(np.isfinite(loss), EVALUATED, NOT_FINITE)
    status = np.where(filled.evaluated, status, FILLED).astype(np.uint8)
    steps = grid_points(alpha, beta).reshape(len(alpha), len(beta), 2)
    surface = Surface(
        alpha=alpha,
        beta=beta,
        loss=loss,
        accuracy=accuracy,
        quadratic=setting.quadratic(steps),
        status=status,
        error=filled.error,
        also_loss=also[0] if len(also) else None,
        also_accuracy=also[1] if len(also) else None,
        metrics=tuple(one.name for one in metrics) or None,
        metric_values=values[2:count] if metrics else None,
        also_metric_values=also[2:] if metrics and len(also) else None,
    )
    known = filled.error[np.isfinite(filled.error)]
    return Drawn(surface, float(known.max(initial=0.0)), float(filled.evaluated.mean()))


def _bounded(filled: Filled, losses: tuple[int, ...]) -> np.ndarray:
    """The values; shares and other metrics are filled in no farther than they were seen to go."""
    values = filled.values.copy()
    for index, row in enumerate(values):
        seen = row[filled.evaluated & np.isfinite(row)]
        if index not in losses and seen.size:
            np.clip(row, seen.min(), seen.max(), out=row)
    return values


def _accuracy(config: LandscapeConfig) -> float:
    if config.accuracy is not None:
        return config.accuracy
    return 0.0 if config.x or config.y else _ACCURACY


def _filled(
    surveyors: list[Surveyor],
    alpha: np.ndarray,
    beta: np.ndarray,
    accuracy: float,
    progress: Progress,
) -> Filled:
    shape = len(alpha), len(beta)
    done = 0

    def evaluate(places: np.ndarray) -> np.ndarray:
        nonlocal done
        points = np.stack([alpha[places[:, 0]], beta[places[:, 1]]], axis=1)
        begun, done = done, done + len(points)

        def told(count: int, total: int) -> None:
            progress.update(begun + count, max(done, shape[0] * shape[1]), "points at most")

        return np.concatenate([np.stack(surveyor.over(points, told)) for surveyor in surveyors])

    if not accuracy:
        places = np.argwhere(np.ones(shape, dtype=bool))
        values = evaluate(places).reshape(-1, *shape)
        return Filled(values, np.ones(shape, dtype=bool), np.zeros(shape), met=True)
    return refined(evaluate, shape, accuracy)


def trajectory_of(setting: Setting) -> Trajectory | None:
    """The other checkpoints of the setting on its plane, if there are some."""
    series = setting.directions.series
    if series is None:
        return None
    vectors = setting.directions.vectors
    gram = vectors @ vectors.T
    coordinates = torch.linalg.solve(gram, vectors @ series.offsets.T).T
    away = torch.linalg.vector_norm(series.offsets - coordinates @ vectors, dim=1)
    theta, surveyor = setting.surveyor.problem.theta, setting.surveyor
    own = [
        surveyor.of((theta.double() + offset).to(theta.dtype), buffers)
        for offset, buffers in zip(series.offsets, series.buffers, strict=True)
    ]
    places = coordinates.cpu().numpy()
    return Trajectory(
        names=series.names,
        coordinates=places,
        loss=np.array([one.loss for one in own]),
        accuracy=np.array([one.accuracy for one in own]),
        plane_loss=surveyor.over(places)[0],
        distance=away.cpu().numpy(),
        epoch=series.epochs,
    )


def band_of(
    problem: Problem,
    config: LandscapeConfig,
    workspace: Workspace,
    first: Setting,
    surface: Surface,
) -> Band | None:
    """The surfaces of further random planes over the first one's grid, and their spread."""
    if config.repeats < 2:
        return None
    found = [surface.loss]
    for repeat in range(1, config.repeats):
        setting = setting_of(problem, config, workspace, repeat=repeat)
        drawn = surface_of(replace(setting, axes=first.axes), config, workspace.progress, None)
        found.append(drawn.surface.loss)
    planes = np.stack(found)
    low, high = np.quantile(planes, _QUANTILES, axis=0)
    return Band(
        alpha=surface.alpha,
        beta=surface.beta,
        mean=planes.mean(axis=0),
        low=low,
        high=high,
        loss=planes,
    )
