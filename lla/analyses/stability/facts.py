"""The facts of a training run, of its loss and of how near to a minimum it ended."""

from __future__ import annotations

import math

import torch
from torch.nn.modules.dropout import _DropoutNd

from lla.analyses.shared import BASE_EVALUATION, GRADIENT
from lla.analyses.spectral import spectral
from lla.analyses.stability.condition import TrainingRun
from lla.analyses.workspace import Workspace
from lla.estimate import Estimate
from lla.problem import Problem
from lla.problem.forward import outputs_if_any

__all__ = ["distance_from_minimum", "interpolation", "training_run"]

_INTERPOLATION = 0.01
_NEAR = 0.05


def training_run(
    problem: Problem, interpolates: Estimate, away: str, replacement: bool
) -> TrainingRun:
    """The facts of the training that the conditions rest on."""
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
        betas=facts.betas or (0.9, 0.999),
        replacement=replacement,
        away=away,
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


def interpolation(problem: Problem, workspace: Workspace) -> Estimate:
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


def distance_from_minimum(problem: Problem, workspace: Workspace, interpolates: Estimate) -> str:
    """Why these weights are not near a minimum, or "".

    Near means that the best step along the gradient, which lowers the loss by
    ‖g‖²/(2ĝᵀHĝ), would lower it by no more than a twentieth; or that every sample is fitted.
    """
    slope = workspace.get(GRADIENT, problem)
    loss = workspace.get(BASE_EVALUATION, problem).loss
    square = float(slope @ slope)
    if interpolates.value == 1.0 or not square:
        return ""
    product = workspace.get(spectral("hessian").operator, problem)(slope)
    curvature = float(slope @ product) / square
    gain = square / (2 * curvature) if curvature > 0 else math.inf
    if gain <= _NEAR * abs(loss):
        return ""
    words = "without end" if math.isinf(gain) else f"by {gain / abs(loss):.0%}"
    return (
        "these weights are not near a minimum: a step along the gradient would lower the loss "
        f"{words} (‖g‖ = {math.sqrt(square):.3g})"
    )
