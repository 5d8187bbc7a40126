"""Make the network and put the checkpoint's weights into it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lla.checkpoint import Checkpoint, strip_prefixes
from lla.errors import (
    CheckpointError,
    ConfigurationError,
    LlaError,
    ProblemError,
    nearest,
    some,
)
from lla.problem.code import as_guest, function_at
from lla.problem.recipe import ModelSpec, no_factory

__all__ = ["FixedBatch", "make_model", "refuse_meta"]


class FixedBatch(nn.Module):
    """A network that takes exactly ``size`` samples, for any number of them.

    Samples are given to it ``size`` at a time; the last ones are filled up with copies of the
    last sample, whose outputs are dropped.
    """

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        self.network = network
        self.size = size

    def forward(self, *args: torch.Tensor, **options: torch.Tensor) -> Any:
        """Outputs for all samples, shape (n, …)."""
        count = len((*args, *options.values())[0])
        outputs = []
        for start in range(0, count, self.size):
            where = torch.arange(start, start + self.size).clamp(max=count - 1)
            parts = [part[where.to(part.device)] for part in args]
            named = {key: part[where.to(part.device)] for key, part in options.items()}
            outputs.append(self.network(*parts, **named))
        if not all(isinstance(output, torch.Tensor) for output in outputs):
            raise ProblemError(
                f"the network takes batches of {self.size} only and gives no plain tensor",
                "export it with a dynamic batch: dynamic_shapes={'x': {0: torch.export.Dim('n')}}",
            )
        return torch.cat(outputs)[:count]


def make_model(
    spec: ModelSpec, checkpoint: Checkpoint, folder: Path, device: str = "cpu"
) -> nn.Module:
    """The network of a recipe with the weights of a checkpoint, in evaluation mode.

    Args:
        spec: The factory and its arguments; not needed where the checkpoint brings its network.
        checkpoint: The weights.
        folder: Where a relative factory file is looked for.
        device: Where a network that comes with the checkpoint is made.

    Raises:
        ConfigurationError: The factory is not given, does not exist or fails.
        ProblemError: The weights do not fit the network.
    """
    if not spec.factory:
        return _own_network(checkpoint, device)
    factory = function_at(spec.factory, folder, role="model factory")
    try:
        with as_guest(f"the model factory {spec.factory}", "return the network from it instead"):
            module = factory(**spec.args)
    except LlaError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"the model factory {spec.factory} failed: {type(error).__name__}: {error}",
            "correct [model] args in the recipe, or --model-arg; --debug shows where",
        ) from error
    if not isinstance(module, nn.Module):
        raise ConfigurationError(
            f"the model factory {spec.factory} returned {type(module).__name__}, no nn.Module",
            "return the network from it",
        )
    refuse_meta(module, f"the model factory {spec.factory}")
    _load(module, checkpoint, spec)
    return module.eval()


def refuse_meta(module: nn.Module, what: str) -> None:
    """Refuse a network without values.

    Raises:
        ConfigurationError: A parameter or a buffer is on torch's meta device.
    """
    tensors = itertools.chain(module.named_parameters(), module.named_buffers())
    name = next((name for name, tensor in tensors if tensor.is_meta), None)
    if name is not None:
        raise ConfigurationError(
            f"{what} makes {name} on the meta device, where tensors have no values",
            "build it on the CPU: leave torch.device('meta') or device='meta' out",
        )


def _own_network(checkpoint: Checkpoint, device: str) -> nn.Module:
    if checkpoint.network is None:
        raise no_factory(str(checkpoint.path), "holds weights only")
    module = checkpoint.network(device).eval()
    return module if checkpoint.batch is None else FixedBatch(module, checkpoint.batch).eval()


def _load(module: nn.Module, checkpoint: Checkpoint, spec: ModelSpec) -> None:
    own = module.state_dict(keep_vars=True)
    names = _fitting(own, checkpoint.tensors)
    saved = _with_tied(own, {name: checkpoint.tensors[full] for name, full in names.items()})
    problems = _mismatches(own, saved, names)
    if problems:
        raise ProblemError(
            f"the weights in {checkpoint.path} do not fit {spec.factory}: "
            + "; ".join([*problems, *_left_over(names, checkpoint.tensors)]),
            "correct the factory or its arguments: [model] args in the recipe, or --model-arg",
        )
    try:
        module.load_state_dict(dict(saved), strict=False)
    except RuntimeError as error:
        raise CheckpointError(
            f"{checkpoint.path} cannot be loaded into the network: {error}",
            "compare the names: lla inspect " + str(checkpoint.path),
        ) from None


def _fitting(own: Mapping[str, torch.Tensor], saved: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """The names in the file of the saved tensors, by the network's names.

    Wrappers put a prefix before every name; a Lightning module keeps its network under an
    attribute of any name, perhaps beside others (metrics, a loss with weights).
    """
    names = _tensor_names(own)
    if saved.keys() == names:
        return {name: name for name in saved}
    # In the order of the file, as what is stripped.
    stripped = dict(zip(strip_prefixes(saved), saved, strict=True))
    for prefix in dict.fromkeys(name.partition(".")[0] + "." for name in stripped):
        part = {
            name.removeprefix(prefix): full
            for name, full in stripped.items()
            if name.startswith(prefix)
        }
        if part.keys() == names:
            return part
    return stripped


def _with_tied(
    own: Mapping[str, torch.Tensor], saved: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The saved tensors with those that a format leaves out because another name has them."""
    held = {id(own[name]): tensor for name, tensor in saved.items() if name in own}
    tied = {name: held[id(part)] for name, part in own.items() if id(part) in held}
    return {**tied, **saved}


def _tensor_names(own: Mapping[str, Any]) -> set[str]:
    return {name for name in own if not name.endswith("_extra_state")}


def _left_over(names: Mapping[str, str], saved: Mapping[str, torch.Tensor]) -> list[str]:
    """What is said of the tensors that belong to no part of the network, beside those that do."""
    taken = set(names.values())
    rest = [name for name in saved if name not in taken]
    return [f"{_tensors(rest)} of the file left over: {some(rest)}"] if rest else []


def _tensors(names: Sequence[str]) -> str:
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''}"


def _mismatches(
    own: Mapping[str, torch.Tensor],
    saved: Mapping[str, torch.Tensor],
    full: Mapping[str, str],
) -> list[str]:
    """What does not fit, in the file's names where they differ from the network's."""

    def called(name: str) -> str:
        other = full.get(name, name)
        return name if other == name else f"{other} (the model's {name})"

    names = [name for name in own if not name.endswith("_extra_state")]
    missing = [name for name in names if name not in saved]
    unexpected = [name for name in saved if name not in own]
    shapes = [
        f"{called(name)} is {tuple(saved[name].shape)} in the file, "
        f"{tuple(own[name].shape)} in the model"
        for name in names
        if name in saved and own[name].shape != saved[name].shape
    ]
    # What torch would cast without a word: whole numbers are quantized, of a complex one the
    # imaginary part is lost.
    kinds = [
        f"{called(name)} is {_kind(saved[name])} in the file, {_kind(own[name])} in the model"
        for name in names
        if name in saved and _kind(own[name]) != _kind(saved[name])
    ]
    found = []
    if missing:
        near = [name + nearest(name, unexpected) for name in missing]
        found.append(f"{_tensors(missing)} missing: {some(near)}")
    if unexpected:
        there = [full.get(name, name) for name in unexpected]
        found.append(f"{_tensors(there)} unexpected: {some(there)}")
    if shapes:
        found.append(some(shapes))
    if kinds:
        found.append(some(kinds))
    return found


def _kind(tensor: torch.Tensor) -> str:
    if tensor.is_complex():
        return "complex"
    return "real" if tensor.is_floating_point() else "whole numbers"
