"""Sums and extremes over an image's channels, block by block of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch

from lla.analyses.saliency.memory import Arena, blocks
from lla.analyses.saliency.reduced import COMBINED, Reduced, Wanted, joined

__all__ = ["Numbers", "Totals", "over_channels"]


class Numbers:
    """Numbers of a block and what is made of each, when it is first asked for."""

    def __init__(self, value: torch.Tensor, arena: Arena) -> None:
        self.value, self._arena = value, arena

    @cached_property
    def positive(self) -> torch.Tensor:
        """Squares of the positive ones."""
        found = torch.clamp(self.value, min=0, out=self._arena.take(self.value))
        return found.mul_(found)

    @cached_property
    def negative(self) -> torch.Tensor:
        """Squares of the negative ones."""
        found = torch.clamp(self.value, max=0, out=self._arena.take(self.value))
        return found.mul_(found)

    @cached_property
    def square(self) -> torch.Tensor:
        """Squares."""
        return torch.mul(self.value, self.value, out=self._arena.take(self.value))


class Totals:
    """What blocks of the channels add up to."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._found: dict[str, torch.Tensor] = {}

    def add(self, name: str, values: torch.Tensor) -> None:
        """Add to a part of :class:`Reduced` what further channels have: (n, C, locations)."""
        over, times = _OVER.get(name, torch.sum), _folds(values)
        if times > 1:
            images, channels, locations = values.shape
            wide = values.reshape(images, channels // times, times * locations)
            values = over(wide, 1).view(images, times, locations)
        if name not in self._found:
            self._found[name] = over(values, 1, keepdim=True)
            return
        found = self._found[name]
        with self._arena.scope():
            more = over(values, 1, keepdim=True, out=self._arena.take(found))
            COMBINED[name](found, more, out=found)

    def add_all(
        self,
        of: Numbers,
        wanted: frozenset[Wanted],
        channels: Callable[[torch.Tensor], torch.Tensor] = lambda values: values,
    ) -> None:
        """Add what is asked of numbers that ``channels`` gives the shape (n, C, locations)."""
        if "total" in wanted:
            self.add("total", channels(of.value))
        if "signed" in wanted:
            self.add("positive", channels(of.positive))
            self.add("negative", channels(of.negative))
        elif "squares" in wanted:
            self.add("square", channels(of.square))
        if "extremes" in wanted:
            self.add("highest", channels(of.value))
            self.add("lowest", channels(of.value))

    def reduced(self, shape: Callable[[torch.Tensor], torch.Tensor]) -> Reduced:
        """The sums, each in the shape that ``shape`` gives it."""
        found = {name: shape(part) for name, part in self._found.items()}
        if "square" not in found and "negative" in found:
            found["square"] = found["positive"] + found["negative"]
        return Reduced(**found)


_OVER: dict[str, Callable[..., torch.Tensor]] = {"highest": torch.amax, "lowest": torch.amin}


_FEW, _MANY = 64, 256  # locations


def _folds(values: torch.Tensor) -> int:
    """How many channels to lay abreast: few locations are summed one by one, many by vectors."""
    _, channels, locations = values.shape
    times = 1
    while locations < _FEW and times * locations < _MANY and channels % (2 * times) == 0:
        times *= 2
    return times


def over_channels(x: torch.Tensor, wanted: frozenset[Wanted], arena: Arena) -> Reduced:
    """Sums, squares and extremes over all channels.

    Args:
        x: Shape (n, C, H, W).
        wanted: Which of them.
        arena: Memory for intermediate values, nothing of which is in use.

    Returns:
        Of shape (n, 1, H, W).
    """
    parts = []
    for images in blocks(len(x), x[0].numel(), x.device):
        totals = Totals(arena)
        for channels in blocks(x.shape[1], x[images, :1].numel(), x.device):
            arena.clear()
            totals.add_all(Numbers(x[images, channels].flatten(2), arena), wanted)
        parts.append(totals.reduced(lambda part: part.reshape(len(part), 1, *x.shape[2:])))
    return joined(parts)
