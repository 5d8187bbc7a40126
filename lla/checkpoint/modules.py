"""Pickled modules in a scanned object, as the state dicts that they would give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lla.checkpoint.formats.records import Inert, TensorRecord
from lla.errors import CheckpointError

__all__ = ["with_modules"]

# State dicts are looked for no deeper than this.
_DEPTH = 8
_NESTED = 64
_MODULES = 1 << 16


def with_modules(content: Any) -> Any:
    """The content with pickled modules as their state dicts.

    Raises:
        CheckpointError: A module has very many parts, by holding the same one again and again.
    """
    return _replaced(content, _DEPTH, {})


def _replaced(item: Any, depth: int, known: dict[tuple[int, int], Any]) -> Any:
    # An object that stands in many places is looked at once for each depth.
    place = (id(item), depth)
    if place in known:
        return known[place]
    made = item
    if isinstance(item, Inert) and "_modules" in item.fields:
        made = dict(_state_of(item))
    elif isinstance(item, dict) and depth:
        made = {key: _replaced(value, depth - 1, known) for key, value in item.items()}
    if isinstance(item, (Inert, dict)):
        known[place] = made
    return made


def _state_of(module: Inert) -> Iterator[tuple[str, Any]]:
    """Names and records, those of a module before its children's, as torch orders them."""
    stack: list[tuple[Inert, str, int]] = [(module, "", 0)]
    visited = 0
    while stack:
        item, prefix, depth = stack.pop()
        visited += 1
        if visited > _MODULES:
            raise CheckpointError(
                f"the checkpoint is a module of more than {_MODULES} parts",
                "save the weights: torch.save(model.state_dict(), 'weights.pt')",
            )
        for kind in ("_parameters", "_buffers"):
            held = item.fields.get(kind)
            for name, part in held.items() if isinstance(held, dict) else ():
                if isinstance(part, TensorRecord):
                    yield f"{prefix}{name}", part
        children = item.fields.get("_modules")
        if isinstance(children, dict) and depth < _NESTED:
            inner = [
                (child, f"{prefix}{name}.", depth + 1)
                for name, child in children.items()
                if isinstance(child, Inert) and isinstance(name, str)
            ]
            stack.extend(reversed(inner))
