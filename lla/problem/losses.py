"""Losses as exact sums and counts, so that batches of any size can be added up.

Averaging the means of unequal batches, or counting samples where a loss ignores some tokens, is
silently wrong; a sum and a count per batch, divided once at the end, is not.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from lla.errors import ConfigurationError, ProblemError, nearest
from lla.problem.code import function_at
from lla.problem.problem import Batch, LossFunction, Terms
from lla.problem.recipe import LossSpec

__all__ = ["named_losses", "resolve_loss"]


def _cross_entropy(
    *, ignore_index: int = -100, label_smoothing: float = 0.0, class_dim: int | None = None
) -> LossFunction:
    def loss(module: nn.Module, batch: Batch) -> Terms:
        logits = _classes_last(module(batch.inputs), batch.targets, class_dim)
        targets = batch.targets.reshape(-1)
        total = F.cross_entropy(
            logits,
            targets,
            reduction="sum",
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
        )
        kept = targets != ignore_index
        count = kept.sum()
        right = ((logits.argmax(-1) == targets) & kept).sum()
        return Terms(total, count, (right, count))

    return loss


def _classes_last(
    logits: torch.Tensor, targets: torch.Tensor, class_dim: int | None
) -> torch.Tensor:
    """Logits as (all predictions, classes), from (n, K, …) or (n, …, K)."""
    if class_dim is None:
        second = logits.shape[:1] + logits.shape[2:] == targets.shape
        last = logits.shape[:-1] == targets.shape
        if second and last and logits.ndim > 2:
            raise ProblemError(
                f"outputs of shape {tuple(logits.shape)} may have classes second or last",
                "say it in the recipe: [loss] args = { class_dim = 1 } or -1",
            )
        class_dim = -1 if last else 1
    return logits.movedim(class_dim, -1).reshape(-1, logits.shape[class_dim])


def _mse(*, one_hot: bool = False, class_dim: int | None = None) -> LossFunction:
    def loss(module: nn.Module, batch: Batch) -> Terms:
        output = module(batch.inputs)
        correct = None
        if one_hot:
            output = _classes_last(output, batch.targets, class_dim)
            labels = batch.targets.reshape(-1)
            target = F.one_hot(labels, output.shape[-1]).to(output.dtype)
            right = (output.argmax(-1) == labels).sum()
            correct = (right, torch.full_like(right, labels.numel()))
        else:
            target = _like(output, batch.targets)
        total = F.mse_loss(output, target, reduction="sum")
        return Terms(total, torch.full_like(total.detach(), output.numel()), correct)

    return loss


def _like(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The targets in the output's shape and dtype; they may differ by dimensions of size 1."""
    if [n for n in output.shape[1:] if n > 1] != [n for n in targets.shape[1:] if n > 1]:
        raise ProblemError(
            f"outputs are of shape {tuple(output.shape)} and targets of {tuple(targets.shape)}",
            "give targets of the outputs' shape"
            + ("" if targets.is_floating_point() else "; for class labels: --loss cross_entropy"),
        )
    return targets.reshape(output.shape).to(output.dtype)


def _bce_with_logits() -> LossFunction:
    def loss(module: nn.Module, batch: Batch) -> Terms:
        output = module(batch.inputs)
        target = _like(output, batch.targets)
        total = F.binary_cross_entropy_with_logits(output, target, reduction="sum")
        right = ((output > 0) == (target > 0.5)).sum()
        count = torch.full_like(right, output.numel())
        return Terms(total, count, (right, count))

    return loss


_NAMED: dict[str, Callable[..., LossFunction]] = {
    "cross_entropy": _cross_entropy,
    "mse": _mse,
    "bce_with_logits": _bce_with_logits,
}


def named_losses() -> tuple[str, ...]:
    """Names of the losses that need no code."""
    return tuple(_NAMED)


def resolve_loss(spec: LossSpec, folder: Path) -> LossFunction:
    """The loss a recipe names.

    Raises:
        ConfigurationError: Name or option is unknown.
    """
    if ":" in spec.name:
        function = function_at(spec.name, folder, role="loss")
        return adapt(function, spec.args)
    if spec.name not in _NAMED:
        raise ConfigurationError(
            f"there is no loss '{spec.name}'{nearest(spec.name, _NAMED)}",
            f"choose among {', '.join(_NAMED)}, or write file.py:function",
        )
    make = _NAMED[spec.name]
    options = inspect.signature(make).parameters
    for key in spec.args:
        if key not in options:
            raise ConfigurationError(
                f"the loss '{spec.name}' has no option '{key}'{nearest(key, options)}",
                f"its options are: {', '.join(options) or 'none'}",
            )
    return make(**spec.args)


def adapt(function: Callable[..., Any], args: dict[str, Any] | None = None) -> LossFunction:
    """A user's loss in either form, as sums and counts.

    ``fn(output, target) -> scalar`` is taken as a mean over samples. ``fn(module, batch) ->
    (sum, count)``, recognized by its first parameter's name ``module`` or ``model``, is taken as
    it is.
    """
    options = args or {}
    first = next(iter(inspect.signature(function).parameters), "")

    def of_module(module: nn.Module, batch: Batch) -> Terms:
        total, count = function(module, batch, **options)
        return Terms(total, torch.as_tensor(count, device=total.device))

    def of_output(module: nn.Module, batch: Batch) -> Terms:
        mean = function(module(batch.inputs), batch.targets, **options)
        if mean.ndim:
            raise ProblemError(
                f"the loss returned shape {tuple(mean.shape)}, not a scalar mean",
                "return a mean, or write fn(module, batch) -> (sum, count)",
            )
        samples = batch.inputs.shape[0]
        return Terms(mean * samples, torch.full_like(mean.detach(), samples))

    return of_module if first in ("module", "model") else of_output
