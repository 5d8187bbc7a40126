"""The analysed parameters as one flat vector, and the way back to named tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import nn

from lla.errors import ConfigurationError

__all__ = ["ParameterSpace"]


@dataclass(frozen=True)
class ParameterSpace:
    """Names and shapes of the parameters that form the flat vector θ, in its order.

    Tied parameters appear once, frozen ones (``requires_grad=False``) not at all.

    Attributes:
        names: Parameter names as in ``module.named_parameters()``.
        shapes: Their shapes.
    """

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]

    @classmethod
    def of(cls, module: nn.Module, globs: Sequence[str] = ()) -> ParameterSpace:
        """The trainable parameters of a module, or those whose names match one of the globs.

        A tied parameter may be named by any of its names; it is listed under the first.

        Raises:
            ConfigurationError: No trainable parameter is left.
        """
        aliases: dict[nn.Parameter, list[str]] = {}
        for name, parameter in module.named_parameters(remove_duplicate=False):
            aliases.setdefault(parameter, []).append(name)
        chosen = [
            (known[0], parameter.shape)
            for parameter, known in aliases.items()
            if parameter.requires_grad
            and (not globs or any(_matches(known, glob) for glob in globs))
        ]
        trainable = [known for parameter, known in aliases.items() if parameter.requires_grad]
        names = [known[0] for known in aliases.values()]
        idle = [glob for glob in globs if not any(_matches(known, glob) for known in trainable)]
        if not trainable and aliases:
            raise ConfigurationError(
                f"all of the model's {len(names)} parameters are frozen (requires_grad=False)",
                "call requires_grad_(True) in the factory on those to analyse",
            )
        frozen = [glob for glob in idle if any(_matches(known, glob) for known in aliases.values())]
        if frozen:
            raise ConfigurationError(
                f"the parameters that match {', '.join(frozen)} are all frozen "
                "(requires_grad=False)",
                "call requires_grad_(True) in the factory on those to analyse, or name some of: "
                + ", ".join(known[0] for known in trainable[:8]),
            )
        if not chosen or idle:
            what = f"match {', '.join(idle)}" if idle else "are trainable"
            raise ConfigurationError(
                f"none of the model's {len(names)} parameters {what}",
                f"name some of: {', '.join(names[:8]) or 'there is none'}",
            )
        return cls(tuple(name for name, _ in chosen), tuple(shape for _, shape in chosen))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of elements of each parameter."""
        return tuple(shape.numel() for shape in self.shapes)

    @property
    def size(self) -> int:
        """P, the length of the flat vector."""
        return sum(self.sizes)

    def flat(self, module: nn.Module) -> torch.Tensor:
        """The module's current parameters as a new vector, shape (P,)."""
        named = dict(module.named_parameters())
        return torch.cat([named[name].detach().reshape(-1) for name in self.names])

    def placed(self, module: nn.Module) -> torch.Tensor:
        """The module's parameters as a new vector, shape (P,), in whose memory they lie from then.

        The module, which has to be the caller's own, is not held twice.
        """
        named = dict(module.named_parameters())
        first = named[self.names[0]]
        theta = torch.empty(self.size, dtype=first.dtype, device=first.device)
        for name, place in self.slices():
            parameter = named[name]
            part = theta[place].view(parameter.shape)
            part.copy_(parameter.detach())
            parameter.data = part
        return theta

    def named(self, theta: torch.Tensor) -> dict[str, torch.Tensor]:
        """Views of a flat vector of shape (P,) under the parameters' names."""
        parts = torch.split(theta, list(self.sizes))
        return {
            name: part.view(shape)
            for name, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }

    def slices(self) -> Iterator[tuple[str, slice]]:
        """Each parameter's name with its place in the flat vector."""
        start = 0
        for name, size in zip(self.names, self.sizes, strict=True):
            yield name, slice(start, start + size)
            start += size


def _matches(names: Iterable[str], glob: str) -> bool:
    return any(fnmatchcase(name, glob) for name in names)
