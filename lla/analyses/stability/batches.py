"""Rule 7's batch sharpness E_B[g_BᵀH_Bg_B / ‖g_B‖²] over random training batches."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from lla.analyses.sampling import PILOT, draws_until
from lla.analyses.stability import ANALYSIS, StabilityConfig
from lla.analyses.stability.condition import TrainingRun
from lla.analyses.workspace import Workspace
from lla.curvature import batch_curvature
from lla.estimate import Estimate, mean_of
from lla.problem import Problem
from lla.seeding import generator, permutation

__all__ = ["batch_sharpness"]

_STAGE = "batch sharpness"


def batch_sharpness(
    problem: Problem, training: TrainingRun, config: StabilityConfig, workspace: Workspace
) -> Estimate:
    """E_B[g_BᵀH_B g_B / ‖g_B‖²] over random batches of the training batch size, as it drew them."""
    size, available = training.batch_size, len(problem.data)
    if size is None:
        return Estimate.missing("the batch size is unknown; pass --batch-size")
    if size > available and not training.replacement:
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

    if size == available and not training.replacement:
        value = quotient_on(torch.arange(available))
        if math.isnan(value):
            return Estimate.missing("the gradient is zero")
        if size < training.samples:
            return Estimate.missing("one batch alone was analysed: its spread is not known")
        return Estimate.exact(value, method="the batch is the whole set: ĝᵀHĝ", units="loss")

    def drawn(index: int) -> float:
        if training.replacement:
            random = generator(workspace.seed, _STAGE, index)
            return quotient_on(torch.randint(available, (size,), generator=random))
        return quotient_on(permutation(available, workspace.seed, _STAGE, index)[:size])

    quotients = draws_until(
        drawn,
        workspace,
        name=_STAGE,
        depends=(ANALYSIS.name, *(ANALYSIS.depends or ())),
        tolerance=config.batch_tolerance,
        most=config.max_batches,
    )
    own = ", with replacement" if training.replacement else ""
    own += ", batch norm with each batch's statistics" if problem.has_batch_norm else ""
    own += ", products by central differences" if way.approximate else ""
    defined = [value for value in quotients if not math.isnan(value)]
    if len(defined) < PILOT:
        return Estimate.missing("the gradient of most batches is zero")
    return mean_of(
        defined,
        workspace.confidence,
        pilot=PILOT,
        method=f"mean over {len(defined)} random batches of {size}{own}",
        units="loss",
    ).within(config.batch_tolerance)
