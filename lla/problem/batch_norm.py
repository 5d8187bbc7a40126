"""What batch norm normalizes by: its running statistics, or those of the samples it is given.

In a network of ours all layers are in evaluation mode, or all in a training mode that neither reads
nor writes a buffer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lla.errors import ConfigurationError, some
from lla.problem.recipe import Statistics

__all__ = [
    "averaging_statistics",
    "coupled_layers",
    "fixed_layers",
    "has_batch_norm",
    "normalizing_by",
    "take_batch_statistics",
]


def coupled_layers(module: nn.Module) -> tuple[str, ...]:
    """Names of the layers that take the statistics of the batch they are given.

    The output for a sample then depends on the batch's other samples.
    """
    return tuple(
        name
        for name, part in module.named_modules()
        if isinstance(part, _BatchNorm) and (part.training or part.running_mean is None)
    )


def fixed_layers(module: nn.Module) -> tuple[str, ...]:
    """Names of the layers that no mode switches, as those of exported programs and TorchScript."""
    owners = (name.rpartition(".") for name, _ in module.named_buffers())
    return tuple(
        owner
        for owner, _, buffer in owners
        if buffer == "running_mean" and not hasattr(module.get_submodule(owner), "momentum")
    )


def has_batch_norm(module: nn.Module) -> bool:
    """Whether there is a layer, switchable or not, whose training uses each batch's statistics."""
    return any(isinstance(part, _BatchNorm) for part in module.modules()) or bool(
        fixed_layers(module)
    )


def take_batch_statistics(module: nn.Module) -> tuple[str, ...]:
    """Let all batch norm layers normalize by the samples they are given, from now on.

    Returns:
        Their names.

    Raises:
        ConfigurationError: There is none, or one that cannot be switched.
    """
    fixed = fixed_layers(module)
    if fixed:
        raise ConfigurationError(
            f'batch_norm = "batch", but {some(fixed)} cannot be switched: an exported program, '
            "TorchScript and frozen batch norm have their running statistics built in",
            "leave batch_norm out; or analyse the weights in the network's own code: "
            "--model models.py:FACTORY",
        )
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            _switch(part, "batch")
    names = coupled_layers(module)
    if not names:
        raise ConfigurationError(
            'batch_norm = "batch", but the network has no batch norm layer '
            "(torch.nn.BatchNorm1d, 2d, 3d, SyncBatchNorm, or made from one)",
            "leave batch_norm out",
        )
    return names


@contextmanager
def normalizing_by(module: nn.Module, statistics: Statistics) -> Iterator[None]:
    """Let batch norm use other statistics within a block; what it was is restored, on errors too.

    Layers without running statistics keep using the batch's.
    """
    layers = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    before = [(part.training, part.track_running_stats) for part in layers]
    try:
        for part in layers:
            _switch(part, statistics)
        yield
    finally:
        for part, (training, tracking) in zip(layers, before, strict=True):
            part.training, part.track_running_stats = training, tracking


def _switch(part: _BatchNorm, statistics: Statistics) -> None:
    part.training = statistics == "batch"
    if part.training:
        # Without tracking, a layer in training mode neither reads nor writes its buffers.
        part.track_running_stats = False


@contextmanager
def averaging_statistics(module: nn.Module) -> Iterator[dict[str, torch.Tensor]]:
    """Let batch norm average its statistics over the calls within a block, into new buffers.

    Yields:
        Zero buffers by name, to be used in place of the module's own in every call; empty where
        no layer keeps statistics.
    """
    layers = [
        (name, part)
        for name, part in module.named_modules()
        if isinstance(part, _BatchNorm) and part.track_running_stats and not part.training
    ]
    momenta = [part.momentum for _, part in layers]
    buffers = {
        f"{name}.{key}" if name else key: torch.zeros_like(value)
        for name, part in layers
        for key, value in part.named_buffers()
    }
    try:
        for _, part in layers:
            part.training, part.momentum = True, None  # None: the mean over all calls
        yield buffers
    finally:
        for (_, part), momentum in zip(layers, momenta, strict=True):
            part.training, part.momentum = False, momentum
