"""Analyse live objects from Python, without files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lla.errors import ConfigurationError
from lla.pipeline import analyze_problem, choose_device
from lla.problem import DataSpec, LossSpec, Training, from_objects
from lla.progress import Progress
from lla.report import CheckpointFacts, Report
from lla.settings import resolve
from lla.sources import Source

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["analyze"]


def analyze(
    model: nn.Module,
    data: tuple[torch.Tensor, torch.Tensor],
    loss: str | LossSpec | Callable[..., Any] = "cross_entropy",
    *,
    training: Training | None = None,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> Report:
    """Analyse a network on data; the network is copied and never changed.

    Args:
        model: The network; analysed in evaluation mode.
        data: Inputs and targets, tensors of shape (n, …).
        loss: A loss' name, a specification, ``fn(output, target) -> mean`` or
            ``fn(module, batch) -> (sum, count)``.
        training: How the network was trained; the stability conditions need it.
        only: Run these analyses only.
        skip: Leave these analyses out.
        settings: Sections of keys as in a recipe, as ``{"landscape": {"points": 51}}``.
        batch_size: Samples per chunk of an evaluation.
        progress: Told how far the run is.

    Returns:
        The report: the same object that :func:`lla.read` gives for a report file.

    Raises:
        LlaError: A setting is invalid, or model, data and loss do not fit together.

    Example:
        >>> report = lla.analyze(model, (x, y), only=["spectrum"])  # doctest: +SKIP
        >>> report.metrics["hessian/lambda_max"].value  # doctest: +SKIP
    """
    stated = sorted({"model", "data", "loss", "training"} & set(settings or {}))
    if stated:
        raise ConfigurationError(
            f"settings cannot hold [{stated[0]}]: lla.analyze takes it as an argument",
            f"pass it as {stated[0]}=…, and leave it out of settings",
        )
    sections = {name: dict(keys) for name, keys in (settings or {}).items()}
    sections.setdefault("run", {}).update(
        {name: list(value) for name, value in (("only", only), ("skip", skip)) if value}
    )
    resolved = resolve([Source("lla.analyze(…)", sections)])
    run = resolved.run
    problem = from_objects(
        model,
        data,
        loss,
        training=training,
        batch_size=batch_size,
        params=run.params,
        device=choose_device(run.device),
        dtype=run.dtype,
    )
    spec = DataSpec(batch_size=batch_size)
    named = LossSpec(name=problem.loss_name, args=dict(problem.loss_args))
    resolved = replace(resolved, data=spec, loss=named, training=problem.training)
    digest = hashlib.sha256(problem.theta.cpu().numpy().tobytes()).hexdigest()
    facts = CheckpointFacts("", digest, type(model).__name__, problem.space.size)
    return analyze_problem(problem, facts, resolved, progress=progress)
