"""Make the network and put the checkpoint's weights into it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from lla.checkpoint import Checkpoint, strip_prefixes
from lla.errors import CheckpointError, ConfigurationError, ProblemError, nearest
from lla.problem.code import function_at
from lla.problem.recipe import ModelSpec

__all__ = ["make_model"]

_SHOWN = 4


def make_model(spec: ModelSpec, checkpoint: Checkpoint, folder: Path) -> nn.Module:
    """The network of a recipe with the weights of a checkpoint, in evaluation mode.

    Args:
        spec: The factory and its arguments.
        checkpoint: The weights.
        folder: Where a relative factory file is looked for.

    Raises:
        ConfigurationError: The factory is not given, does not exist or fails.
        ProblemError: The weights do not fit the network.
    """
    if not spec.factory:
        raise ConfigurationError(
            f"{checkpoint.path} holds weights only: the network's code is not known",
            "name its factory: --model models.py:make_model, or [model] factory in a recipe",
        )
    factory = function_at(spec.factory, folder, role="model factory")
    try:
        module = factory(**spec.args)
    except Exception as error:
        raise ConfigurationError(
            f"the model factory {spec.factory} failed: {type(error).__name__}: {error}",
            "correct [model] args in the recipe, or --model-arg",
        ) from error
    if not isinstance(module, nn.Module):
        raise ConfigurationError(
            f"the model factory {spec.factory} returned a {type(module).__name__}, no nn.Module",
            "return the network from it",
        )
    _load(module, checkpoint, spec)
    return module.eval()


def _load(module: nn.Module, checkpoint: Checkpoint, spec: ModelSpec) -> None:
    own = module.state_dict()
    saved = checkpoint.tensors
    if saved.keys() != own.keys():
        saved = strip_prefixes(saved)
    problems = _mismatches(own, saved)
    if problems:
        raise ProblemError(
            f"the weights in {checkpoint.path} do not fit {spec.factory}: " + "; ".join(problems),
            "correct the factory or its arguments: [model] args in the recipe, or --model-arg",
        )
    try:
        module.load_state_dict(dict(saved), strict=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"{checkpoint.path} cannot be loaded into the network: {error}",
            "compare the names: lla inspect " + str(checkpoint.path),
        ) from None


def _mismatches(own: Mapping[str, torch.Tensor], saved: Mapping[str, torch.Tensor]) -> list[str]:
    missing = [name for name in own if name not in saved]
    unexpected = [name for name in saved if name not in own]
    shapes = [
        f"{name} is {tuple(saved[name].shape)} in the file, {tuple(own[name].shape)} in the model"
        for name in own
        if name in saved and own[name].shape != saved[name].shape
    ]
    found = []
    if missing:
        found.append("missing " + _some([name + nearest(name, unexpected) for name in missing]))
    if unexpected:
        found.append("unexpected " + _some(unexpected))
    if shapes:
        found.append(_some(shapes))
    return found


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
