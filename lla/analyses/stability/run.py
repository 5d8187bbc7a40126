"""Gather the facts of the training run, apply the conditions, give the verdicts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch.nn.modules.dropout import _DropoutNd

from lla.analyses.keeping import Tiles
from lla.analyses.shared import BASE_EVALUATION
from lla.analyses.spectral import spectral
from lla.analyses.stability import ANALYSIS, Conditions, StabilityConfig, StabilityResult
from lla.analyses.stability.along import along
from lla.analyses.stability.conditions import (
    Curvature,
    TrainingRun,
    batch_sharpness_rule,
    gradient_descent_rule,
    judge,
    smallest_limit,
    trace_frobenius_rule,
    trace_rule,
)
from lla.analyses.workspace import Workspace
from lla.curvature import batch_curvature
from lla.estimate import Estimate, mean_of, samples_needed
from lla.problem import Problem
from lla.problem.forward import outputs_if_any
from lla.seeding import permutation

__all__ = ["run"]

_PILOT = 10
_INTERPOLATION = 0.01


def run(problem: Problem, config: StabilityConfig, workspace: Workspace) -> StabilityResult:
    """Conditions 1 to 3 and the batch sharpness, with verdicts on the learning rate in use."""
    interpolates = _interpolates(problem, workspace)
    training = _training_run(problem, interpolates)
    hessian = spectral("hessian")
    curvature = Curvature(
        largest=workspace.get(hessian.lambda_max, problem),
        trace=workspace.get(hessian.trace, problem),
        frobenius=workspace.get(hessian.frobenius, problem),
    )
    sharpness = _batch_sharpness(problem, training, config, workspace)
    rules = (
        gradient_descent_rule(training, curvature),
        trace_rule(training, curvature),
        trace_frobenius_rule(training, curvature),
        batch_sharpness_rule(training, sharpness),
    )
    verdicts = tuple(judge(rule, training.lr, config.edge) for rule in rules)
    return StabilityResult(
        lr=_given(training.lr, "the learning rate is unknown; pass --lr"),
        batch_size=_given(training.batch_size, "the batch size is unknown; pass --batch-size"),
        sharpness_times_lr=_times_lr(curvature.largest, training.lr),
        gd_max_lr=rules[0].max_lr,
        trace_max_lr=rules[1].max_lr,
        trace_frobenius_max_lr=rules[2].max_lr,
        batch_sharpness=sharpness,
        batch_sharpness_max_lr=rules[3].max_lr,
        sgd_max_lr=smallest_limit(rules),
        interpolates=interpolates,
        conditions=Conditions(
            names=tuple(rule.title for rule in rules),
            max_lr=np.array([rule.max_lr.value for rule in rules]),
            low=np.array([rule.max_lr.low for rule in rules]),
            high=np.array([rule.max_lr.high for rule in rules]),
            verdict=tuple(verdict.verdict for verdict in verdicts),
        ),
        verdicts=verdicts,
        series=along(problem, config, workspace, _facts_at),
    )


def _facts_at(
    problem: Problem, config: StabilityConfig, workspace: Workspace
) -> tuple[TrainingRun, Estimate]:
    """What the conditions need at a checkpoint of a series, and the batch sharpness there."""
    training = _training_run(problem, Estimate.missing("not asked for along a series"))
    return training, _batch_sharpness(problem, training, config, workspace)


def _given(value: float | None, why: str) -> Estimate:
    return Estimate.missing(why) if value is None else Estimate.exact(value, method="as given")


def _times_lr(largest: Estimate, lr: float | None) -> Estimate:
    if lr is None:
        return Estimate.missing("the learning rate is unknown; pass --lr")
    return largest.map(lambda value: value * lr / 2, method="λ_max · η / 2")


def _training_run(problem: Problem, interpolates: Estimate) -> TrainingRun:
    facts, data = problem.training, problem.data
    elsewhere = ""
    if any(word in data.split.lower() for word in ("test", "val", "dev")):
        elsewhere = f"the conditions speak of the training loss, and this is split '{data.split}'"
    frozen = ""
    samples = facts.samples or data.available
    if problem.has_batch_norm:
        frozen = _otherwise_normalized(problem, facts.batch_size, samples)
    if any(isinstance(part, _DropoutNd) and part.p > 0 for part in problem.module.modules()):
        elsewhere = elsewhere or "training used dropout, and the loss is analysed without it"
    # Two samples: one has no statistics, where a layer has no running ones.
    batch = problem.data.select(torch.arange(min(2, len(data))))
    with torch.no_grad(), problem.running_statistics():
        outputs = outputs_if_any(problem.module, batch)
    return TrainingRun(
        optimizer=facts.optimizer or "sgd",
        lr=facts.lr,
        momentum=facts.momentum,
        nesterov=facts.nesterov,
        weight_decay=facts.weight_decay,
        batch_size=facts.batch_size,
        samples=samples,
        elsewhere=elsewhere,
        frozen=frozen,
        subset=len(data) < samples,
        square_loss=problem.loss_name == "mse",
        outputs=0 if outputs is None else outputs.numel() // batch.samples,
        interpolates=interpolates.value == 1.0,
    )


def _otherwise_normalized(problem: Problem, batch_size: int | None, samples: int) -> str:
    """Why the loss that batch norm was trained on is not the analysed one, or ""."""
    if problem.batch_norm == "running":
        # Of a full batch, the loss that was trained on can be had.
        full = batch_size is not None and batch_size >= samples and not problem.has_fixed_batch_norm
        return (
            "batch norm is analysed with running statistics, and training used each batch's"
            f"{': --batch-norm batch' if full else ''}"
        )
    if batch_size is None:
        return "batch norm makes a loss of each batch size, and it is unknown; pass --batch-size"
    if batch_size < samples:
        return (
            "batch norm is analysed with the statistics of all samples, and training used those "
            f"of batches of {batch_size}"
        )
    return ""


def _interpolates(problem: Problem, workspace: Workspace) -> Estimate:
    """Whether the loss is under 1 % of what the best constant prediction has."""
    constant = _constant_loss(problem)
    if constant is None:
        return Estimate.missing(f"no reference is known for the loss '{problem.loss_name}'")
    base = workspace.get(BASE_EVALUATION, problem)
    fitted = base.loss <= _INTERPOLATION * constant
    wrong = not math.isnan(base.accuracy) and base.accuracy < 1.0
    method = f"1 if the loss is ≤ 1 % of a constant prediction's {constant:.3g} and none is wrong"
    return Estimate.exact(float(fitted and not wrong), method=method)


def _constant_loss(problem: Problem) -> float | None:
    """Loss of the best constant prediction: the targets' variance, or the labels' entropy."""
    if problem.loss_name not in ("mse", "cross_entropy", "nll") or not problem.data.targets.numel():
        return None
    outputs = problem.data.targets.reshape(len(problem.data), -1)
    if problem.loss_args.get("shift"):
        outputs = outputs[:, 1:]  # nothing predicts the first token
    targets = outputs.reshape(-1)
    labels = not targets.is_floating_point()
    if problem.loss_name == "mse" and not labels:
        return float(outputs.double().var(dim=0, correction=0).mean())
    if not labels:
        return None
    kept = targets[targets != problem.loss_args.get("ignore_index", -100)]
    shares = torch.bincount(kept).double() / len(kept)
    if problem.loss_name == "mse":
        return float((shares * (1 - shares)).mean())
    return float(torch.special.entr(shares).sum())


def _batch_sharpness(
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

    way = replace(workspace.plan(problem).way, together=1, precision="same")

    def quotient_on(chosen: torch.Tensor) -> float:
        batch = problem.data.select(chosen)
        return batch_curvature(problem, batch, way=way, on_step_down=workspace.steps_down.append)

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
