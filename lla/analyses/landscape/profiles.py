"""Losses along lines through a checkpoint, each line with a range of its own."""

from __future__ import annotations

import numpy as np

from lla.analyses.landscape import Profiles
from lla.analyses.landscape.setting import Setting
from lla.problem import Dataset
from lla.progress import Progress

__all__ = ["profiles_of"]


def profiles_of(setting: Setting, progress: Progress, other: Dataset | None) -> Profiles:
    """The loss along each direction of a setting.

    Args:
        setting: Directions and the range of each.
        progress: Told the points.
        other: Further data, drawn beside.
    """
    counts = [len(axis) for axis in setting.axes]
    steps = np.zeros((sum(counts), len(counts)))
    ends = np.cumsum(counts)
    for index, axis in enumerate(setting.axes):
        steps[ends[index] - counts[index] : ends[index], index] = axis

    def told(done: int, total: int) -> None:
        progress.update(done, total, "points")

    def lined(values: np.ndarray) -> np.ndarray:
        """Values of all points as (line, point); NaN beyond a line's own points."""
        found = np.full((len(counts), max(counts)), np.nan)
        for row, part in zip(found, np.split(values, ends[:-1]), strict=True):
            row[: len(part)] = part
        return found

    metrics = setting.surveyor.problem.metrics
    loss, accuracy, *further = setting.surveyor.over(steps, told)
    also = setting.surveyor.on(other).over(steps) if other else ()
    return Profiles(
        names=setting.directions.names,
        distance=lined(np.concatenate(setting.axes)),
        loss=lined(loss),
        accuracy=lined(accuracy),
        quadratic=lined(setting.quadratic(steps)),
        also_loss=lined(also[0]) if also else None,
        also_accuracy=lined(also[1]) if also else None,
        metrics=tuple(one.name for one in metrics) or None,
        metric_values=np.stack([lined(part) for part in further]) if metrics else None,
        also_metric_values=(
            np.stack([lined(part) for part in also[2:]]) if metrics and also else None
        ),
    )
