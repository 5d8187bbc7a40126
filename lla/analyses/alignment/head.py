"""Find the layer that makes the network's outputs, and what it is given.

A network's head is linear if its outputs *are* the outputs of an ``nn.Linear`` that is called once
and whose weights serve nothing else. The Hessian by its weights then follows from a forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from lla.problem import Batch, ParameterSpace, Problem
from lla.problem.forward import tensor_in
from lla.problem.objective import Terms

__all__ = ["Head", "Seen", "find_head", "seen_by"]


@dataclass(frozen=True)
class Head:
    """The last layer with parameters.

    Attributes:
        layer: Its name among the network's modules.
        names: Its parameters as the network names them, weight first.
        shapes: Their shapes.
        why: Why the closed form of a linear head does not apply, or "".
    """

    layer: str
    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    why: str = ""

    @property
    def space(self) -> ParameterSpace:
        """Its parameters as a flat vector."""
        return ParameterSpace(self.names, self.shapes)

    @property
    def linear(self) -> bool:
        """Whether it is a linear layer whose outputs are the network's."""
        return not self.why

    @property
    def augmented(self) -> bool:
        """Whether its features have a 1 behind them: whether it has a bias."""
        return len(self.names) > 1


@dataclass
class Seen:
    """What one forward pass showed of a layer.

    Attributes:
        features: The layer's input, shape (n, …, d).
        outputs: The network's output, shape (n, …, K).
        calls: The layers with parameters of their own, in the order of their calls.
        terms: What the loss made of it.
    """

    features: torch.Tensor | None = None
    outputs: torch.Tensor | None = None
    calls: list[tuple[str, torch.Tensor | None, torch.Tensor | None]] = field(default_factory=list)
    terms: Terms | None = None


@contextmanager
def _watched(module: nn.Module, seen: Seen, layer: str | None) -> Iterator[None]:
    """Note inputs and outputs of one layer, or of all that have parameters; hooks go at the end."""
    handles = []

    def note(name: str) -> Any:
        def hook(part: nn.Module, given: tuple[Any, ...], made: Any) -> None:
            first = given[0] if given and isinstance(given[0], torch.Tensor) else None
            found = made if isinstance(made, torch.Tensor) else None
            seen.calls.append((name, first, found))
            seen.features = first

        return hook

    def note_output(part: nn.Module, given: tuple[Any, ...], made: Any) -> None:
        seen.outputs = tensor_in(made)

    try:
        for name, part in module.named_modules():
            leaf = not any(part.children()) and any(True for _ in part.parameters(recurse=False))
            if leaf and layer in (None, name):
                handles.append(part.register_forward_hook(note(name)))
        handles.append(module.register_forward_hook(note_output))
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def seen_by(problem: Problem, batch: Batch, layer: str | None = None) -> Seen:
    """One forward pass of a batch, with what a layer is given (None: every layer)."""
    seen = Seen()
    with _watched(problem.module, seen, layer):
        seen.terms = problem.terms(problem.theta, batch)
    return seen


@torch.no_grad()
def find_head(problem: Problem, batch: Batch) -> Head | None:
    """The last layer with parameters that the outputs depend on; None where none can be watched.

    Args:
        problem: Network and loss.
        batch: A few samples.
    """
    seen = seen_by(problem, batch)
    if not seen.calls:
        return None  # a program (TorchScript, exported): its layers are no modules
    layer, made = _candidate(seen)
    part = problem.module.get_submodule(layer)
    aliases: dict[int, list[str]] = {}
    for name, parameter in problem.module.named_parameters(remove_duplicate=False):
        aliases.setdefault(id(parameter), []).append(name)
    own = dict(part.named_parameters(recurse=False))
    names = tuple(aliases[id(parameter)][0] for parameter in own.values())
    shapes = tuple(parameter.shape for parameter in own.values())
    why = _no_linear_head(layer, part, made, seen)
    if not why:
        tied = [name for parameter in own.values() for name in aliases[id(parameter)][1:]]
        why = f"the weights of {layer} serve elsewhere as well, as {tied[0]}" if tied else ""
    return Head(layer, names, shapes, why)


def _candidate(seen: Seen) -> tuple[str, torch.Tensor | None]:
    """The layer whose output is the network's; where there is none, the last that was called."""
    for layer, _, made in reversed(seen.calls):
        if _is_output(made, seen):
            return layer, made
    layer, _, made = seen.calls[-1]
    return layer, made


def _is_output(made: torch.Tensor | None, seen: Seen) -> bool:
    """Whether a tensor is the network's output, perhaps in another shape."""
    found = seen.outputs
    return (
        made is not None
        and found is not None
        and made.numel() == found.numel()
        and made.data_ptr() == found.data_ptr()
    )


def _no_linear_head(layer: str, part: nn.Module, made: torch.Tensor | None, seen: Seen) -> str:
    """Why a layer is no linear head, or ""."""
    name = layer or "the network"
    own = [key for key, _ in part.named_parameters(recurse=False)]
    if not isinstance(part, nn.Linear) or own not in (["weight", "bias"], ["weight"]):
        return f"{name} is a {type(part).__name__}, no linear layer"
    calls = [given for called, given, _ in seen.calls if called == layer]
    if len(calls) > 1:
        return f"{name} is called {len(calls)} times"
    if calls[0] is None or not _is_output(made, seen):
        return f"the network's outputs are not those of {name} as they are"
    # An operation in place would have changed the outputs under the layer's name.
    again = part.forward(calls[0])
    if made is None or not torch.allclose(
        made, again, rtol=1e-3, atol=1e-3 * float(again.abs().max())
    ):
        return f"the outputs of {name} are changed in place"
    return ""
