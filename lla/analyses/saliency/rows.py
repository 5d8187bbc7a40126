"""A block's gradient and activation as rows of one memory, and all sums over their channels.

A row has a number for each channel and location. What is done to several rows alike is one
operation: on blocks that fit the caches, calling an operation costs as much as carrying it out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch

from lla.analyses.saliency.reduced import Reduced, Wanted

__all__ = ["COMBINE", "Asked", "Part", "Parts", "Rows"]

_NOTHING: frozenset[Wanted] = frozenset()
_How = Literal["sum", "highest", "lowest"]
_Of = Literal["each", "scaling", "depthwise"]

COMBINE: dict[_How, Callable[..., torch.Tensor]] = {
    "sum": torch.add,
    "highest": torch.maximum,
    "lowest": torch.minimum,
}
"""How a part of two blocks of channels follows from theirs."""

_OVER: dict[_How, Callable[..., torch.Tensor]] = {
    "sum": torch.sum,
    "highest": torch.amax,
    "lowest": torch.amin,
}


class Part(NamedTuple):
    """Sums or extremes of some rows over all channels."""

    of: _Of
    how: _How


Parts = dict[Part, torch.Tensor]


@dataclass(frozen=True)
class Asked:
    """What is asked of a block.

    Attributes:
        each: Of the gradient, and of the activation if there is one.
        both: Whether there is one.
        scaling: Of their products.
        depthwise: Of the gradient times the 3 × 3 patch of the activation, channel by channel.
    """

    each: frozenset[Wanted]
    both: bool = False
    scaling: frozenset[Wanted] = _NOTHING
    depthwise: frozenset[Wanted] = _NOTHING

    @property
    def margin(self) -> int:
        """Rows and columns of zeros behind each plane, which lie before the next one too."""
        return int(bool(self.depthwise))

    @property
    def sources(self) -> int:
        """Gradient, and perhaps activation."""
        return 1 + self.both

    @property
    def names(self) -> tuple[str, ...]:
        """The rows of each: its values, and the squares that are needed of them."""
        whole = self.each | self.depthwise
        if "signed" in whole:
            return "total", "positive", "negative"
        return ("total", "square") if "squares" in whole else ("total",)

    def lengths(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Where a row's first location is, and how long it is."""
        images, channels, height, width = shape
        step = width + self.margin
        first = self.margin * (step + 1)
        length = first + images * channels * (height + self.margin) * step + self.margin
        return first, -(-length // 16) * 16  # rows begin where vectors do

    def size(self, shape: tuple[int, ...]) -> int:
        """Numbers of all rows of a block of shape (n, C, H, W)."""
        made = 6 if self.scaling or self.depthwise else 0
        return (self.sources * len(self.names) + made) * self.lengths(shape)[1]


def _made(wanted: frozenset[Wanted]) -> list[str]:
    """The rows that are summed of what is made of both."""
    order: dict[Wanted, str] = {"total": "total", "signed": "positive", "squares": "square"}
    return [name for one, name in order.items() if one in wanted]


class Rows:
    """The rows of blocks of one shape.

    A plane's rows and columns lie one after another, each followed by the margin, so that a step to
    a neighbour is a step along the row; within the margin windows have anything.
    """

    def __init__(self, shape: tuple[int, ...], asked: Asked, memory: torch.Tensor) -> None:
        """Lay out memory, :meth:`Asked.size` numbers of it, for blocks (n, C, H, W)."""
        self.asked, self._shape, self._names = asked, shape, asked.names
        self._step = shape[3] + asked.margin
        self._first, length = asked.lengths(shape)
        self._size = shape[0] * shape[1] * (shape[2] + asked.margin) * self._step
        every, each = memory.view(-1, length), asked.sources * len(self._names)
        # By name first: what is done to all of a name is done to one run of rows.
        self._each = every[:each].view(len(self._names), asked.sources, length)
        self._windows, self._made = every[each : each + 3], every[each + 3 :]
        self._g = dict(zip(self._names, self._each[:, 0], strict=True))
        self._a = dict(zip(self._names, self._each[:, -1], strict=True))
        self._folds = _folds(shape[1], (shape[2] + asked.margin) * self._step)
        self._places = [self._planes(row)[..., : shape[2], : shape[3]] for row in self._each[0]]
        self._shifts: dict[tuple[int, ...], list[tuple[torch.Tensor, ...]]] = {}

    def begin(self) -> None:
        """Begin after another layout has used the memory: the margins are zero from here on."""
        if self.asked.margin:
            self._each[0].zero_()

    def parts(self, g: torch.Tensor, a: torch.Tensor | None = None) -> Parts:
        """What is asked of a block's gradient and activation, over all of its channels."""
        self._places[0].copy_(g)
        if a is not None:
            self._places[1].copy_(a)
        names, each = self._names, self._each
        if "positive" in names:
            torch.clamp(each[0], min=0, out=each[1])
            torch.clamp(each[0], max=0, out=each[2])
            each[1:].mul_(each[1:])
        elif "square" in names:
            torch.mul(each[0], each[0], out=each[1])
        found: Parts = {}
        summed = each[0 if "total" in self.asked.each else 1 :]
        if len(summed):
            self._add(found, "each", summed)
        if "extremes" in self.asked.each:
            self._add(found, "each", each[0], "highest", "lowest")
        if self.asked.scaling:
            self._scale(found, self.asked.scaling)
        if self.asked.depthwise:
            self._depthwise(found, self.asked.depthwise)
        return found

    def reduced(self, parts: Parts) -> dict[str, Reduced]:
        """The parts by what they are of: "g", "a", "scaling", "depthwise"."""
        asked, found = self.asked, {}
        names = [name for name in self._names if name != "total" or "total" in asked.each]
        cut = {key: self._cut(part) for key, part in parts.items()}
        for k, source in enumerate("ga"[: asked.sources]):
            own = {how: part.select(-5, k) for (of, how), part in cut.items() if of == "each"}
            found[source] = _named(own, names)
        for name, wanted in (("scaling", asked.scaling), ("depthwise", asked.depthwise)):
            own = {how: part for (of, how), part in cut.items() if of == name}
            found[name] = _named(own, _made(wanted))
        return found

    def _cut(self, part: torch.Tensor) -> torch.Tensor:
        """What is of all locations, (…, n, 1, H, W), without the margin."""
        _, _, height, width = self._shape
        whole = part.view(*part.shape[:-1], 1, -1, self._step)
        return whole[..., :height, :width].contiguous()

    def _scale(self, found: Parts, wanted: frozenset[Wanted]) -> None:
        """e_u = a_u ⊙ g_u."""
        names = ["total", *_made(wanted - {"total"})]
        made = dict(zip(names, self._made.unbind(0), strict=False))
        product = torch.mul(self._a["total"], self._g["total"], out=made["total"])
        if "signed" in wanted:
            torch.clamp(product, min=0, out=made["positive"])
            made["positive"].mul_(made["positive"])
        if "squares" in wanted:
            torch.mul(product, product, out=made["square"])
        summed = self._made[0 if "total" in wanted else 1 : len(names)]
        if len(summed):
            self._add(found, "scaling", summed)
        if "extremes" in wanted:
            self._add(found, "scaling", product, "highest", "lowest")

    def _depthwise(self, found: Parts, wanted: frozenset[Wanted]) -> None:
        """e_u is the gradient times the 3 × 3 patch of the activation, channel by channel.

        A window's sums and extremes are those of its rows' (separable), and those of the products
        are the gradient's times them.
        """
        names, g = self._names, self._g
        part = slice(0 if "total" in wanted else 1, 1 if wanted <= {"total", "extremes"} else None)
        window = dict(zip(names[part], self._windows.unbind(0), strict=False))
        made = dict(zip(_made(wanted), self._made.unbind(0), strict=False))
        if window:
            self._window(self._each[part, 1], torch.add, self._windows[: len(window)])
        if "total" in wanted:
            torch.mul(window["total"], g["total"], out=made["total"])
        if "signed" in wanted:
            torch.mul(window["positive"], g["positive"], out=made["positive"])
            made["positive"].addcmul_(window["negative"], g["negative"])
        if "squares" in wanted and "square" in window:
            torch.mul(window["square"], g["square"], out=made["square"])
        elif "squares" in wanted:
            window["positive"].add_(window["negative"])
            torch.mul(g["total"], g["total"], out=made["square"]).mul_(window["positive"])
        if made:
            self._add(found, "depthwise", self._made[: len(made)])
        if "extremes" in wanted:
            ends = self._windows[:2]
            for row, combine in enumerate((torch.maximum, torch.minimum)):
                self._window(self._each[:1, 1], combine, ends[row : row + 1])
            # A product of a range and a number has both extremes at the range's ends.
            self._add(found, "depthwise", ends.mul_(g["total"]), "highest", "lowest")
            for how in ("highest", "lowest"):
                both = found[Part("depthwise", how)]
                found[Part("depthwise", how)] = _OVER[how](both, 0)

    def _window(
        self, rows: torch.Tensor, combine: Callable[..., torch.Tensor], into: torch.Tensor
    ) -> None:
        """Combine the 3 × 3 numbers around each location, by way of the rows of what is made."""
        key = (rows.data_ptr(), into.data_ptr(), len(rows))
        if key not in self._shifts:  # views cost as much as half an operation
            across = self._made[: len(rows)]
            self._shifts[key] = [
                (of[:, : -2 * step], of[:, 2 * step :], of[:, step:-step], to[:, step:-step])
                for of, to, step in ((rows, across, 1), (across, into, self._step))
            ]
        for before, behind, middle, found in self._shifts[key]:
            combine(before, behind, out=found)
            combine(found, middle, out=found)

    def _add(self, found: Parts, of: _Of, rows: torch.Tensor, *how: _How) -> None:
        """Add sums, or what is named, of rows over all channels: (…, n, locations)."""
        lead, (images, channels), times = rows.shape[:-1], self._shape[:2], self._folds
        inner = self._inner(rows).view(*lead, images, channels // times, -1)
        for one in how or ("sum",):
            part = _OVER[one](inner, -2)
            if times > 1:
                part = _OVER[one](part.view(*lead, images, times, -1), -2)
            found[Part(of, one)] = part

    def _inner(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows without what lies before and behind their planes."""
        return rows[..., self._first : self._first + self._size]

    def _planes(self, row: torch.Tensor) -> torch.Tensor:
        """A row as (n, C, rows, columns), the margin's among them."""
        return self._inner(row).view(*self._shape[:2], -1, self._step)


def _named(parts: dict[_How, torch.Tensor], names: list[str]) -> Reduced:
    """Sums by name, and extremes."""
    found: dict[str, torch.Tensor] = {}
    for how, part in parts.items():
        found |= dict(zip(names, part.unbind(0), strict=True)) if how == "sum" else {how: part}
    if "negative" in found:
        found["square"] = found["positive"] + found["negative"]
    return Reduced(**found)


_FEW, _MANY = 64, 256  # locations


def _folds(channels: int, locations: int) -> int:
    """How many channels to lay abreast: few locations are summed one by one, many by vectors."""
    times = 1
    while locations < _FEW and times * locations < _MANY and channels % (2 * times) == 0:
        times *= 2
    return times
