"""Losses that need no code, each as a sum and what the sum is divided by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field, validate_call
from torch import nn
from torch.nn import functional as F

from lla.errors import ConfigurationError, ProblemError
from lla.problem.dataset import Batch
from lla.problem.forward import outputs_of
from lla.problem.objective import LossFunction, Terms

__all__ = ["STANDARD", "labelled", "next_token"]

_Share = Annotated[float, Field(ge=0, le=1)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@validate_call
def _cross_entropy(
    *,
    ignore_index: int = -100,
    label_smoothing: _Share = 0.0,
    class_dim: int | None = None,
    shift: bool = False,
) -> LossFunction:
    if shift and class_dim not in (None, -1):
        raise ConfigurationError(
            f"shift predicts the next token from classes last, and class_dim is {class_dim}",
            "leave class_dim out",
        )

    def loss(module: nn.Module, batch: Batch) -> Terms:
        logits, targets = outputs_of(module, batch), batch.targets
        if shift:
            logits, targets = next_token(logits, targets)
        flat, labels = labelled(logits, targets, -1 if shift else class_dim, ignore_index)
        total = F.cross_entropy(
            flat,
            labels,
            reduction="sum",
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
        )
        return _with_accuracy(total, flat, labels, ignore_index)

    return loss


@validate_call
def _nll(*, ignore_index: int = -100, class_dim: int | None = None) -> LossFunction:
    def loss(module: nn.Module, batch: Batch) -> Terms:
        logs, targets = outputs_of(module, batch), batch.targets
        flat, labels = labelled(logs, targets, class_dim, ignore_index)
        total = F.nll_loss(flat, labels, reduction="sum", ignore_index=ignore_index)
        return _with_accuracy(total, flat, labels, ignore_index)

    return loss


def _with_accuracy(
    total: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor, ignored: int
) -> Terms:
    kept = labels != ignored
    count = kept.sum()
    return Terms(total, count, (((logits.argmax(-1) == labels) & kept).sum(), count))


def next_token(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each position's logits beside the token after it, as causal language models are trained."""
    if logits.shape[:-1] != targets.shape or targets.ndim != 2:
        raise ProblemError(
            f"shift expects outputs (n, time, classes) and targets (n, time), and they are "
            f"{tuple(logits.shape)} and {tuple(targets.shape)}",
            "leave shift out, or give the tokens themselves as targets",
        )
    return logits[:, :-1], targets[:, 1:]


def labelled(
    logits: torch.Tensor, targets: torch.Tensor, class_dim: int | None, ignored: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits as (all predictions, classes), from (n, K, …) or (n, …, K), and their labels."""
    if targets.is_floating_point():
        raise ProblemError(
            f"targets of shape {tuple(targets.shape)} are {str(targets.dtype).partition('.')[2]}, "
            "and the loss compares with class labels, which are integers",
            "for numbers: --loss mse; for labels: store y as integers",
        )
    guessed = class_dim is None
    if class_dim is None:
        second = logits.shape[:1] + logits.shape[2:] == targets.shape
        last = logits.shape[:-1] == targets.shape
        if second and last and logits.ndim > 2:
            raise ProblemError(
                f"outputs of shape {tuple(logits.shape)} may have classes second or last",
                "say it in the recipe: [loss] args = { class_dim = 1 } or -1",
            )
        class_dim = -1 if last else 1
    if not -logits.ndim <= class_dim < logits.ndim or logits.ndim < 2:
        raise ProblemError(
            f"outputs of shape {tuple(logits.shape)} have no classes along axis {class_dim}",
            "correct [loss] args class_dim, or choose a loss of one number per sample: "
            "bce_with_logits, mse",
        )
    classes = logits.shape[class_dim]
    flat, labels = logits.movedim(class_dim, -1).reshape(-1, classes), targets.reshape(-1)
    if len(flat) != len(labels):
        raise ProblemError(
            f"outputs are of shape {tuple(logits.shape)} and targets of {tuple(targets.shape)}: "
            f"with classes along axis {class_dim}{' (a guess)' if guessed else ''} there are "
            f"{len(flat)} predictions and {len(labels)} targets",
            "give a label to each prediction, or say where the classes are: "
            "[loss] args = { class_dim = -1 }",
        )
    # Every loss is evaluated once before it is differentiated. On a GPU such a label would end the
    # process, so it has to be found before the loss sees it.
    if not torch.is_grad_enabled():
        wrong = labels[(labels < 0) | (labels >= classes)]
        wrong = wrong if ignored is None else wrong[wrong != ignored]
        if len(wrong):
            raise ValueError(f"label {int(wrong[0])} is none of the {classes} classes")
    return flat, labels


@validate_call
def _mse(*, one_hot: bool = False, class_dim: int | None = None) -> LossFunction:
    def loss(module: nn.Module, batch: Batch) -> Terms:
        output = outputs_of(module, batch)
        correct = None
        if one_hot:
            output, labels = labelled(output, batch.targets, class_dim, None)
            # A comparison, unlike F.one_hot, reads no value: vmap takes it.
            classes = torch.arange(output.shape[-1], device=labels.device)
            target = (labels[:, None] == classes).to(output.dtype)
            right = (output.argmax(-1) == labels).sum()
            correct = (right, torch.full_like(right, labels.numel()))
        else:
            target = _like(output, batch.targets)
        total = F.mse_loss(output, target, reduction="sum")
        return Terms(total, _count(output), correct)

    return loss


def _count(output: torch.Tensor) -> torch.Tensor:
    """The number of elements; in the output's own dtype it might be rounded."""
    return torch.tensor(output.numel(), dtype=torch.float64, device=output.device)


def _like(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The targets in the output's shape and dtype; they may differ by dimensions of size 1."""
    if [n for n in output.shape[1:] if n > 1] != [n for n in targets.shape[1:] if n > 1]:
        raise ProblemError(
            f"outputs are of shape {tuple(output.shape)} and targets of {tuple(targets.shape)}",
            "give targets of the outputs' shape"
            + ("" if targets.is_floating_point() else "; for class labels: --loss cross_entropy"),
        )
    return targets.reshape(output.shape).to(output.dtype)


@validate_call
def _l1() -> LossFunction:
    return _elementwise(lambda output, target: F.l1_loss(output, target, reduction="sum"))


@validate_call
def _huber(*, delta: _Positive = 1.0) -> LossFunction:
    return _elementwise(
        lambda output, target: F.huber_loss(output, target, reduction="sum", delta=delta)
    )


@validate_call
def _smooth_l1(*, beta: _Positive = 1.0) -> LossFunction:
    return _elementwise(
        lambda output, target: F.smooth_l1_loss(output, target, reduction="sum", beta=beta)
    )


def _elementwise(sum_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> LossFunction:
    """A loss that is a mean over all elements of the outputs."""

    def loss(module: nn.Module, batch: Batch) -> Terms:
        output = outputs_of(module, batch)
        total = sum_of(output, _like(output, batch.targets))
        return Terms(total, _count(output))

    return loss


@validate_call
def _bce_with_logits() -> LossFunction:
    def loss(module: nn.Module, batch: Batch) -> Terms:
        output = outputs_of(module, batch)
        target = _like(output, batch.targets)
        total = F.binary_cross_entropy_with_logits(output, target, reduction="sum")
        right = ((output > 0) == (target > 0.5)).sum()
        count = torch.full_like(right, output.numel())
        return Terms(total, count, (right, count))

    return loss


STANDARD: dict[str, Callable[..., LossFunction]] = {
    "cross_entropy": _cross_entropy,
    "nll": _nll,
    "mse": _mse,
    "l1": _l1,
    "huber": _huber,
    "smooth_l1": _smooth_l1,
    "bce_with_logits": _bce_with_logits,
}
