"""What a scanned pickle consists of: records of tensors, and stand-ins for everything else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lla.checkpoint.formats.calls import HARMLESS, NOT_PLAIN
from lla.checkpoint.trust import told

__all__ = ["Inert", "Scan", "StorageRecord", "TensorRecord", "bytes_of", "tensors_in"]

_BYTES = {"bool": 1, "complex32": 4, "complex64": 8, "complex128": 16}
_CLIMBED = 64


def bytes_of(dtype: str) -> int:
    """Bytes of one element of a type, as torch names it."""
    bits = re.search(r"\d+", dtype)
    # Types of less than a byte are told as whole bytes.
    return _BYTES.get(dtype) or (max(int(bits.group()) // 8, 1) if bits else 1)


@dataclass(frozen=True)
class StorageRecord:
    """A storage that a pickle refers to: which one, of what type, of how many elements."""

    dtype: str
    key: str
    elements: int

    @property
    def size(self) -> int:
        """Bytes that it says it has."""
        return self.elements * bytes_of(self.dtype)


@dataclass(frozen=True)
class TensorRecord:
    """A tensor as a pickle describes it, without its values."""

    storage: StorageRecord
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str

    @property
    def elements(self) -> int:
        """Number of elements that the shape says."""
        count = 1
        for side in self.shape:
            count *= side
        return count

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return bytes_of(self.dtype)


class Inert:
    """Stands in for an object of a named type; does nothing but keep what it was given."""

    name = ""

    def __new__(cls, *args: Any, **options: Any) -> Inert:
        """Make one without looking at the arguments."""
        made = super().__new__(cls)
        made.args, made.state, made.items = args, None, {}
        return made

    def __init__(self, *args: Any, **options: Any) -> None:
        self.args: tuple[Any, ...]
        self.state: Any
        self.items: dict[Any, Any]

    def __call__(self, *args: Any, **options: Any) -> Inert:
        """What a call of the result of a call gives: one more stand-in."""
        return Inert(*args)

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def append(self, value: Any) -> None:
        """Keep an element of a list-like object."""
        self.items[len(self.items)] = value

    def extend(self, values: Any) -> None:
        """Keep elements of a list-like object."""
        for value in values:
            self.append(value)

    add = append

    @property
    def fields(self) -> Mapping[str, Any]:
        """The object's attributes, where it was pickled as a dictionary of them."""
        state = self.state[0] if isinstance(self.state, tuple) and self.state else self.state
        return state if isinstance(state, dict) else {}


@dataclass
class Scan:
    """What a pickle holds.

    Attributes:
        content: Its object, with stand-ins for everything that is not plain data.
        names: Every global it names, as ``module.name``.
        storages: The storages it refers to, by key.
        size: Bytes that the pickle takes in its stream.
        odd: What it calls in a way that no file of ``torch.save`` does, by the name it calls.
        places: First byte and size of each storage, in a file that has them after its pickles.
        plain: Whether it stands for itself, outside a file of ``torch.save``.
    """

    content: Any = None
    names: set[str] = field(default_factory=set)
    storages: dict[str, StorageRecord] = field(default_factory=dict)
    size: int = 0
    plain: bool = False
    odd: dict[str, str] = field(default_factory=dict)
    places: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def suspects(self) -> list[str]:
        """The globals that are not among the types tensors are made of."""
        return sorted(name for name in self.names if not HARMLESS.fullmatch(name))

    @property
    def only_not_plain(self) -> bool:
        """Whether all suspects are parts of sparse, quantized, nested … tensors."""
        return bool(self.suspects) and all(NOT_PLAIN.fullmatch(name) for name in self.suspects)


def tensors_in(content: Any) -> Iterator[tuple[str, TensorRecord]]:
    """Every tensor of a scanned object with its path of keys, each object visited once."""
    seen: set[int] = set()
    # The path is spelt out for tensors alone: one for each level of a deep nest would be of
    # quadratic length.
    stack: list[tuple[_Link, Any]] = [(None, content)]
    while stack:
        link, item = stack.pop()
        if isinstance(item, TensorRecord):
            yield _path(link), item
            continue
        if id(item) in seen:
            continue
        seen.add(id(item))
        stack.extend(((link, key), part) for key, part in reversed(_parts_of(item)))


def _parts_of(item: Any) -> list[tuple[Any, Any]]:
    if isinstance(item, (list, tuple)):
        return list(enumerate(item))
    if isinstance(item, dict):
        return list(item.items())
    if isinstance(item, Inert):
        return [*item.fields.items(), *item.items.items(), *enumerate(item.args)]
    return []


_Link = tuple[Any, Any] | None


def _path(link: _Link) -> str:
    keys: list[str] = []
    while link is not None and len(keys) < _CLIMBED:
        keys.append(told(link[1]))
        link = link[0]
    return ".".join(reversed(keys))
