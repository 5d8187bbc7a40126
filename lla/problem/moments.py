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
        divided: What a step divides by the root of: m₂, or AMSGrad's largest m₂ so far, or for
            RMSprop with ``centered`` the variance m₂ − m².
        step: Steps that the optimizer has made, or 0 where it does not tell.
    """

    first: torch.Tensor
    second: torch.Tensor
    divided: torch.Tensor
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
    divisors: list[torch.Tensor] = []
    steps, plain = 0, True
    for name, shape in zip(space.names, space.shapes, strict=True):
        held = places.get(name)
        if not isinstance(held, Mapping):
            return None
        second = _tensor(held, _SECOND)
        first = _tensor(held, _FIRST)
        if second is None or second.shape != shape:
            return None
        first = torch.zeros_like(second) if first is None else first
        divided = _divided(held, second)
        if first.shape != shape or divided.shape != shape:
            return None
        parts.append((first.reshape(-1).double(), second.reshape(-1).double()))
        divisors.append(divided.reshape(-1))
        plain = plain and divided is second
        steps = max(steps, int(held.get("step", 0)))
    first, second = (torch.cat(row) for row in zip(*parts, strict=True))
    # Usually they are the same: a vector may be as large as the memory that is left.
    return Moments(first, second, second if plain else torch.cat(divisors).double(), steps)


def _divided(held: Mapping[Any, Any], second: torch.Tensor) -> torch.Tensor:
    largest, mean = _tensor(held, ("max_exp_avg_sq",)), _tensor(held, ("grad_avg",))
    if largest is not None:
        return largest
    if mean is None or mean.shape != second.shape:
        return second
    # As torch computes it: rounding may make it negative, and torch's step not a number.
    return (second.double() - mean.double().square()).clamp_min(0.0)


def _tensor(held: Mapping[Any, Any], keys: tuple[str, ...]) -> torch.Tensor | None:
    return next((held[key] for key in keys if isinstance(held.get(key), torch.Tensor)), None)
