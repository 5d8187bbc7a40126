"""Build the problem from a checkpoint and specifications, or from live objects, and check it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lla.checkpoint import Checkpoint
from lla.errors import CheckpointError, ConfigurationError, DataError, LlaError, ProblemError
from lla.problem.code import as_guest
from lla.problem.data import load_data, make_dataset
from lla.problem.inputs import in_dtype, leaves, mapped
from lla.problem.losses import BatchLoss, adapt, named_losses, resolve_loss
from lla.problem.mistakes import explained
from lla.problem.model import make_model, refuse_meta
from lla.problem.parameters import ParameterSpace
from lla.problem.problem import Batch, Dataset, LossFunction, Objective, Problem, copied
from lla.problem.readers.batches import Data, store_of
from lla.problem.recipe import DataSpec, LossSpec, ModelSpec, Training

__all__ = ["build", "from_objects", "refuse_no_network"]

_CHUNKS_CHECKED = 8


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
    module = make_model(model, checkpoint, folder, device)
    samples = load_data(data, folder, seed, needs_targets=not isinstance(function, BatchLoss))
    return _assemble(module, samples, function, loss, training, params, device, dtype)


def from_objects(
    module: nn.Module,
    data: Data,
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
        data: (x, y) of shapes (n, …), where x is a tensor, a tuple or a dict of tensors; a dict
            with a key such as ``labels`` for the targets; a torch ``Dataset``; a ``DataLoader`` or
            any iterable of such batches, read once and kept in its order; for a loss
            ``fn(module, batch)``, also inputs alone.
        loss: A name, a specification, or a function in one of the two forms of a recipe.
        training: How the network was trained.
        batch_size: Samples per chunk of an evaluation.
        params: Globs of the parameters to analyse; all if empty.
        device: A torch device.
        dtype: "float32" or "float64".

    Raises:
        ConfigurationError: The data is of no known form.
        DataError: A sample is unreadable, or samples differ in shape.
        ProblemError: Model, data and loss do not fit together.
    """
    refuse_no_network(module)
    refuse_meta(module, "the model")
    if isinstance(loss, str):
        loss = LossSpec(name=loss)
    if isinstance(loss, LossSpec):
        spec, function = loss, resolve_loss(loss, Path())
    else:
        spec, function = LossSpec(name=getattr(loss, "__name__", "function")), adapt(loss)
    keys = DataSpec(source="", batch_size=batch_size)
    samples = make_dataset(
        store_of(data, keys), keys, needs_targets=not isinstance(function, BatchLoss)
    )
    module = copied(module).eval()
    return _assemble(module, samples, function, spec, training or Training(), params, device, dtype)


def refuse_no_network(module: object) -> None:
    """Refuse what is no network, as a class instead of an instance, or data in its place.

    Raises:
        ConfigurationError: It is no ``nn.Module``.
    """
    if isinstance(module, nn.Module):
        return
    if isinstance(module, type):
        raise ConfigurationError(
            f"the model is the class {module.__name__}, not a network",
            f"make one, with the trained weights in it: {module.__name__}(…)",
        )
    raise ConfigurationError(
        f"the model is a {type(module).__name__}, no torch.nn.Module",
        "pass the network first, then the data: lla.analyze(model, data, loss)",
    )


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
    with as_guest(f"network and loss ({loss.name})", "find the call of sys.exit: --debug shows it"):
        _check(problem)
    return problem


def _placed(data: Dataset, device: str, kind: torch.dtype) -> Dataset:
    """The data set on the device: real and complex numbers in the working precision.

    Integers become int64. Truth values stay what they are in inputs, where they are masks, and
    become int64 in targets, where they are labels.
    """

    def place(tensor: torch.Tensor) -> torch.Tensor:
        whole = not (tensor.is_floating_point() or tensor.is_complex())
        made = tensor.to(torch.int64) if whole else in_dtype(tensor, kind)
        return made.to(device)

    def place_input(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(device) if tensor.dtype == torch.bool else place(tensor)

    inputs = mapped(data.inputs, place_input)
    return replace(data, inputs=inputs, targets=place(data.targets))


def _check(problem: Problem) -> None:
    """All data through network and loss: it must run, be deterministic, additive and finite."""
    batch = next(problem.data.chunks())
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
        for part in itertools.islice(problem.data.chunks(), _CHUNKS_CHECKED):
            _check_additive(problem, part)
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


def _check_differentiable(problem: Problem, batch: Batch) -> None:
    """The loss must have come from the parameters by operations that autograd knows."""
    with torch.enable_grad(), problem.second_order():
        total = problem.terms(problem.theta.detach().requires_grad_(), batch).total
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
