"""Capture activations and their gradients without leaving a trace in the network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

# Their outputs are weights or copies, not features: attention's softmax is tokens × tokens.
_NO_FEATURES = (nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Identity, nn.Flatten, _DropoutNd)

__all__ = ["Call", "Captured", "captured", "preserved"]


@dataclass(frozen=True)
class Call:
    """One call of a module in a forward pass.

    Attributes:
        name: The module's; where it is called several times, with ``@2`` for the second call.
        module: The module.
        output: Its output, or the first tensor of it, as a point to differentiate by.
        input: Its first input, as it was given.
    """

    name: str
    module: nn.Module
    output: torch.Tensor
    input: torch.Tensor | None


class Captured:
    """The calls of a forward pass.

    Attributes:
        calls: In the order in which they ended.
        shapes: Rows and columns of all outputs with four axes, in that order, of any module.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.shapes: list[tuple[int, int]] = []
        self._versions: list[tuple[str, torch.Tensor, int]] = []

    def keep(self, name: str, tensor: torch.Tensor) -> None:
        """Remember in which state a module's output or input was kept without a copy."""
        self._versions.append((name, tensor, tensor._version))

    def changed(self) -> frozenset[str]:
        """Modules whose output or input an in-place operation has changed since it was kept."""
        return frozenset(
            name for name, tensor, before in self._versions if tensor._version != before
        )

    def named(self) -> dict[str, Call]:
        """The calls by name; those of a module that is called several times have numbers."""
        often = {
            name for name, count in Counter(call.name for call in self.calls).items() if count > 1
        }
        seen: Counter[str] = Counter()
        found = {}
        for call in self.calls:
            seen[call.name] += 1
            name = f"{call.name}@{seen[call.name]}" if call.name in often else call.name
            found[name] = replace(call, name=name)
        return found


@contextmanager
def captured(
    module: nn.Module,
    among: Collection[str] | None = None,
    *,
    inputs: bool = False,
    copies: Collection[str] | None = None,
) -> Iterator[Captured]:
    """Outputs of modules in one forward pass, in the order in which their calls end.

    An output is passed on as a copy, so that an in-place operation after it
    (``ReLU(inplace=True)``) leaves the captured tensor as it was; with ``inputs`` so is each input.
    The hooks are removed at the end, after an error too.

    Args:
        module: The network.
        among: Names of modules to capture, without ``@``; None for all that make features.
        inputs: Whether inputs are kept as well.
        copies: Names of the modules that this is done for; None for all. What others' outputs and
            inputs are worth, :meth:`Captured.changed` says afterwards.
    """
    found = Captured()
    handles = []

    def remember(name: str) -> object:
        def hook(part: nn.Module, given: tuple[object, ...], output: object) -> object:
            first, rest = _first(output)
            if first is None or not first.requires_grad:
                return None
            given_first = given[0] if given and isinstance(given[0], torch.Tensor) else None
            found.calls.append(Call(name, part, first, given_first))
            if copies is not None and name not in copies:
                found.keep(name, first)
                return None
            copy = first.clone()
            return copy if rest is None else (copy, *rest)

        return hook

    def note_shape(part: nn.Module, given: tuple[object, ...], output: object) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == 4:
            found.shapes.append((int(output.shape[-2]), int(output.shape[-1])))

    def keep_input(name: str) -> object:
        def hook(part: nn.Module, given: tuple[object, ...]) -> object:
            if not given or not isinstance(given[0], torch.Tensor):
                return None
            if copies is not None and name not in copies:
                found.keep(name, given[0])
                return None
            # What follows in place would change it under the captured one.
            return (given[0].clone(), *given[1:])

        return hook

    try:
        for name, part in module.named_modules():
            chosen = not isinstance(part, _NO_FEATURES) if among is None else name in among
            if name:
                handles.append(part.register_forward_hook(note_shape))
            if name and chosen:
                if inputs:
                    handles.append(part.register_forward_pre_hook(keep_input(name)))
                handles.append(part.register_forward_hook(remember(name)))
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _first(output: object) -> tuple[torch.Tensor | None, tuple[object, ...] | None]:
    """The tensor of an output, and what else a tuple has."""
    if isinstance(output, torch.Tensor):
        return output, None
    plain = type(output) is tuple and output and isinstance(output[0], torch.Tensor)
    return (output[0], output[1:]) if plain else (None, None)  # type: ignore[index]


@contextmanager
def preserved(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Whatever a forward pass draws or counts is as it was afterwards: random state, buffers."""
    buffers = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, before in buffers:
                    if not torch.equal(buffer, before):
                        buffer.copy_(before)
