"""The Fisher matrix: the second moment of gradients at targets drawn from the model itself.

F = (1/Σ weight) Σ E_{y ~ p(·|x)} g gᵀ with g the gradient of −log p. Its expectation over the
draws is the Gauss–Newton matrix for the losses below (Martens 2020, "New insights and perspectives
on the natural gradient method"); a finite number of draws is an unbiased estimate of rank at most
draws × samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from lla.curvature.gauss_newton import EmpiricalFisher
from lla.errors import ProblemError
from lla.problem import Batch, Problem
from lla.problem.forward import outputs_of
from lla.problem.inputs import mapped
from lla.problem.standard_losses import labelled, next_token
from lla.seeding import generator

__all__ = ["MonteCarloFisher", "drawn_targets"]

_GAUSSIAN = 0.5**0.5  # the squared error is −log p of a normal with variance ½


class MonteCarloFisher(EmpiricalFisher):
    """The Fisher matrix with targets drawn from the model, seeded for each sample and draw.

    Raises:
        ProblemError: The loss is not the −log p of a distribution that can be drawn from.
    """

    def __init__(self, problem: Problem, *, seed: int = 0, draws: int = 1, **options: Any) -> None:
        """Make the operator; further options are those of every summed operator.

        Args:
            problem: Network, parameters and loss.
            seed: Seed of the draws: they depend on it and on the sample's position alone.
            draws: Targets drawn for each sample.
            options: As for :class:`lla.curvature.SummedOperator`.
        """
        data = problem.data
        targets = torch.cat([drawn_targets(problem, seed, index) for index in range(draws)])
        inputs = mapped(data.inputs, lambda part: torch.cat([part] * draws))
        # The statistics of a batch are those of the batch repeated.
        chunk = data.chunk * (draws if problem.coupled_layers else 1)
        repeated = replace(data, inputs=inputs, targets=targets, chunk=chunk)
        super().__init__(problem.altered(data=repeated), **options)


def drawn_targets(problem: Problem, seed: int, index: int = 0) -> torch.Tensor:
    """One target for each sample, drawn from the model's distribution; ignored ones stay ignored.

    Returns:
        Of the targets' shape and dtype.
    """
    rule = _RULES.get(problem.loss_name)
    args = problem.loss_args
    if rule is None or args.get("label_smoothing") or args.get("one_hot"):
        raise ProblemError(
            f"the loss '{problem.loss_name}' with {args or 'no options'} is not the −log p of a "
            "distribution, and a Fisher matrix is of one",
            f"use --operator ggn, or one of the losses {', '.join(_RULES)} without smoothing",
        )
    # On the CPU and for all samples in order: neither device nor chunks change a draw.
    random = generator(seed, "fisher", index)
    found = []
    with torch.no_grad():
        for batch in problem.batches():
            found.append(rule(outputs_of(problem.module, batch), batch, args, random))
    return torch.cat(found)


Rule = Callable[[torch.Tensor, Batch, dict[str, object], torch.Generator], torch.Tensor]


def _categorical(
    logits: torch.Tensor, batch: Batch, args: dict[str, object], random: torch.Generator
) -> torch.Tensor:
    ignored: Any = args.get("ignore_index", -100)
    axis: Any = args.get("class_dim")
    drawn = batch.targets.clone()
    if args.get("shift"):
        logits, place, axis = next_token(logits, batch.targets)[0], drawn[:, 1:], -1
    else:
        place = drawn
    flat, labels = labelled(logits, place, axis, ignored)
    shares = flat.double().softmax(-1).cumsum(-1).cpu()
    # One uniform number for each prediction, ignored or not, keeps draws in step.
    level = torch.rand(len(shares), 1, generator=random, dtype=torch.float64)
    classes = (level > shares).sum(-1).clamp(max=shares.shape[-1] - 1).to(labels.device)
    place.copy_(torch.where(labels == ignored, labels, classes).reshape(place.shape))
    return drawn


def _normal(
    outputs: torch.Tensor, batch: Batch, args: dict[str, object], random: torch.Generator
) -> torch.Tensor:
    noise = torch.randn(outputs.shape, generator=random, dtype=torch.float64).to(outputs)
    return (outputs + _GAUSSIAN * noise).reshape(batch.targets.shape)


def _bernoulli(
    outputs: torch.Tensor, batch: Batch, args: dict[str, object], random: torch.Generator
) -> torch.Tensor:
    level = torch.rand(outputs.shape, generator=random, dtype=torch.float64).to(outputs)
    return (level < outputs.sigmoid()).to(outputs).reshape(batch.targets.shape)


_RULES: dict[str, Rule] = {
    "cross_entropy": _categorical,
    "nll": _categorical,
    "mse": _normal,
    "bce_with_logits": _bernoulli,
}
