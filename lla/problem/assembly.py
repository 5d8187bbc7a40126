"""Build the problem from a checkpoint and specifications, or from live objects, and check it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lla.checkpoint import Checkpoint
from lla.errors import CheckpointError, ProblemError
from lla.problem.data import load_data, make_dataset
from lla.problem.losses import adapt, resolve_loss
from lla.problem.model import make_model
from lla.problem.parameters import ParameterSpace
from lla.problem.problem import Batch, Dataset, LossFunction, Objective, Problem
from lla.problem.recipe import DataSpec, LossSpec, ModelSpec, Training

__all__ = ["build", "from_objects"]


def build(
    checkpoint: Checkpoint,
    *,
    model: ModelSpec,
    data: DataSpec,
    loss: LossSpec,
    training: Training,
    folder: Path,
    params: Sequence[str] = (),
    device: str = "cpu",
    dtype: str = "float32",
    seed: int = 0,
) -> Problem:
    """The problem that a checkpoint and a recipe state.

    Args:
        checkpoint: The weights.
        model: Factory of the network.
        data: Which samples.
        loss: Which loss.
        training: How the network was trained.
        folder: Where relative paths of the recipe start.
        params: Globs of the parameters to analyse; all if empty.
        device: A torch device.
        dtype: "float32" or "float64".
        seed: Seed of a data subset.

    Raises:
        ConfigurationError: Something named does not exist.
        DataError: The data cannot be read.
        ProblemError: Model, data and loss do not fit together.
    """
    function = resolve_loss(loss, folder)
    module = make_model(model, checkpoint, folder)
    samples = load_data(data, folder, seed)
    return _assemble(module, samples, function, loss, training, params, device, dtype)


def from_objects(
    module: nn.Module,
    data: tuple[torch.Tensor, torch.Tensor],
    loss: str | LossSpec | Callable[..., Any] = "cross_entropy",
    *,
    training: Training | None = None,
    batch_size: int = 256,
    params: Sequence[str] = (),
    device: str = "cpu",
    dtype: str = "float32",
) -> Problem:
    """The problem that live objects state; the caller's module is copied, never changed.

    Args:
        module: The network; analysed in evaluation mode.
        data: Inputs and targets, shapes (n, …).
        loss: A name, a specification, or a function in one of the two forms of a recipe.
        training: How the network was trained.
        batch_size: Samples per chunk of an evaluation.
        params: Globs of the parameters to analyse; all if empty.
        device: A torch device.
        dtype: "float32" or "float64".

    Raises:
        ProblemError: Model, data and loss do not fit together.
    """
    samples = make_dataset(
        torch.as_tensor(data[0]).detach().cpu(),
        torch.as_tensor(data[1]).detach().cpu(),
        DataSpec(source="", batch_size=batch_size),
    )
    if isinstance(loss, str):
        loss = LossSpec(name=loss)
    if isinstance(loss, LossSpec):
        spec, function = loss, resolve_loss(loss, Path())
    else:
        spec, function = LossSpec(name=getattr(loss, "__name__", "function")), adapt(loss)
    module = copy.deepcopy(module).eval()
    return _assemble(module, samples, function, spec, training or Training(), params, device, dtype)


def _assemble(
    module: nn.Module,
    data: Dataset,
    function: LossFunction,
    loss: LossSpec,
    training: Training,
    params: Sequence[str],
    device: str,
    dtype: str,
) -> Problem:
    kind = torch.float64 if dtype == "float64" else torch.float32
    module = module.to(device=device, dtype=kind)
    space = ParameterSpace.of(module, params)
    problem = Problem(
        objective=Objective(module, function),
        space=space,
        theta=space.flat(module),
        data=_placed(data, device, kind),
        training=training,
        loss_name=loss.name,
        loss_args=dict(loss.args),
    )
    _check(problem)
    return problem


def _placed(data: Dataset, device: str, kind: torch.dtype) -> Dataset:
    """The data set on the device: floating point in the working dtype, integers as int64."""

    def place(tensor: torch.Tensor) -> torch.Tensor:
        to = kind if tensor.is_floating_point() else torch.int64
        return tensor.to(device=device, dtype=to)

    inputs, targets = place(data.inputs), place(data.targets)
    return Dataset(**{**vars(data), "inputs": inputs, "targets": targets})


def _check(problem: Problem) -> None:
    """One chunk through network and loss, twice: it must run, be deterministic and be finite."""
    batch = next(problem.data.chunks())
    try:
        with torch.no_grad():
            first = problem.terms(problem.theta, batch)
            second = problem.terms(problem.theta, batch)
    except ProblemError:
        raise
    except Exception as error:
        shapes = f"{tuple(batch.inputs.shape)} inputs, {tuple(batch.targets.shape)} targets"
        raise ProblemError(
            f"network and loss cannot process a batch ({shapes}): {str(error).splitlines()[0]}",
            "compare the data's shapes with what the network and the loss expect",
        ) from error
    if not torch.equal(first.total, second.total):
        raise ProblemError(
            "two passes over the same batch gave different losses: the network or loss is random",
            "switch dropout and sampling off in evaluation mode",
        )
    _check_additive(problem, batch, float(first.total), float(first.weight))
    if not math.isfinite(float(first.total)):
        raise CheckpointError(
            f"the loss at the checkpoint is {float(first.total)}",
            "analyse an earlier checkpoint, or try --dtype float64",
        )


def _check_additive(problem: Problem, batch: Batch, total: float, weight: float) -> None:
    """A batch's sum and weight must be those of its parts: else chunking changes the loss."""
    cut = max(1, len(batch.inputs) // 3)
    with torch.no_grad():
        parts = [problem.terms(problem.theta, part) for part in batch.chunks(cut)]
    sums = (math.fsum(float(part.total) for part in parts), sum(float(p.weight) for p in parts))
    slack = 1e4 * torch.finfo(problem.theta.dtype).eps
    same = all(
        math.isclose(one, other, rel_tol=slack, abs_tol=slack)
        for one, other in zip(sums, (total, weight), strict=True)
    )
    if not same and math.isfinite(total):
        raise ProblemError(
            f"the loss of a batch is {total:.6g} and that of its parts {sums[0]:.6g} in all: "
            "it depends on how the data is cut",
            "write it as fn(module, batch) -> (sum, count), with ignored or weighted targets "
            "counted as the mean counts them",
        )
