"""What is asked of many numbers at a location: their sum, sums of squares, extremes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import torch

from lla.analyses.saliency.memory import Arena

__all__ = ["COMBINED", "Reduced", "Wanted", "joined", "merged", "products", "reduced"]

Wanted = Literal["total", "squares", "signed", "extremes"]

COMBINED: dict[str, Callable[..., torch.Tensor]] = {
    "total": torch.add,
    "square": torch.add,
    "positive": torch.add,
    "negative": torch.add,
    "highest": torch.maximum,
    "lowest": torch.minimum,
}
"""How a part of two lots of numbers follows from theirs."""


@dataclass(frozen=True)
class Reduced:
    """What is asked of many numbers at each location; each tensor has shape (n, G, H, W).

    Attributes:
        total: Their sum.
        square: The sum of their squares.
        positive: The sum of the squares of the positive ones.
        negative: The sum of the squares of the negative ones.
        highest: The largest.
        lowest: The smallest.
    """

    total: torch.Tensor | None = None
    square: torch.Tensor | None = None
    positive: torch.Tensor | None = None
    negative: torch.Tensor | None = None
    highest: torch.Tensor | None = None
    lowest: torch.Tensor | None = None

    def added(self, how: Callable[[str, torch.Tensor], torch.Tensor]) -> Reduced:
        """The same with a function applied to each part, told its name."""
        return Reduced(
            **{name: how(name, part) for name, part in vars(self).items() if part is not None}
        )


def reduced(x: torch.Tensor, wanted: frozenset[Wanted], arena: Arena, groups: int = 1) -> Reduced:
    """Sums, squares and extremes over the channels of each group.

    Args:
        x: Shape (n, C, H, W).
        wanted: Which of them.
        arena: For intermediate values; of several groups of one channel, for the result as well.
        groups: Into how many groups the channels are cut.

    Returns:
        Of shape (n, groups, H, W).
    """
    alone = groups == x.shape[1] > 1
    parts = x if alone else x.reshape(len(x), groups, -1, *x.shape[2:])

    def over(values: torch.Tensor) -> torch.Tensor:
        return values if alone else values.sum(2)

    found: dict[str, torch.Tensor] = {}
    if "total" in wanted:
        found["total"] = over(parts)
    if "signed" in wanted:
        one = over(torch.clamp(parts, min=0, out=arena.take(parts)).square_())
        other = over(torch.clamp(parts, max=0, out=arena.take(parts)).square_())
        whole = torch.add(one, other, out=arena.take(one)) if alone else one + other
        found |= {"positive": one, "negative": other, "square": whole}
    elif "squares" in wanted:
        found["square"] = over(torch.mul(parts, parts, out=arena.take(parts)))
    if "extremes" in wanted:
        found["highest"] = parts if alone else parts.amax(2)
        found["lowest"] = parts if alone else parts.amin(2)
    return Reduced(**found)


def products(x: Reduced, g: Reduced, arena: Arena) -> Reduced:
    """Of all products of one number of each, group by group, and then over the groups."""
    found: dict[str, torch.Tensor] = {}
    if x.total is not None and g.total is not None:
        found["total"] = _summed(x.total, g.total, arena)
    if x.square is not None and g.square is not None:
        found["square"] = _summed(x.square, g.square, arena)
    if x.positive is not None and x.negative is not None:
        assert g.positive is not None
        assert g.negative is not None
        found["positive"] = _summed(x.positive, g.positive, arena)
        found["positive"] += _summed(x.negative, g.negative, arena)
    if x.highest is not None and x.lowest is not None:
        assert g.highest is not None
        assert g.lowest is not None
        # Of a product of two ranges both extremes are at ends of both.
        if g.highest is g.lowest:
            one = torch.mul(x.highest, g.highest, out=arena.take(g.highest))
            other = torch.mul(x.lowest, g.lowest, out=arena.take(g.lowest))
            both = arena.take(one)
            found["highest"] = torch.maximum(one, other, out=both).amax(1, keepdim=True)
            found["lowest"] = torch.minimum(one, other, out=both).amin(1, keepdim=True)
        else:
            ends = [x.highest * g.highest, x.lowest * g.lowest]
            ends += [x.highest * g.lowest, x.lowest * g.highest]
            found["highest"] = reduce(torch.maximum, ends).amax(1, keepdim=True)
            found["lowest"] = reduce(torch.minimum, ends).amin(1, keepdim=True)
    return Reduced(**found)


def _summed(x: torch.Tensor, g: torch.Tensor, arena: Arena) -> torch.Tensor:
    """Σ over groups of x·g, shape (n, 1, H, W)."""
    if x.shape[1] == 1:
        return x * g
    return torch.mul(x, g, out=arena.take(g)).sum(1, keepdim=True)


def merged(one: Reduced, other: Reduced) -> Reduced:
    """Of the numbers of both."""
    return one.added(lambda name, part: COMBINED[name](part, getattr(other, name)))


def joined(parts: list[Reduced]) -> Reduced:
    """Of the images of all."""
    if len(parts) == 1:
        return parts[0]
    return parts[0].added(lambda name, part: torch.cat([getattr(one, name) for one in parts]))
