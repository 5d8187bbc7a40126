"""Rule 7's batch sharpness E_B[g_BᵀH_Bg_B / ‖g_B‖²] over random training batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from lla.analyses.keeping import Tiles
from lla.analyses.stability import ANALYSIS, StabilityConfig
from lla.analyses.stability.conditions import TrainingRun
from lla.analyses.workspace import Workspace
from lla.curvature import batch_curvature
from lla.estimate import Estimate, mean_of, samples_needed
from lla.problem import Problem
from lla.seeding import permutation

__all__ = ["batch_sharpness"]

_PILOT = 10


def batch_sharpness(
    problem: Problem, training: TrainingRun, config: StabilityConfig, workspace: Workspace
) -> Estimate:
    """E_B[g_BᵀH_B g_B / ‖g_B‖²] over random batches of the training batch size."""
    size, available = training.batch_size, len(problem.data)
    if size is None:
        return Estimate.missing("the batch size is unknown; pass --batch-size")
    if size > available:
        return Estimate.missing(
            f"a batch of {size} is larger than the {available} samples analysed"
        )
    if problem.has_fixed_batch_norm:
        return Estimate.missing("the program has batch norm's running statistics built in")
    if size == 1 and problem.has_batch_norm:
        return Estimate.missing("batch norm has no statistics of a batch of 1")

    decay = training.weight_decay if training.optimizer == "sgd" else 0.0
    way = replace(workspace.plan(problem).way, together=1, precision="same")

    def quotient_on(chosen: torch.Tensor) -> float:
        batch = problem.data.select(chosen)
        return batch_curvature(
            problem, batch, decay=decay, way=way, on_step_down=workspace.steps_down.append
        )

    if size == available:
        value = quotient_on(torch.arange(available))
        if math.isnan(value):
            return Estimate.missing("the gradient is zero")
        if size < training.samples:
            return Estimate.missing("one batch alone was analysed: its spread is not known")
        return Estimate.exact(value, method="the batch is the whole set: ĝᵀHĝ", units="loss")

    quotients = _quotients(quotient_on, size, problem, config, workspace)
    own = ", batch norm with each batch's statistics" if problem.has_batch_norm else ""
    own += ", products by central differences" if way.approximate else ""
    defined = [value for value in quotients if not math.isnan(value)]
    if len(defined) < _PILOT:
        return Estimate.missing("the gradient of most batches is zero")
    return mean_of(
        defined,
        workspace.confidence,
        pilot=_PILOT,
        method=f"mean over {len(defined)} random batches of {size}{own}",
        units="loss",
    ).within(config.batch_tolerance)


def _quotients(
    quotient_on: Callable[[torch.Tensor], float],
    size: int,
    problem: Problem,
    config: StabilityConfig,
    workspace: Workspace,
) -> list[float]:
    """ĝᵀHĝ of random batches, as many as the first ten say are needed; NaN without a gradient."""
    quotients: list[float] = []
    tiles = Tiles(
        workspace.keeper,
        "batch sharpness",
        (ANALYSIS.name, *(ANALYSIS.depends or ())),
        lambda: {"quotients": np.array(quotients)},
    )
    kept = tiles.load()
    if kept:
        quotients = kept["quotients"].tolist()
    count = workspace.tally("batches")
    with tiles.running():
        while len(quotients) < (wanted := _batches_needed(quotients, config, workspace)):
            index = len(quotients)
            chosen = permutation(len(problem.data), workspace.seed, "batch sharpness", index)
            quotients.append(quotient_on(chosen[:size]))
            count(1)
            workspace.progress.update(len(quotients), wanted, "batches")
            tiles.step()
    return quotients


def _batches_needed(quotients: list[float], config: StabilityConfig, workspace: Workspace) -> int:
    pilot = [value for value in quotients[:_PILOT] if not math.isnan(value)]
    if len(quotients) < _PILOT:
        return _PILOT
    needed = (
        samples_needed(pilot, config.batch_tolerance, workspace.confidence)
        if len(pilot) > 1
        else config.max_batches
    )
    return min(config.max_batches, max(_PILOT, needed))
