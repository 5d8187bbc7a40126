"""The way to another checkpoint: the straight line's barrier, and a trained curve's."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lla.analyses.landscape import LandscapeConfig, Path
from lla.analyses.landscape.paths import barrier_of, trained
from lla.analyses.landscape.setting import Setting
from lla.analyses.workspace import Workspace
from lla.errors import ConfigurationError
from lla.estimate import Estimate
from lla.problem import Problem

__all__ = ["NO_WAY", "way_of"]

NO_WAY = Estimate.missing("there is no other checkpoint: --axes between", units="loss")
_UNTRAINED = Estimate.missing("no curve was asked for: --curve bezier", units="loss")


def way_of(
    setting: Setting, problem: Problem, config: LandscapeConfig, workspace: Workspace
) -> dict[str, Any]:
    """Fields of a result: ``barrier``, ``curve_barrier`` and ``path``.

    Raises:
        ConfigurationError: A curve is asked for, and there is no single other checkpoint.
    """
    series = setting.directions.series
    single = series is not None and len(series.names) == 1
    if config.curve != "none" and not single:
        raise ConfigurationError(
            "a curve leads to one other checkpoint, and "
            f"{'none' if series is None else len(series.names)} are given",
            "name it: --axes between --checkpoints OTHER.pt",
        )
    if series is None or not single:
        return {}
    surveyor, start = setting.surveyor, problem.theta.double()
    end = start + series.offsets[0]

    def line(t: float) -> torch.Tensor:
        return start + t * series.offsets[0]

    t, loss, accuracy, barrier = barrier_of(surveyor, line, config.points)
    if config.curve == "none":
        return {"barrier": barrier, "curve_barrier": _UNTRAINED}

    def told(done: int, total: int) -> None:
        workspace.progress.update(done, total, "training steps of the curve")

    curve = trained(
        problem, end, config.curve, config.curve_steps, workspace.seed,
        lr=config.curve_lr, told=told,
    )  # fmt: skip
    _, bent, right, lower = barrier_of(surveyor, curve, config.points)
    path = Path(
        t=t,
        loss=bent,
        accuracy=right,
        straight_loss=loss,
        straight_accuracy=accuracy,
        length=np.array([curve.length(), float(torch.linalg.vector_norm(series.offsets[0]))]),
        kind=(config.curve,),
    )
    return {"barrier": barrier, "curve_barrier": lower, "path": path}
