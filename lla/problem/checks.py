"""Whether an analysis can trust a problem: it runs, is deterministic, additive and finite."""

from __future__ import annotations

import itertools
import math

import torch

from lla.errors import CheckpointError, DataError, LlaError, ProblemError
from lla.problem.dataset import Batch
from lla.problem.inputs import leaves
from lla.problem.losses import named_losses
from lla.problem.mistakes import explained
from lla.problem.problem import Problem

__all__ = ["check"]

_CHUNKS_CHECKED = 8


def check(problem: Problem) -> None:
    """Put all data through network and loss.

    Raises:
        ProblemError: It does not run, is random, not additive or not differentiable.
        DataError: There is nothing to predict, or the data is not finite.
        CheckpointError: The loss is not finite at these weights.
    """
    batch = next(problem.batches())
    before = _running_statistics(problem)
    try:
        with torch.no_grad():
            first, second = (problem.terms(problem.theta, batch) for _ in range(2))
        if not torch.equal(first.total, second.total) and bool(first.total.isfinite()):
            raise ProblemError(
                "two passes over a batch gave different losses: the network or the loss is random",
                "switch dropout and sampling off in evaluation mode",
            )
        if float(first.weight) < 0:
            raise ProblemError(
                f"the loss returned {float(first.weight):g} as the count of a batch",
                "return (sum, count) with the number of targets that the sum is over",
            )
        _check_differentiable(problem, batch)
        whole = problem.evaluate(problem.theta)
        # Batch norm couples samples when it is asked to; nothing else may.
        with problem.running_statistics():
            parts = () if problem.coupled_layers else problem.data.chunks()
            for part in itertools.islice(parts, _CHUNKS_CHECKED):
                _check_additive(problem, part)
        _check_unchanged(problem, before)
    except LlaError:
        raise
    except ZeroDivisionError:
        raise DataError(
            "all targets are ignored: there is no loss", "check the targets and ignore_index"
        ) from None
    except Exception as error:
        raise explained(error, batch) from error
    if not math.isfinite(whole.loss):
        raise _not_finite(problem, whole.loss)


def _running_statistics(problem: Problem) -> dict[str, torch.Tensor]:
    """Copies of what layers that take the batch's statistics must not update."""
    layers = ((name, problem.module.get_submodule(name)) for name in problem.coupled_layers)
    return {
        f"{name}.{key}": buffer.clone()
        for name, layer in layers
        for key, buffer in layer.named_buffers(recurse=False)
    }


def _check_unchanged(problem: Problem, before: dict[str, torch.Tensor]) -> None:
    for name, buffer in before.items():
        if not torch.equal(problem.module.get_buffer(name), buffer):
            raise ProblemError(
                f"an evaluation changed {name}: the layer updates its running statistics though "
                "track_running_stats is False",
                "derive it from torch's batch norm without a forward of its own, or leave "
                "batch_norm out",
            )


def _check_differentiable(problem: Problem, batch: Batch) -> None:
    """The loss must have come from the parameters by operations that autograd knows."""
    with torch.enable_grad(), problem.second_order():
        total = problem.terms(problem.theta.detach().requires_grad_(), batch).total
        if not total.requires_grad and any(p.requires_grad for p in problem.module.parameters()):
            total = problem.objective(batch).total  # by those that are not analysed
    if not total.requires_grad:
        raise ProblemError(
            "the loss does not depend on the parameters by autograd",
            "look for detach(), no_grad, .data, NumPy, argmax or rounding in network and loss",
        )


def _not_finite(problem: Problem, loss: float) -> LlaError:
    """Where a loss that is no number comes from: the data, the weights, or the loss itself."""
    reason = f"the loss at the checkpoint is {loss}"
    data = problem.data
    for name, tensors in (("inputs", leaves(data.inputs)), ("targets", (data.targets,))):
        for part in tensors:
            bad = part.isnan() if bool(part.isnan().any()) else ~part.isfinite()
            if bool(bad.any()):
                kind = "NaN" if bool(part.isnan().any()) else "infinite numbers"
                sample = int(bad.reshape(len(part), -1).any(1).nonzero()[0])
                return DataError(
                    f"{reason}: the {name} hold {kind}, first in sample {sample}",
                    "leave such samples out of the data, or replace the values",
                )
    if not bool(problem.theta.isfinite().all()):
        return CheckpointError(
            f"{reason}: the weights hold NaN or infinite numbers", "analyse an earlier checkpoint"
        )
    if problem.loss_name not in named_losses():
        return ProblemError(
            f"{reason}, and data and weights are finite",
            f"look for a division by 0 or a logarithm of 0 in {problem.loss_name} or the network",
        )
    return CheckpointError(
        f"{reason}, and data and weights are finite",
        "analyse an earlier checkpoint, or try --dtype float64",
    )


def _check_additive(problem: Problem, batch: Batch) -> None:
    """A batch's sum and weight must be those of its parts: else chunking changes the loss."""
    third = torch.arange(batch.samples, device=problem.device) % 3 == 0
    if bool(third.all()):
        return
    # Not halves, and not neighbours: data in order can make those alike by chance.
    parts = [batch.select(third), batch.select(~third)]
    with torch.no_grad():
        whole, *cut = (problem.terms(problem.theta, part) for part in (batch, *parts))
    pairs = (
        (float(whole.total), math.fsum(float(part.total) for part in cut)),
        (float(whole.weight), math.fsum(float(part.weight) for part in cut)),
    )
    slack = 1e4 * torch.finfo(problem.theta.dtype).eps
    for one, other in pairs:
        if math.isfinite(one) and not math.isclose(one, other, rel_tol=slack, abs_tol=slack):
            raise ProblemError(
                f"the loss of a batch is {one:.6g} and that of its parts {other:.6g} in all: it "
                "depends on how the data is cut",
                "write it as fn(module, batch) -> (sum, count), with targets counted as the mean "
                "counts them; layers that mix the samples of a batch cannot be analysed",
            )
