"""Losses as exact sums and counts, so that batches of any size can be added up.

Averaging the means of unequal batches, or counting samples where a loss ignores some tokens, is
silently wrong; a sum and a count per batch, divided once at the end, is not.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from lla.errors import ConfigurationError, ProblemError, nearest
from lla.problem.code import function_at
from lla.problem.dataset import Batch
from lla.problem.forward import outputs_of
from lla.problem.objective import LossFunction, Terms
from lla.problem.recipe import LossSpec
from lla.problem.standard_losses import STANDARD
from lla.validation import first_mistake

__all__ = ["BatchLoss", "adapt", "named_losses", "resolve_loss"]


def named_losses() -> tuple[str, ...]:
    """Names of the losses that need no code."""
    return tuple(STANDARD)


def resolve_loss(spec: LossSpec, folder: Path) -> LossFunction:
    """The loss a recipe names.

    Raises:
        ConfigurationError: Name or option is unknown, or an option's value is invalid.
    """
    if ":" in spec.name:
        function = function_at(spec.name, folder, role="loss")
        return adapt(function, spec.args)
    if spec.name not in STANDARD:
        raise ConfigurationError(
            f"there is no loss '{spec.name}'{nearest(spec.name, STANDARD)}",
            f"choose among {', '.join(STANDARD)}, or write file.py:function",
        )
    make = STANDARD[spec.name]
    options = inspect.signature(make).parameters
    for key in spec.args:
        if key not in options:
            raise ConfigurationError(
                f"the loss '{spec.name}' has no option '{key}'{nearest(key, options)}",
                f"its options are: {', '.join(options) or 'none'}",
            )
    try:
        return make(**spec.args)
    except ValidationError as error:
        found = first_mistake(error)
        raise ConfigurationError(
            f"the loss '{spec.name}' cannot have {found.key} = {found.value!r}: {found.why}",
            f"correct [loss] args; the default is {options[found.key].default}",
        ) from None


@dataclass(frozen=True)
class BatchLoss:
    """A user's ``fn(module, batch) -> (sum, count)``; it alone may do without targets.

    Attributes:
        function: The user's function.
        options: Its further arguments.
    """

    function: Callable[..., Any]
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, module: nn.Module, batch: Batch) -> Terms:
        """The function's terms; it may differentiate by the inputs where nobody else does."""
        differentiated = torch.is_grad_enabled()
        with torch.enable_grad():
            found = self.function(module, batch, **self.options)
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            raise ProblemError(
                f"the loss fn(module, batch) returned a {_described(found)}, not (sum, count)",
                "return the sum over the batch and the number of its targets: return total, count",
            )
        total, count = found
        _refuse_no_tensor(total, "sum")
        count = torch.as_tensor(count, device=total.device).detach()
        return Terms(total if differentiated else total.detach(), count)


def adapt(function: Callable[..., Any], args: dict[str, Any] | None = None) -> LossFunction:
    """A user's loss in either form, as sums and counts.

    ``fn(output, target) -> scalar`` is taken as a mean over samples. ``fn(module, batch) ->
    (sum, count)``, recognized by its first parameter's name ``module`` or ``model``, is taken as
    it is.
    """
    options = args or {}
    first = _first_parameter(function, options)
    if first in ("module", "model"):
        return BatchLoss(function, options)

    def of_output(module: nn.Module, batch: Batch) -> Terms:
        mean = function(outputs_of(module, batch), batch.targets, **options)
        _refuse_no_tensor(mean, "mean")
        if mean.ndim:
            raise ProblemError(
                f"the loss returned shape {tuple(mean.shape)}, not a scalar mean",
                "return a mean, or write fn(module, batch) -> (sum, count)",
            )
        return Terms(mean * batch.samples, torch.full_like(mean.detach(), batch.samples))

    return of_output


def _first_parameter(function: Callable[..., Any], options: dict[str, Any]) -> str:
    """The name of a user's loss' first parameter, if it can be called with two and its options.

    Raises:
        ConfigurationError: It cannot.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # one that is written in C
        return ""
    try:
        signature.bind(None, None, **options)
    except TypeError as error:
        name = getattr(function, "__name__", type(function).__name__)
        given, takes = ", ".join(options), ", ".join(signature.parameters)
        raise ConfigurationError(
            f"the loss {name}({takes}) cannot be called with two arguments"
            f"{f' and {given}' if given else ''}: {error}",
            "write it as fn(output, target) or fn(module, batch); others by name: [loss] args",
        ) from None
    return next(iter(signature.parameters), "")


def _refuse_no_tensor(value: Any, what: str) -> None:
    if not isinstance(value, torch.Tensor):
        raise ProblemError(
            f"the loss returned a {type(value).__name__} as its {what}, not a tensor",
            "return the tensor itself, without .item(), float() or NumPy: it is differentiated",
        )


def _described(value: Any) -> str:
    return (
        f"{type(value).__name__} of {len(value)}"
        if isinstance(value, (tuple, list))
        else (type(value).__name__)
    )
