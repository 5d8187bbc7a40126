"""Directions scaled to the parameters they move (Li et al. 2018, arXiv 1712.09913, section 4).

All functions are pure and take flat vectors. A group whose direction is zero stays zero; a group
whose parameters are zero is not moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import torch

from lla.errors import ConfigurationError
from lla.problem.parameters import ParameterSpace

__all__ = ["Moved", "Normalization", "Order", "normalized", "orthogonalized"]

Normalization = Literal["none", "filter", "layer", "model", "weight"]
Order = Literal["l1", "l2"]

_ORDERS: dict[Order, float] = {"l1": 1.0, "l2": 2.0}


@dataclass(frozen=True)
class Moved:
    """Which parameters a direction may move.

    Attributes:
        one_dimensional: Whether biases, batch norm's scales and all other vectors move.
        globs: Names that move; all if empty.
        frozen: Names that do not.
    """

    one_dimensional: bool = True
    globs: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()

    def mask(self, space: ParameterSpace) -> torch.Tensor:
        """True where an element moves, shape (P,).

        Raises:
            ConfigurationError: A glob matches nothing, or nothing is left to move.
        """
        for glob in (*self.globs, *self.frozen):
            if not any(fnmatchcase(name, glob) for name in space.names):
                raise ConfigurationError(
                    f"no analysed parameter matches '{glob}'",
                    f"name some of: {', '.join(space.names[:8])}",
                )
        kept = torch.zeros(space.size, dtype=torch.bool)
        for (name, place), shape in zip(space.slices(), space.shapes, strict=True):
            kept[place] = self._moves(name) and (self.one_dimensional or len(shape) > 1)
        if not kept.any():
            raise ConfigurationError(
                "no parameter is left for the directions to move",
                "leave out [landscape] ignore, move or freeze",
            )
        return kept

    def _moves(self, name: str) -> bool:
        chosen = not self.globs or _matches(name, self.globs)
        return chosen and not _matches(name, self.frozen)


def _matches(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def normalized(
    direction: torch.Tensor,
    theta: torch.Tensor,
    space: ParameterSpace,
    how: Normalization,
    order: Order = "l2",
) -> torch.Tensor:
    """A direction d scaled to the parameters w.

    - ``filter``: each row along the first axis of a tensor, d_f·‖w_f‖/‖d_f‖; a tensor of one
      dimension, as a bias, is one group;
    - ``layer``: each tensor; ``model``: the whole vector;
    - ``weight``: d∘|w|, each element by its own parameter;
    - ``none``: d.

    Args:
        direction: Shape (P,), float64.
        theta: Shape (P,), float64.
        space: Where each parameter lies.
        how: The groups.
        order: "l2", or "l1": the sum of absolute values.
    """
    if how == "none":
        return direction
    if how == "weight":
        return direction * theta.abs()
    if how == "model":
        return _scaled(direction[None], theta[None], order)[0]
    made = torch.empty_like(direction)
    for place, rows in _groups(space, how):
        shape = (rows, -1)
        scaled = _scaled(direction[place].view(shape), theta[place].view(shape), order)
        made[place] = scaled.view(-1)
    return made


def _groups(space: ParameterSpace, how: Normalization) -> Iterator[tuple[slice, int]]:
    """Each parameter's place and the number of groups that it is cut into."""
    for (_, place), shape in zip(space.slices(), space.shapes, strict=True):
        rows = shape[0] if how == "filter" and len(shape) > 1 and shape.numel() else 1
        yield place, rows


def _scaled(direction: torch.Tensor, theta: torch.Tensor, order: Order) -> torch.Tensor:
    """Each row of a direction with the norm of the same row of the parameters, (g, n)."""
    power = _ORDERS[order]
    own = torch.linalg.vector_norm(direction, power, dim=1, keepdim=True)
    wanted = torch.linalg.vector_norm(theta, power, dim=1, keepdim=True)
    return torch.where(own > 0, direction * (wanted / own.clamp_min(1e-300)), 0.0)


def orthogonalized(vectors: torch.Tensor) -> torch.Tensor:
    """Each direction less its parts along those before it, at the length that it had, (k, P).

    After normalization: before it, normalization would undo it.
    """
    made: list[torch.Tensor] = []
    for vector in vectors:
        length = torch.linalg.vector_norm(vector)
        rest = vector
        for _ in range(2):  # once more: what rounding left of the first time
            for other in made:
                rest = rest - (rest @ other) / (other @ other) * other
        left = torch.linalg.vector_norm(rest)
        made.append(rest * (length / left) if left > 0 else rest)
    return torch.stack(made)
