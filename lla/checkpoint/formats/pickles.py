"""Read a pickle's structure without running it: every global becomes an inert stand-in.

A pickle is a program for a small machine whose only power is to call what it names. Here nothing
is looked up: a named global gives a stand-in that records what it is called with. Tensors become
:class:`TensorRecord`, storages :class:`StorageRecord`; dictionaries and lists are what they are.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, ClassVar

__all__ = ["Inert", "Scan", "StorageRecord", "TensorRecord", "scan", "tensors_in"]

# What tensors are made of in a file of torch.save, and the few harmless types around them.
_HARMLESS = re.compile(
    r"collections\.(OrderedDict|Counter|defaultdict)"
    r"|torch\.(\w*Storage|Size|device|Tensor|[a-z]+\d\w*|bool|nn\.parameter\.Parameter)"
    r"|torch\.storage\.(Untyped|Typed)Storage"
    r"|torch\._utils\._rebuild_(tensor(_v2|_v3)?|parameter(_with_state)?)"
    r"|torch\._tensor\._rebuild_from_type_v2"
    r"|torch\.torch_version\.TorchVersion|torch\.serialization\._get_layout"
    r"|argparse\.Namespace|pathlib\.(Pure)?(Posix)?Path"
    r"|numpy\.(dtype|ndarray|dtypes\.\w+DType)"
    r"|numpy\._?core\.multiarray\.(scalar|_reconstruct)|_codecs\.encode"
    r"|builtins\.(set|frozenset|complex|bytearray|int|float|str|bool|list|dict|tuple)"
)
_DTYPE_OF_STORAGE = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "ComplexDouble": "complex128",
    "ComplexFloat": "complex64",
}
_BYTES = {"bool": 1, "complex64": 8, "complex128": 16}
_DTYPE = re.compile(r"torch\.([a-z]+\d\w*|bool)")


@dataclass(frozen=True)
class StorageRecord:
    """A storage that a pickle refers to: which one, of what type, of how many elements."""

    dtype: str
    key: str
    elements: int


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
        bits = re.search(r"\d+", self.dtype)
        return _BYTES.get(self.dtype) or (int(bits.group()) // 8 if bits else 1)


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
        plain: Whether it stands for itself, outside a file of ``torch.save``.
    """

    content: Any = None
    names: set[str] = field(default_factory=set)
    storages: dict[str, StorageRecord] = field(default_factory=dict)
    size: int = 0
    plain: bool = False

    @property
    def suspects(self) -> list[str]:
        """The globals that are not among the types tensors are made of."""
        return sorted(name for name in self.names if not _HARMLESS.fullmatch(name))


def _refuse_extension(reader: Any) -> None:
    raise pickle.UnpicklingError("it uses a registered extension")


# The reader written in Python: that in C takes registered extensions from a cache, without asking
# for the class, and lets a few bytes ask for gigabytes (a memo of any size).
class _Reader(pickle._Unpickler):
    dispatch: ClassVar = {
        **pickle._Unpickler.dispatch,
        **dict.fromkeys((pickle.EXT1[0], pickle.EXT2[0], pickle.EXT4[0]), _refuse_extension),
    }

    def __init__(self, stream: IO[bytes], found: Scan) -> None:
        super().__init__(stream, encoding="utf-8", errors="replace")
        self._found = found

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}".replace("__builtin__.", "builtins.")
        self._found.names.add(full)
        if full == "collections.OrderedDict":
            return _Ordered
        if full.startswith("torch._utils._rebuild_tensor"):
            return _tensor
        if full.startswith("torch._utils._rebuild_parameter"):
            return _first
        if full == "torch._tensor._rebuild_from_type_v2":
            return _from_type
        if full == "torch.Size":
            return tuple
        return type("Inert", (Inert,), {"name": full})

    def persistent_load(self, pid: Any) -> Any:
        if isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module":
            return pid[1]  # a class with its source code beside it, as torch before 1.6 wrote
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage"):
            raise pickle.UnpicklingError(f"unknown reference {str(pid)[:60]}")
        kind = str(getattr(pid[1], "name", "")).rpartition(".")[2].removesuffix("Storage")
        record = StorageRecord(_DTYPE_OF_STORAGE.get(kind, "uint8"), str(pid[2]), int(pid[4]))
        self._found.storages[record.key] = record
        return record


class _Ordered(dict[Any, Any]):
    """A dictionary that takes the attributes a state dict carries (``_metadata``)."""

    def __setstate__(self, state: Any) -> None:
        pass


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Any:
    if isinstance(storage, Inert):
        return storage  # a plain pickle's, whose bytes only torch could read
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, StorageRecord) or not all(type(n) is int for n in numbers):
        raise pickle.UnpicklingError("a tensor is not described as torch does")
    stated = [getattr(item, "name", "") for item in rest if isinstance(item, type)]
    dtypes = [found.group(1) for name in stated if (found := _DTYPE.fullmatch(name))]
    dtype = dtypes[0] if dtypes else storage.dtype
    return TensorRecord(storage, offset, tuple(shape), tuple(strides), dtype)


def _first(*args: Any) -> Any:
    return args[0] if args else None


def _from_type(function: Any, kind: Any, args: Any, state: Any) -> Any:
    return function(*args)


def scan(stream: IO[bytes] | bytes) -> Scan:
    """Read one pickle from a stream, running nothing of it.

    Raises:
        UnpicklingError: It is not a whole pickle.
    """
    source = io.BytesIO(stream) if isinstance(stream, bytes) else stream
    found = Scan()
    begin = source.tell()
    try:
        found.content = _Reader(source, found).load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:
        # A damaged pickle can misuse the machine in any way: wrong types, empty stacks, no memory.
        raise pickle.UnpicklingError(f"{type(error).__name__}: {error}") from None
    found.size = source.tell() - begin
    return found


def tensors_in(content: Any) -> Iterator[tuple[str, TensorRecord]]:
    """Every tensor of a scanned object with its path of keys, each object visited once."""
    seen: set[int] = set()
    stack: list[tuple[str, Any]] = [("", content)]
    while stack:
        path, item = stack.pop()
        if isinstance(item, TensorRecord):
            yield path, item
            continue
        if id(item) in seen:
            continue
        seen.add(id(item))
        inner: Mapping[Any, Any] = {}
        if isinstance(item, Inert):
            inner = {**item.fields, **item.items, **dict(enumerate(item.args))}
        elif isinstance(item, dict):
            inner = item
        elif isinstance(item, (list, tuple)):
            inner = dict(enumerate(item))
        parts = [(f"{path}.{key}" if path else str(key), part) for key, part in inner.items()]
        stack.extend(reversed(parts))
