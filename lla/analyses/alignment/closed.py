"""Gradient and Hessian of a linear head from forward passes, as sums over groups of samples.

With features z (a 1 behind them where there is a bias), outputs o = Θz and a loss ℓ of the outputs
of one prediction, ∇L = (1/W) Σ r zᵀ and H = (1/W) Σ M ⊗ zzᵀ, where r and M are ℓ's first and second
derivative by o. For the softmax r = p − y and M = diag(p) − ppᵀ (Hemati et al. 2023, appendix); of
other losses M is differentiated, K passes over K numbers per prediction.

Sums of groups, not of samples, are kept: memory does not grow with the data, and weighting the
groups anew makes a bootstrap replicate without another pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lla.analyses.alignment.head import Head, seen_by
from lla.problem import Batch, Dataset, Problem
from lla.problem.inputs import in_dtype
from lla.seeding import permutation

__all__ = [
    "HeadSums",
    "NoClosedFormError",
    "Predictions",
    "block_count",
    "dense",
    "groups_of_samples",
    "head_sums",
    "predictions",
]

_SCRATCH = 64 << 20  # bytes of one intermediate array
_MOST_OUTPUTS = 128  # whose second derivatives are taken one by one
_AGREE = 1e-6


class NoClosedFormError(Exception):
    """The loss is no sum over predictions of a function of their outputs."""


@dataclass(frozen=True)
class Predictions:
    """What some samples' predictions are made of, in float64; m predictions of K outputs.

    Attributes:
        features: z, with a 1 behind if the head has a bias, shape (m, D).
        outputs: Θz, shape (m, K).
        slopes: r, derivative of the summed loss by the outputs, shape (m, K).
        curvature: M's entries with k ≤ l, row by row, shape (m, K(K+1)/2).
        loss: Summed loss, a scalar.
        weight: What it is divided by, a scalar.
        correct: Right predictions and predictions, shape (2,); NaN without classes.
        labels: Each prediction's class; −1 where it has none or does not count, shape (m,).
        counts: Which predictions the loss counts: those that are not padded, shape (m,).
    """

    features: torch.Tensor
    outputs: torch.Tensor
    slopes: torch.Tensor
    curvature: torch.Tensor
    loss: torch.Tensor
    weight: torch.Tensor
    correct: torch.Tensor
    labels: torch.Tensor
    counts: torch.Tensor


@dataclass
class HeadSums:
    """Sums over each of G groups of samples, float64; K outputs, D features, T = K(K+1)/2.

    Attributes:
        loss: Shape (G,).
        weight: Shape (G,).
        correct: Right predictions and predictions, shape (G, 2).
        gradient: Σ r zᵀ, shape (G, K, D).
        blocks: Σ M_kl zzᵀ for k ≤ l, shape (G, T, D, D).
        predictions: Predictions that count, shape (G,).
        features: Σ z over them, shape (G, D).
        second: Σ zzᵀ, shape (G, D, D).
        squares: Σ (r zᵀ)², entry by entry, shape (G, K, D).
    """

    loss: torch.Tensor
    weight: torch.Tensor
    correct: torch.Tensor
    gradient: torch.Tensor
    blocks: torch.Tensor
    predictions: torch.Tensor
    features: torch.Tensor
    second: torch.Tensor
    squares: torch.Tensor

    @classmethod
    def empty(cls, groups: int, outputs: int, features: int, device: torch.device) -> HeadSums:
        """Zeros."""

        def zeros(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        return cls(
            zeros(groups),
            zeros(groups),
            zeros(groups, 2),
            zeros(groups, outputs, features),
            zeros(groups, block_count(outputs), features, features),
            zeros(groups),
            zeros(groups, features),
            zeros(groups, features, features),
            zeros(groups, outputs, features),
        )

    def add(self, group: int, found: Predictions) -> None:
        """Add some samples' predictions to a group."""
        self.loss[group] += found.loss
        self.weight[group] += found.weight
        self.correct[group] += found.correct
        self.gradient[group] += found.slopes.T @ found.features
        z = found.features[found.counts]
        self.predictions[group] += len(z)
        self.features[group] += z.sum(dim=0)
        self.second[group] += z.T @ z
        self.squares[group] += found.slopes.square().T @ found.features.square()
        rows, size = found.features.shape
        step = max(1, _SCRATCH // (8 * max(1, rows * size)))
        for start in range(0, found.curvature.shape[1], step):
            some = found.curvature[:, start : start + step].T[:, :, None] * found.features
            self.blocks[group, start : start + step] += some.mT @ found.features

    def weighted(self, counts: torch.Tensor) -> HeadSums:
        """The sums with each group counted so often, as one group: shape (G,)."""
        return HeadSums(
            *(torch.tensordot(counts, part, dims=1)[None] for part in vars(self).values())
        )


def block_count(outputs: int) -> int:
    """T, the number of blocks k ≤ l of a symmetric matrix of K × K blocks."""
    return outputs * (outputs + 1) // 2


def dense(blocks: torch.Tensor, outputs: int) -> torch.Tensor:
    """The matrix of its blocks k ≤ l, each symmetric: (T, D, D) → (KD, KD)."""
    size = blocks.shape[-1]
    upper = torch.triu_indices(outputs, outputs, device=blocks.device)
    whole = blocks.new_empty((outputs, size, outputs, size))
    whole[upper[0], :, upper[1]] = blocks
    whole[upper[1], :, upper[0]] = blocks
    return whole.reshape(outputs * size, outputs * size)


def groups_of_samples(samples: int, most: int, seed: int, name: str) -> list[torch.Tensor]:
    """Random groups of samples of about equal size, at most ``most`` of them."""
    order = permutation(samples, seed, f"groups of {name}")
    count = min(most, samples)
    return [order[start::count] for start in range(count)]


def head_sums(
    problem: Problem,
    head: Head,
    data: Dataset,
    groups: list[torch.Tensor],
    *,
    on_chunk: Callable[[int, Predictions], None] = lambda group, found: None,
    on_samples: Callable[[int], None] = lambda count: None,
) -> HeadSums:
    """One pass over a domain's samples.

    Args:
        problem: Network and loss.
        head: Its linear head.
        data: The domain.
        groups: Positions of each group's samples; one group where layers couple the samples.
        on_chunk: Given each chunk's group and predictions, for what else is wanted of them.
        on_samples: Told how many samples were passed.

    Raises:
        NoClosedFormError: The loss is no sum over predictions of a function of their outputs.
    """
    sums: HeadSums | None = None
    for index, group in enumerate(groups):
        chosen = data.select(group)
        for batch in (
            problem.batches([chosen]) if problem.coupled_layers else chosen.chunks(data.chunk)
        ):
            found = predictions(problem, head, batch)
            if sums is None:
                outputs, features = found.outputs.shape[1], found.features.shape[1]
                sums = HeadSums.empty(len(groups), outputs, features, problem.device)
            sums.add(index, found)
            on_chunk(index, found)
            on_samples(batch.samples)
    if sums is None:
        raise ValueError("a domain has samples")
    return sums


class _Given(nn.Module):
    """A network that gives these outputs, whatever it is given."""

    def __init__(self, outputs: torch.Tensor) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, *given: Any, **named: Any) -> torch.Tensor:
        return self.outputs


def predictions(problem: Problem, head: Head, batch: Batch) -> Predictions:
    """What a linear head makes of some samples.

    Raises:
        NoClosedFormError: The loss is no sum over predictions of a function of their outputs.
    """
    seen = seen_by(problem, batch, head.layer)
    if seen.features is None or seen.outputs is None:
        raise NoClosedFormError(f"{head.layer or 'the network'} was not called")
    own = dict(problem.module.named_parameters())
    weight = own[head.names[0]].detach().double()
    features = seen.features.double()
    if head.augmented:
        features = torch.cat([features, torch.ones_like(features[..., :1])], dim=-1)
        weight = torch.cat([weight, own[head.names[1]].detach().double()[:, None]], dim=1)
    # Outputs anew in float64: differences between domains are small beside them.
    outputs = (features @ weight.T).reshape(seen.outputs.shape).requires_grad_(True)
    count = len(weight)
    exact = batch._replace(targets=in_dtype(batch.targets, torch.float64))
    with torch.enable_grad():
        try:
            terms = problem.objective.loss(_Given(outputs), exact)
            (slopes,) = torch.autograd.grad(
                terms.total, outputs, create_graph=True, allow_unused=True, materialize_grads=True
            )
        except Exception as error:
            why = f"the loss is not of the outputs alone ({type(error).__name__}: {error})"
            raise NoClosedFormError(why) from error
        curvature = _curvature(problem, outputs, slopes, count)
    labels = _labels(problem, batch, outputs.numel() // count, count)
    right = terms.correct or (terms.weight * torch.nan, terms.weight * torch.nan)
    return Predictions(
        features=features.reshape(-1, features.shape[-1]),
        outputs=outputs.detach().reshape(-1, count),
        slopes=slopes.detach().reshape(-1, count),
        curvature=curvature,
        loss=terms.total.detach().double(),
        weight=terms.weight.double(),
        correct=torch.stack([part.double() for part in right]),
        labels=labels,
        counts=(labels >= 0)
        if bool((labels >= 0).any())
        else torch.ones_like(labels, dtype=torch.bool),
    )


def _labels(problem: Problem, batch: Batch, rows: int, classes: int) -> torch.Tensor:
    """Each prediction's class, where targets are classes, one for each; else −1."""
    targets = batch.targets
    shifted = bool(problem.loss_args.get("shift"))  # targets are the inputs' next tokens
    numbers = targets.is_floating_point() or targets.is_complex()
    if numbers or shifted or targets.numel() != rows:
        return torch.full((rows,), -1, device=targets.device)
    flat = targets.reshape(-1)
    known = (flat >= 0) & (flat < max(classes, 2))
    known &= flat != problem.loss_args.get("ignore_index", -100)
    return torch.where(known, flat, -1)


def _curvature(
    problem: Problem, outputs: torch.Tensor, slopes: torch.Tensor, count: int
) -> torch.Tensor:
    """M of each prediction, its entries with k ≤ l: shape (m, T); checked along a random vector."""
    upper = torch.triu_indices(count, count, device=outputs.device)
    flat = outputs.detach().reshape(-1, count)
    probe = _probe(outputs)
    along = _derivative(outputs, slopes, probe).reshape(-1, count)
    probe = probe.reshape(-1, count)
    if problem.loss_name == "cross_entropy" and count > 1:
        share = flat.softmax(dim=1)
        kept = (along != 0).any(dim=1)  # padded targets do not count
        entries = -share[:, upper[0]] * share[:, upper[1]]
        entries[:, upper[0] == upper[1]] += share
        entries *= kept[:, None]
        again = (share * probe - share * (share * probe).sum(dim=1, keepdim=True)) * kept[:, None]
    elif count <= _MOST_OUTPUTS:
        columns = [_derivative(outputs, slopes, unit) for unit in _units(outputs, count)]
        whole = torch.stack([column.reshape(-1, count) for column in columns], dim=2)
        again = torch.einsum("mkl,ml->mk", whole, probe)
        entries = whole[:, upper[0], upper[1]]
    else:
        raise NoClosedFormError(f"the loss '{problem.loss_name}' is of {count} outputs")
    size = float(torch.linalg.vector_norm(along))
    if float(torch.linalg.vector_norm(along - again)) > _AGREE * size:
        raise NoClosedFormError(
            "the loss is no sum over predictions of a function of each one's outputs"
        )
    return entries


def _derivative(outputs: torch.Tensor, slopes: torch.Tensor, along: torch.Tensor) -> torch.Tensor:
    """Derivative of the slopes along a vector of their shape."""
    if not slopes.requires_grad:
        return torch.zeros_like(slopes)
    (found,) = torch.autograd.grad(
        slopes,
        outputs,
        along,
        retain_graph=True,
        allow_unused=True,
        materialize_grads=True,
    )
    return found.detach()


def _probe(outputs: torch.Tensor) -> torch.Tensor:
    """A fixed vector without structure: no symmetry of a loss hides in it."""
    places = torch.arange(outputs.numel(), dtype=torch.float64, device=outputs.device)
    return torch.cos(1.7 * places * places + places).reshape(outputs.shape)


def _units(outputs: torch.Tensor, count: int) -> Iterator[torch.Tensor]:
    """For each output the vector that is 1 there and 0 at the others, for every prediction."""
    for index in range(count):
        unit = torch.zeros_like(outputs).reshape(-1, count)
        unit[:, index] = 1.0
        yield unit.reshape(outputs.shape)
