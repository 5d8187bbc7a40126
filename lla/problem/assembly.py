"""Build the problem from a checkpoint and specifications, or from live objects, and check it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from lla.checkpoint import Checkpoint, load
from lla.errors import ConfigurationError, ProblemError, some
from lla.problem.batch_norm import coupled_layers, take_batch_statistics
from lla.problem.checks import check
from lla.problem.code import as_guest
from lla.problem.data import load_data, make_dataset, read_pictures
from lla.problem.dataset import Dataset
from lla.problem.inputs import in_dtype, mapped
from lla.problem.losses import BatchLoss, adapt, resolve_loss
from lla.problem.model import make_model, refuse_meta
from lla.problem.moments import moments_of
from lla.problem.objective import LossFunction, Objective, copied
from lla.problem.parameters import ParameterSpace
from lla.problem.problem import Problem, Relatives
from lla.problem.readers.batches import Data, store_of
from lla.problem.recipe import (
    DataSpec,
    LossSpec,
    ModelSpec,
    Statistics,
    Training,
    valid_facts,
)
from lla.problem.sharded import ShardedProblem
from lla.problem.sharding.shards import Sharing, sharded
from lla.sources import with_options
from lla.validation import first_mistake

__all__ = ["build", "from_objects", "refuse_no_network"]

_UNSHARED = Sharing()


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
    sharing: Sharing = _UNSHARED,
) -> Problem:
    """The problem that a checkpoint and a recipe state.

    Args:
        checkpoint: The weights.
        model: Factory of the network, and what its batch norm normalizes by.
        data: Which samples.
        loss: Which loss.
        training: How the network was trained.
        folder: Where relative paths of the recipe start.
        params: Globs of the parameters to analyse; all if empty.
        device: A torch device.
        dtype: "float32" or "float64".
        seed: Seed of a data subset.
        sharing: Whether ranks share the parameters; all of them call this alike. A shared problem
            has no relatives, and no optimizer's moments.

    Raises:
        ConfigurationError: Something named does not exist.
        DataError: The data cannot be read.
        ProblemError: Model, data and loss do not fit together.
    """
    function = resolve_loss(loss, folder)
    module = make_model(model, checkpoint, folder, "cpu" if sharing.certain else device)
    needs_targets = not isinstance(function, BatchLoss)
    samples = load_data(data, folder, seed, needs_targets=needs_targets)
    stated = "batch_size" in data.model_fields_set
    samples = _coupled_by(model.batch_norm, module, samples, stated=stated)
    problem = _assemble(module, samples, function, loss, training, params, device, dtype, sharing)
    if isinstance(problem, ShardedProblem):
        return problem

    told = checkpoint.facts  # the checkpoint itself, and with it its tensors, is let go of

    def at(path: str) -> Problem:
        other = load(path, weights=model.weights)
        return _at(problem, other, told, make_model(model, other, folder, device))

    def more(source: str) -> Dataset:
        keys = _other_data(data, source)
        found = load_data(keys, folder, seed, needs_targets=needs_targets)
        # As one batch where that of the problem is one.
        chunk = len(found) if problem.coupled_layers else problem.data.chunk
        return _placed(replace(found, chunk=chunk), device, problem.theta.dtype)

    def pictures(paths: Sequence[str], size: torch.Size) -> torch.Tensor:
        found = read_pictures(paths, size, data)
        return found.to(device=device, dtype=problem.theta.dtype)

    return replace(
        problem,
        moments=moments_of(checkpoint.optimizer_state, problem.module, problem.space),
        relatives=Relatives(at, more, pictures),
    )


def _at(
    problem: Problem, other: Checkpoint, first: Mapping[str, Any], module: nn.Module
) -> Problem:
    """The problem at another checkpoint, with that one's network."""
    if problem.coupled_layers:
        take_batch_statistics(module)
    module = module.to(device=problem.device, dtype=problem.theta.dtype)
    own = dict(module.named_parameters())
    for name, shape in zip(problem.space.names, problem.space.shapes, strict=True):
        if name not in own or own[name].shape != shape:
            there = f"is {tuple(own[name].shape)}" if name in own else "is not there"
            raise ProblemError(
                f"{name} is {tuple(shape)} at the analysed checkpoint and {there} in {other.path}",
                "name a checkpoint of the same network",
            )
    # What was stated holds for all checkpoints; what the first one told, each tells of itself.
    mine, facts = problem.training, valid_facts(first)
    told = {
        key: value
        for key, value in valid_facts(other.facts).items()
        if key not in mine.model_fields_set or getattr(mine, key) == facts.get(key)
    }
    return replace(
        problem,
        objective=Objective(module, problem.objective.loss),
        theta=problem.space.placed(module),
        training=Training(**{**mine.model_dump(exclude_unset=True), **told}),
        moments=moments_of(other.optimizer_state, module, problem.space),
    )


def _other_data(data: DataSpec, source: str) -> DataSpec:
    """Further data by ``source?key=value``; without a source, another part of the same."""
    name, options = with_options(source)
    stated = data.model_dump(exclude_unset=True)
    if name:  # what describes one source means nothing for another
        stated = {key: stated[key] for key in stated if key in ("size", "mean", "std")}
    stated |= {"limit": None, "split": "", "source": name or data.source, **options}
    try:
        return DataSpec(**stated)
    except ValidationError as error:
        found = first_mistake(error)
        raise ConfigurationError(
            f"'{source}': {found.key} = {found.value!r} is not valid: {found.why}",
            "write FILE?key=value&key=value, as data.npz?split=test&limit=512",
        ) from None


def from_objects(
    module: nn.Module,
    data: Data,
    loss: str | LossSpec | Callable[..., Any] = "cross_entropy",
    *,
    training: Training | None = None,
    batch_size: int | None = None,
    params: Sequence[str] = (),
    device: str = "cpu",
    dtype: str = "float32",
    batch_norm: Statistics = "running",
    domains: Mapping[str, Data] | None = None,
    sharing: Sharing = _UNSHARED,
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
        batch_size: Samples per chunk of an evaluation; by default 256, or all of them where batch
            norm takes their statistics.
        params: Globs of the parameters to analyse; all if empty.
        device: A torch device.
        dtype: "float32" or "float64".
        batch_norm: What batch norm normalizes by: "running" statistics, or "batch" for those of all
            samples, as one batch.
        domains: Further data by name, of the forms of ``data``: what ``align`` compares.
        sharing: Whether ranks share the parameters; all of them call this alike.

    Raises:
        ConfigurationError: The data is of no known form; or batch norm cannot take the statistics
            of all samples.
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
    keys = DataSpec(source="", **({} if batch_size is None else {"batch_size": batch_size}))
    needs_targets = not isinstance(function, BatchLoss)
    samples = make_dataset(store_of(data, keys), keys, needs_targets=needs_targets)
    module = copied(module).eval()
    samples = _coupled_by(batch_norm, module, samples, stated=batch_size is not None)
    known = training or Training()
    problem = _assemble(module, samples, function, spec, known, params, device, dtype, sharing)

    def more(name: str, given: Data) -> Dataset:
        store = store_of(given, keys, f"domain '{name}'")
        found = make_dataset(store, keys, needs_targets=needs_targets)
        chunk = len(found) if problem.coupled_layers else problem.data.chunk
        return _placed(replace(found, chunk=chunk), device, problem.theta.dtype)

    return replace(problem, domains={name: more(name, d) for name, d in (domains or {}).items()})


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


def _coupled_by(
    statistics: Statistics, module: nn.Module, data: Dataset, *, stated: bool
) -> Dataset:
    """Set what batch norm normalizes by in a module of ours; the data cut as that allows.

    Raises:
        ConfigurationError: The batch's statistics are asked for, and there is no batch norm to take
            them, or a chunk is stated (``stated``) that does not hold all samples.
        ProblemError: Running statistics are asked for, and a layer has none.
    """
    if statistics == "running":
        _refuse_without_running(module)
        return data
    if statistics != "batch":
        raise ConfigurationError(
            f"there is no batch_norm {statistics!r}", 'choose "running" or "batch"'
        )
    layers, count = take_batch_statistics(module), len(data)
    if stated and data.chunk < count:
        raise ConfigurationError(
            f'batch_norm = "batch" lets {some(layers)} normalize by the samples of one chunk, and '
            f"batch_size = {data.chunk} cuts the {count} samples into chunks: each would silently "
            "be normalized by itself, and loss, gradient and Hessian would depend on batch_size",
            f"leave batch_size out, or say {count} (--set data.batch_size={count}); where memory "
            "does not hold all samples, analyse fewer ([data] limit), or leave batch_norm out",
        )
    return replace(data, chunk=max(count, data.chunk if stated else 0))


def _refuse_without_running(module: nn.Module) -> None:
    layers = coupled_layers(module)
    if layers:
        raise ProblemError(
            f"{some(layers)} keep no running statistics and normalize by the samples of one chunk: "
            "the loss depends on how the data is cut",
            'say that all samples are one batch: batch_norm = "batch" (--batch-norm batch); or '
            "make the layers with track_running_stats=True",
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
    sharing: Sharing = _UNSHARED,
) -> Problem:
    kind = torch.float64 if dtype == "float64" else torch.float32
    space = ParameterSpace.of(module, params)
    stated: dict[str, Any] = {
        "space": space,
        "data": _placed(data, device, kind),
        "training": training,
        "loss_name": loss.name,
        "loss_args": dict(loss.args),
    }
    problem: Problem
    team = sharing.team_for(module, kind)
    if team is None:
        module = module.to(device=device, dtype=kind)
        theta = space.placed(module)
        problem = Problem(objective=Objective(module, function), theta=theta, **stated)
    else:
        _refuse_coupled(module)
        theta, shards = sharded(module, space, team, torch.device(device), kind)
        objective = Objective(module, function)
        problem = ShardedProblem(
            objective=objective, theta=theta, shards=shards, team=team, **stated
        )
        sharing.placed()
    with as_guest(f"network and loss ({loss.name})", "find the call of sys.exit: --debug shows it"):
        check(problem)
    return problem


def _refuse_coupled(module: nn.Module) -> None:
    layers = coupled_layers(module)
    if layers:
        raise ConfigurationError(
            f"{some(layers)} normalize by the statistics of all samples together, and where ranks "
            "share the parameters, each puts its own samples through",
            "leave --shard-parameters out, or take running statistics: --batch-norm running",
        )


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
