"""A problem stated by live objects, as a class to be called from a notebook or a training loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from torch import nn

from lla.errors import ConfigurationError, nearest
from lla.problem import problem
from lla.problem.assembly import from_objects, refuse_no_network
from lla.problem.readers.batches import Data
from lla.problem.recipe import LossSpec, Statistics, Training
from lla.validation import first_mistake

__all__ = ["Problem"]


class Problem(problem.Problem):
    """A network at its current weights, its data and its loss.

    The network is copied: training can go on while the problem stays what it was.

    Args:
        model: The network; analysed in evaluation mode.
        data: (x, y) of shapes (n, …), where x is a tensor, a tuple or a dict of tensors; a dict
            with a key such as ``labels`` for the targets; a torch ``Dataset``; a ``DataLoader`` or
            any iterable of such batches, read once and kept in its order.
        loss: A loss' name, a specification, ``fn(output, target) -> mean`` or
            ``fn(module, batch) -> (sum, count)``.
        training: How the network was trained, as a :class:`Training` or its keys.
        batch_size: Samples per chunk of an evaluation; by default 256, or all of them where batch
            norm takes their statistics.
        params: Globs of the parameters to analyse; all if empty.
        device: A torch device; None for the one the network is on.
        dtype: "float32" or "float64".
        batch_norm: What batch norm normalizes by: "running" statistics, or "batch" for those of all
            samples, as one batch.
        domains: Further data by name, of the forms of ``data``: what ``align`` compares.

    Raises:
        LlaError: Model, data and loss do not fit together.

    Example:
        >>> problem = lla.Problem(model, (x, y))  # doctest: +SKIP
        >>> lla.analyze(problem, only=["spectrum"])  # doctest: +SKIP
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        loss: str | LossSpec | Callable[..., Any] = "cross_entropy",
        *,
        training: Training | Mapping[str, Any] | None = None,
        batch_size: int | None = None,
        params: Sequence[str] = (),
        device: str | None = None,
        dtype: str = "float32",
        batch_norm: Statistics = "running",
        domains: Mapping[str, Data] | None = None,
    ) -> None:
        refuse_no_network(model)
        first = next(model.parameters(), None)
        made = from_objects(
            model,
            data,
            loss,
            training=_training(training),
            batch_size=batch_size,
            params=params,
            device=device or ("cpu" if first is None else str(first.device)),
            dtype=dtype,
            batch_norm=batch_norm,
            domains=domains,
        )
        super().__init__(**vars(made))


def _training(given: Training | Mapping[str, Any] | None) -> Training | None:
    if given is None or isinstance(given, Training):
        return given
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"training is a {type(given).__name__}, no table of keys",
            f"pass lla.Training(lr=…) or a dict; the keys are: {', '.join(Training.model_fields)}",
        )
    for key in given:
        if key not in Training.model_fields:
            raise ConfigurationError(
                f"training: there is no key '{key}'{nearest(str(key), Training.model_fields)}",
                f"the keys are: {', '.join(Training.model_fields)}",
            )
    try:
        return Training(**given)
    except ValidationError as error:
        found = first_mistake(error)
        raise ConfigurationError(
            f"training: {found.key} = {found.value!r} is not valid: {found.why}",
            f"the keys are: {', '.join(Training.model_fields)}",
        ) from None
