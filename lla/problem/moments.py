"""An optimizer's moments as flat vectors in the order of θ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lla.problem.parameters import ParameterSpace

__all__ = ["Moments", "moments_of"]

_FIRST, _SECOND = ("exp_avg",), ("exp_avg_sq", "square_avg")


@dataclass(frozen=True)
class Moments:
    """Adam's running means of the gradient and of its square, float64, shape (P,).

    Attributes:
        first: m₁; zero for an optimizer without it, as RMSprop.
        second: m₂.
        step: Steps that the optimizer has made, or 0 where it does not tell.
    """

    first: torch.Tensor
    second: torch.Tensor
    step: int = 0


def moments_of(
    state: Mapping[Any, Any] | None, module: nn.Module, space: ParameterSpace
) -> Moments | None:
    """The moments of a saved optimizer state, or None where it holds none that fit.

    An optimizer numbers its parameters in the order in which it was given them, which is taken to
    be that of ``module.parameters()``, of all or of the trainable ones; every shape has to fit.

    Args:
        state: ``optimizer.state_dict()["state"]``.
        module: The network.
        space: Which parameters θ holds.
    """
    if not state:
        return None
    named = list(module.named_parameters())
    for known in (named, [(name, part) for name, part in named if part.requires_grad]):
        found = _fitting(state, known, space)
        if found is not None:
            return found
    return None


def _fitting(
    state: Mapping[Any, Any], known: list[tuple[str, nn.Parameter]], space: ParameterSpace
) -> Moments | None:
    # Keys are numbers; a file may hold them as text.
    numbered = {str(key): value for key, value in state.items()}
    if len(numbered) > len(known):
        return None
    places = {name: numbered.get(str(index)) for index, (name, _) in enumerate(known)}
    parts: list[tuple[torch.Tensor, torch.Tensor]] = []
    steps = 0
    for name, shape in zip(space.names, space.shapes, strict=True):
        held = places.get(name)
        if not isinstance(held, Mapping):
            return None
        second = _tensor(held, _SECOND)
        first = _tensor(held, _FIRST)
        if second is None or second.shape != shape:
            return None
        first = torch.zeros_like(second) if first is None else first
        if first.shape != shape:
            return None
        parts.append((first.reshape(-1).double(), second.reshape(-1).double()))
        steps = max(steps, int(held.get("step", 0)))
    first, second = (torch.cat(row) for row in zip(*parts, strict=True))
    return Moments(first, second, steps)


def _tensor(held: Mapping[Any, Any], keys: tuple[str, ...]) -> torch.Tensor | None:
    return next((held[key] for key in keys if isinstance(held.get(key), torch.Tensor)), None)
