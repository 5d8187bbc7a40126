"""Modules whose parameters are put together at each look at them.

Every access of a parameter's attribute, in whatever module's code, gives the whole: weights that
other modules use, tied ones, and those that ``parameters()`` lists are no special cases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from lla.errors import ProblemError

__all__ = ["Shelf", "put_away", "shelf_of"]

_SHELF = "_lla_shelf"


class Shelf:
    """What modules look at: a parameter's whole by its position.

    Attributes:
        shapes: The parameters' shapes.
        kind: Their dtype.
        whole: Puts the parameter of a position together; None between calls of the network, when
            parameters have shapes and no values: whoever computes with them fails.
    """

    def __init__(self, shapes: Sequence[torch.Size], kind: torch.dtype) -> None:
        self.shapes, self.kind = shapes, kind
        self.whole: Callable[[int], torch.Tensor] | None = None

    def look(self, position: int) -> torch.Tensor:
        """The parameter of a position."""
        if self.whole is None:
            return torch.empty(self.shapes[position], dtype=self.kind, device="meta")
        return self.whole(position)

    def __deepcopy__(self, memo: dict[int, Any]) -> Shelf:
        """One without values: what it looks at belongs to the call that is being made."""
        return Shelf(self.shapes, self.kind)


def put_away(root: nn.Module, positions: Mapping[nn.Parameter, int], shelf: Shelf) -> None:
    """Take the parameters out of a module and of all within it; it is changed in place.

    Args:
        root: The module.
        positions: Each parameter's position.
        shelf: Gives the whole by its position.

    Raises:
        ProblemError: A module is no Python object, or holds parameters where they cannot be
            replaced.
    """
    for path, module in list(root.named_modules()):
        own = [
            (name, None if parameter is None else positions[parameter])
            for name, parameter in _own_parameters(module)
        ]
        listed = _listed(module, positions, path)
        if isinstance(module, torch.jit.ScriptModule):
            raise ProblemError(
                f"{path or 'the network'} is a TorchScript program, whose parameters cannot be "
                "taken out and be shared among ranks",
                "analyse the weights in the network's own code: --model models.py:FACTORY",
            )
        for name, _ in own:
            delattr(module, name)
        module.__dict__[_SHELF] = (shelf, tuple(own), listed)
        for name in listed:
            module.__dict__.pop(name)
        kind = type(module)
        module.__class__ = _looking(kind, tuple(name for name, _ in own), tuple(listed))


def shelf_of(module: nn.Module) -> Shelf:
    """Where a module whose parameters were put away looks them up."""
    found: Shelf = module.__dict__[_SHELF][0]
    return found


def _own_parameters(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return list(module.named_parameters(recurse=False, remove_duplicate=False))


def _listed(
    module: nn.Module, positions: Mapping[nn.Parameter, int], path: str
) -> dict[str, tuple[Any, ...]]:
    """Attributes that list parameters, as those of recurrent layers do: positions in their place.

    Raises:
        ProblemError: An attribute holds parameters otherwise.
    """
    found: dict[str, tuple[Any, ...]] = {}
    for name, value in vars(module).items():
        if name in ("_parameters", "_modules", "_buffers"):
            continue
        items = list(value.values()) if isinstance(value, dict) else value
        if not isinstance(items, (list, tuple)):
            items = [items]
        if not any(isinstance(item, nn.Parameter) and item in positions for item in items):
            continue
        if not isinstance(value, (list, tuple)):
            raise ProblemError(
                f"{path or 'the network'} holds parameters in its attribute {name}, a "
                f"{type(value).__name__}, where they cannot be shared among ranks",
                "hold them in an nn.ParameterDict, or use each under its own name",
            )
        found[name] = tuple(
            positions.get(item, item) if isinstance(item, nn.Parameter) else _Plain(item)
            for item in value
        )
    return found


class _Plain:
    """An item of a list that is no parameter."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _looking(kind: type, names: tuple[str, ...], lists: tuple[str, ...]) -> type:
    """A class like ``kind`` whose parameters and lists of them are looked up on the shelf."""

    def one(name: str) -> property:
        def get(self: Any) -> torch.Tensor:
            shelf, own, _ = self.__dict__[_SHELF]
            found: torch.Tensor = shelf.look(dict(own)[name])
            return found

        return property(get)

    def many(name: str) -> property:
        def get(self: Any) -> list[Any]:
            shelf, _, listed = self.__dict__[_SHELF]
            return [
                item.value if isinstance(item, _Plain) else shelf.look(item)
                for item in listed[name]
            ]

        # Recurrent layers list their parameters anew where they see others.
        return property(get, lambda self, value: None)

    made = {name: one(name) for name in names} | {name: many(name) for name in lists}
    about = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind.__name__, (kind,), {**about, **made, "named_parameters": _named_parameters})


def _named_parameters(
    self: nn.Module, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
) -> Iterator[tuple[str, torch.Tensor]]:
    """As of any module; each is put together when its turn comes."""
    seen: set[int] = set()
    modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
    for path, module in modules if recurse else [(prefix, self)]:
        for name, position in module.__dict__[_SHELF][1]:
            if remove_duplicate and position in seen:
                continue
            seen.add(position)
            yield f"{path}.{name}" if path else name, getattr(module, name)
