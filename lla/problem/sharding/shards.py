"""What a rank holds of a network's parameters, and how they are cut and taken out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from lla.problem.inputs import in_dtype
from lla.problem.parameters import ParameterSpace
from lla.problem.sharding.gathering import Meter, Part, gathered
from lla.problem.sharding.layout import Layout
from lla.problem.sharding.modules import Shelf, put_away
from lla.team import ALONE, Team

__all__ = ["Shards", "Sharing", "place_buffers", "sharded"]


@dataclass(frozen=True)
class Sharing:
    """Whether ranks are to share the parameters of a network that is about to be placed.

    Attributes:
        team: The ranks; one alone shares nothing.
        memory: Bytes of a rank's device; the parameters are shared where it does not hold them.
        placed: Called where the network as a whole is let go of.
    """

    team: Team = ALONE
    memory: int = 0
    placed: Callable[[], None] = lambda: None

    @property
    def certain(self) -> bool:
        """Whether they do, however small the network is."""
        return self.team.size > 1 and not self.memory

    def team_for(self, module: nn.Module, kind: torch.dtype) -> Team | None:
        """The ranks that share the network's parameters, or None.

        Without sharing, a device holds the network, θ, the leaf that is differentiated by and a
        gradient; beside a float32 network, the first three in float64, to certify with.
        """
        count = sum(parameter.numel() for parameter in module.parameters())
        certifying = 0 if kind == torch.float64 else 3 * torch.float64.itemsize
        needed = count * (4 * kind.itemsize + certifying)
        return self.team if self.team.size > 1 and needed > self.memory else None


@dataclass(frozen=True)
class Shards:
    """What a rank holds of the parameters.

    Attributes:
        layout: How the analysed parameters are cut, in θ's order.
        parts: All parameters: the analysed ones in θ's order, then the others.
        frozen: This rank's pieces of the others.
        shelf: Where the network's modules look parameters up.
        home: Where vectors of all P parameters are: the host.
        meter: What this rank has put together.
    """

    layout: Layout
    parts: tuple[Part, ...]
    frozen: tuple[torch.Tensor, ...]
    shelf: Shelf
    home: torch.device
    meter: Meter

    @contextmanager
    def at(self, share: torch.Tensor) -> Iterator[None]:
        """Within it, the network's analysed parameters are those of all ranks' shares (S,)."""
        pieces = (*torch.split(share, list(self.layout.pieces)), *self.frozen)
        before = self.shelf.whole
        self.shelf.whole = lambda position: gathered(pieces[position], self.parts[position])
        try:
            yield
        finally:
            self.shelf.whole = before


def sharded(
    module: nn.Module, space: ParameterSpace, team: Team, device: torch.device, kind: torch.dtype
) -> tuple[torch.Tensor, Shards]:
    """Cut a network's parameters over ranks; the module is changed in place and loses them.

    Each parameter is cut, cast and placed, and then let go of: the network is never held twice.

    Args:
        module: The network, in host memory.
        space: The parameters that are analysed.
        team: The ranks.
        device: Where this rank computes.
        kind: What it computes in.

    Returns:
        This rank's share of θ, shape (S,), and the rest of what it holds.

    Raises:
        ProblemError: The network's parameters cannot be taken out.
    """
    named = dict(module.named_parameters())
    others = [name for name in named if name not in set(space.names)]
    order = (*space.names, *others)
    meter, layout = Meter(), Layout.of(space.sizes, team)
    rest = Layout.of([named[name].numel() for name in others], team)
    parts = tuple(Part(name, named[name].shape, team, meter) for name in order)
    shelf = Shelf([part.shape for part in parts], kind)
    put_away(module, {named[name]: position for position, name in enumerate(order)}, shelf)
    theta = torch.empty(layout.share, dtype=kind, device=device)
    pieces = torch.split(theta, list(layout.pieces))
    frozen = []
    for position, name in enumerate(order):
        whole = named.pop(name).detach().reshape(-1)
        if position < len(pieces):
            pieces[position].copy_(layout.piece(whole, position))
        else:
            piece = rest.piece(whole, position - len(pieces))
            frozen.append(piece.to(device=device, dtype=kind))
    place_buffers(module, device, kind)
    home = torch.device("cpu")
    return theta, Shards(layout, parts, tuple(frozen), shelf, home, meter)


def place_buffers(module: nn.Module, device: torch.device, kind: torch.dtype) -> None:
    """Move buffers, all that a module has left; moved as a whole, some layers ask for weights."""
    for part in module.modules():
        for name, buffer in list(part.named_buffers(recurse=False)):
            setattr(part, name, in_dtype(buffer, kind).to(device))
