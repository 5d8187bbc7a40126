"""What the contributions to a virtual layer's weights add up to, for all such layers at once.

Phase 1 and the sums of phase 2 (Rebuffi et al. 2020, section 3 and table 1). What several virtual
layers need of activation and gradient is computed once, in blocks that the caches hold: read from
memory are both once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from lla.analyses.saliency.channels import Numbers, Totals
from lla.analyses.saliency.geometry import Geometry, windowed
from lla.analyses.saliency.memory import Arena, blocks
from lla.analyses.saliency.names import Virtual
from lla.analyses.saliency.reduced import Reduced, Wanted, joined, products

__all__ = ["Sums", "virtual_sums"]

_THREE = Geometry((3, 3), padding=(1, 1, 1, 1))
_CHANNELS: tuple[Virtual, ...] = ("conv1x1", "conv3x3")

Sums = dict[Virtual | Literal["a", "g"], Reduced]


@dataclass(frozen=True)
class _Planes:
    """A block's numbers as one long row, so that a step to a neighbour is a step along it.

    Attributes:
        shape: Of the block, (n, C, H, W).
        margin: Rows and columns of zeros behind each plane, which lie before the next one too.
    """

    shape: tuple[int, int, int, int]
    margin: int

    @property
    def step(self) -> int:
        """From a row to the next."""
        return self.shape[3] + self.margin

    @property
    def start(self) -> int:
        return (self.step + 1) * self.margin

    @property
    def size(self) -> int:
        images, channels, height, _ = self.shape
        return images * channels * (height + self.margin) * self.step

    def laid(self, values: torch.Tensor, arena: Arena) -> torch.Tensor:
        """The numbers of a block in a row."""
        if not self.margin:
            return values.reshape(-1)
        row = arena.take(values, (self.start + self.size + 1,)).zero_()
        self._folded(self.channels(row)).copy_(values)
        return row

    def channels(self, row: torch.Tensor) -> torch.Tensor:
        """A row as (n, C, locations), the margin's among them."""
        return row[self.start : self.start + self.size].view(*self.shape[:2], -1)

    def _folded(self, found: torch.Tensor) -> torch.Tensor:
        height, width = self.shape[2:]
        whole = found.view(*found.shape[:2], height + self.margin, self.step)
        return whole[..., :height, :width]

    def cut(self, found: torch.Tensor) -> torch.Tensor:
        """What is of all locations, (n, 1, H, W), without the margin."""
        return self._folded(found).contiguous()

    def window(
        self, row: torch.Tensor, combine: Callable[..., torch.Tensor], arena: Arena
    ) -> torch.Tensor:
        """Combine the 3 × 3 numbers around each location; within the margin anything."""
        found, step = arena.take(row), self.step
        with arena.scope():
            across = arena.take(row)
            inner = across[1:-1]
            combine(row[:-2], row[2:], out=inner)
            combine(inner, row[1:-1], out=inner)
            inner = found[step:-step]
            combine(across[: -2 * step], across[2 * step :], out=inner)
            combine(inner, across[step:-step], out=inner)
        return found


def virtual_sums(
    a: torch.Tensor,
    g: torch.Tensor,
    wanted: Mapping[Virtual, frozenset[Wanted]],
    arena: Arena,
) -> Sums:
    """Sums, squares and extremes of the contributions e_u of virtual layers.

    Args:
        a: The activation, shape (n, C, H, W).
        g: The gradient, of the same shape.
        wanted: What is asked of each virtual layer; of "real", only what is of the gradient.
        arena: Memory for intermediate values, nothing of which is in use.

    Returns:
        Of shape (n, 1, H, W) by virtual layer; under "a" and "g" those over the channels of both,
        their extremes among them.
    """
    nothing: frozenset[Wanted] = frozenset()
    of_both = nothing.union(*(wanted.get(name, nothing) for name in _CHANNELS))
    scales: frozenset[Wanted] = frozenset({"extremes"})
    plan: dict[str, frozenset[Wanted]] = {
        "a": of_both | scales,
        "g": of_both | scales | wanted.get("bias", nothing) | wanted.get("real", nothing),
    }
    plan |= {name: what for name, what in wanted.items() if name in ("scaling", "depthwise3x3")}
    if not wanted.keys() - {"bias", "real"}:
        del plan["a"]
    margin = int("depthwise3x3" in plan)
    parts: dict[str, list[Reduced]] = {name: [] for name in plan}
    plane = (a.shape[2] + margin) * (a.shape[3] + margin)
    for images in blocks(len(a), a.shape[1] * plane, a.device):
        totals = {name: Totals(arena) for name in plan}
        for channels in blocks(a.shape[1], (images.stop - images.start) * plane, a.device):
            arena.clear()
            planes = _add_block(a[images, channels], g[images, channels], plan, totals, arena)
        for name, total in totals.items():
            parts[name].append(total.reduced(planes.cut))
    found: Sums = {name: joined(of) for name, of in parts.items()}  # type: ignore[misc]
    arena.clear()
    if "bias" in wanted:  # e_u = g_u
        found["bias"] = found["g"]
    if "conv1x1" in wanted:  # e_u = g_u a_uᵀ
        found["conv1x1"] = products(found["a"], found["g"], arena)
    if "conv3x3" in wanted:
        found["conv3x3"] = products(windowed(found["a"], _THREE, arena), found["g"], arena)
    return found


def _add_block(
    a: torch.Tensor,
    g: torch.Tensor,
    plan: Mapping[str, frozenset[Wanted]],
    totals: Mapping[str, Totals],
    arena: Arena,
) -> _Planes:
    """Add what some channels of some images have to what is asked."""
    images, channels, height, width = a.shape
    planes = _Planes((images, channels, height, width), int("depthwise3x3" in plan))
    y = Numbers(planes.laid(g, arena), arena)
    totals["g"].add_all(y, plan["g"], planes.channels)
    if "a" not in plan:
        return planes
    x = Numbers(planes.laid(a, arena), arena)
    totals["a"].add_all(x, plan["a"], planes.channels)
    if "scaling" in plan:  # e_u = a_u ⊙ g_u
        with arena.scope():
            product = torch.mul(x.value, y.value, out=arena.take(x.value))
            _add_signed(totals["scaling"], Numbers(product, arena), plan["scaling"], planes)
    if "depthwise3x3" in plan:
        _add_depthwise(totals["depthwise3x3"], x, y, plan["depthwise3x3"], planes, arena)
    return planes


def _add_signed(total: Totals, of: Numbers, wanted: frozenset[Wanted], planes: _Planes) -> None:
    """The same as :meth:`Totals.add_all`, without the negative ones."""
    total.add_all(of, wanted - {"signed"}, planes.channels)
    if "signed" in wanted:
        total.add("positive", planes.channels(of.positive))


def _add_depthwise(
    total: Totals,
    x: Numbers,
    y: Numbers,
    wanted: frozenset[Wanted],
    planes: _Planes,
    arena: Arena,
) -> None:
    """Channel by channel, the gradient times the 3 × 3 patch of the activation around it.

    A window's sums and extremes are those of its rows' (separable), and those of the products are
    the gradient's times them.
    """

    def add(name: str, window: torch.Tensor, of: torch.Tensor) -> None:
        total.add(name, planes.channels(torch.mul(window, of, out=window)))

    def summed(row: torch.Tensor) -> torch.Tensor:
        return planes.window(row, torch.add, arena)

    if "total" in wanted:
        with arena.scope():
            add("total", summed(x.value), y.value)
    if "signed" in wanted:
        of_x, of_y = (x.positive, x.negative), (y.positive, y.negative)
        square = y.square if "squares" in wanted else None
        with arena.scope():
            one, other = (summed(part) for part in of_x)
            if square is not None:
                whole = torch.add(one, other, out=arena.take(one))
                add("square", whole, square)
            one.mul_(of_y[0]).addcmul_(other, of_y[1])
            total.add("positive", planes.channels(one))
    elif "squares" in wanted:
        of, by = x.square, y.square
        with arena.scope():
            add("square", summed(of), by)
    if "extremes" in wanted:
        for combine in (torch.maximum, torch.minimum):
            with arena.scope():
                # A product of a range and a number has both extremes at the range's ends.
                ends = planes.window(x.value, combine, arena).mul_(y.value)
                total.add("highest", planes.channels(ends))
                total.add("lowest", planes.channels(ends))
