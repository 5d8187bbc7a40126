"""Read a pickle's structure without running it: every global becomes an inert stand-in.

A pickle is a program for a small machine whose only power is to call what it names. Here nothing
is looked up: a named global gives a stand-in that records what it is called with. Tensors become
:class:`TensorRecord`, storages :class:`StorageRecord`; dictionaries and lists are what they are.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable
from typing import IO, Any, ClassVar

from lla.checkpoint.formats.calls import is_light, misuse
from lla.checkpoint.formats.records import Inert, Scan, StorageRecord, TensorRecord
from lla.checkpoint.trust import told

__all__ = ["ScanError", "scan"]

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
_DTYPE = re.compile(r"torch\.([a-z]+\d\w*|bool)")
# A few bytes, deflated, are millions of steps: intact files are as long as their pickles.
_STEPS = (1 << 20, 1 << 24)
_NAMES = 5000


class ScanError(pickle.UnpicklingError):
    """It is not a whole pickle; ``found`` is what was seen of it."""

    def __init__(self, reason: str, found: Scan) -> None:
        super().__init__(reason)
        self.found = found


class _Steps(dict[int, Any]):
    """The machine's instructions, which can be looked up so many times."""

    left = 0

    def __getitem__(self, key: int) -> Any:
        self.left -= 1
        if self.left < 0:
            raise pickle.UnpicklingError("it has more parts than its file has bytes")
        return super().__getitem__(key)


def _refuse_extension(reader: Any) -> None:
    raise pickle.UnpicklingError("it uses a registered extension")


def _set_item(reader: Any) -> None:
    _check_keys(reader.stack[-2:-1])
    pickle._Unpickler.load_setitem(reader)  # type: ignore[attr-defined]


def _set_items(reader: Any) -> None:
    _check_keys(reader.stack[::2])
    pickle._Unpickler.load_setitems(reader)  # type: ignore[attr-defined]


def _add_items(reader: Any) -> None:
    _check_keys(reader.stack)
    pickle._Unpickler.load_additems(reader)  # type: ignore[attr-defined]


def _make_set(reader: Any) -> None:
    _check_keys(reader.stack)
    pickle._Unpickler.load_frozenset(reader)  # type: ignore[attr-defined]


def _make_dict(reader: Any) -> None:
    _check_keys(reader.stack[::2])
    pickle._Unpickler.load_dict(reader)  # type: ignore[attr-defined]


def _check_keys(keys: list[Any]) -> None:
    if not all(type(key) is str or is_light(key) for key in keys):
        raise pickle.UnpicklingError("it has a key of very many parts")


# The reader written in Python: that in C takes registered extensions from a cache, without asking
# for the class, and lets a few bytes ask for gigabytes (a memo of any size).
class _Reader(pickle._Unpickler):
    dispatch: ClassVar = {
        **pickle._Unpickler.dispatch,
        **dict.fromkeys((pickle.EXT1[0], pickle.EXT2[0], pickle.EXT4[0]), _refuse_extension),
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
        pickle.ADDITEMS[0]: _add_items,
        pickle.FROZENSET[0]: _make_set,
        pickle.DICT[0]: _make_dict,
    }

    def __init__(self, stream: IO[bytes], found: Scan, steps: int) -> None:
        super().__init__(stream, encoding="utf-8", errors="replace")
        self._found = found
        self._known: dict[str, Any] = {}
        counted = _Steps(type(self).dispatch)
        counted.left = steps
        self.__dict__["dispatch"] = counted

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}".replace("__builtin__.", "builtins.")
        if full not in self._known:
            if len(self._known) >= _NAMES:
                raise pickle.UnpicklingError(f"it names more than {_NAMES} types and functions")
            self._found.names.add(full)
            self._known[full] = self._stand_in(full)
        return self._known[full]

    def _stand_in(self, full: str) -> Any:
        def checked(*args: Any) -> None:
            why = misuse(full, args)
            if why:
                self._found.odd.setdefault(full, why)

        if full == "collections.OrderedDict":
            return type("Ordered", (_Ordered,), {"checked": staticmethod(checked)})
        if full.startswith("torch._utils._rebuild_tensor"):
            return _tensor
        if full.startswith("torch._utils._rebuild_parameter"):
            return _first
        if full == "torch._tensor._rebuild_from_type_v2":
            return _from_type
        if full == "torch.Size":
            return tuple
        return type("Inert", (_Called,), {"name": full, "checked": staticmethod(checked)})

    def persistent_load(self, pid: Any) -> Any:
        if isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module":
            return pid[1]  # a class with its source code beside it, as torch before 1.6 wrote
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage"):
            raise pickle.UnpicklingError(f"unknown reference {told(pid)}")
        if any(pid[5:]):
            raise pickle.UnpicklingError("a storage is a part of another one")
        if not (isinstance(pid[2], str) or told(pid[2]).isdigit()) or type(pid[4]) is not int:
            raise pickle.UnpicklingError("a storage is not described as torch does")
        kind = str(getattr(pid[1], "name", "")).rpartition(".")[2].removesuffix("Storage")
        record = StorageRecord(_DTYPE_OF_STORAGE.get(kind, "uint8"), str(pid[2]), pid[4])
        self._found.storages[record.key] = record
        return record


class _Called(Inert):
    """A stand-in that looks at what it is called with."""

    checked: ClassVar[Callable[..., None]]

    def __new__(cls, *args: Any, **options: Any) -> Any:
        """Make one, and have the arguments looked at."""
        cls.checked(*args)
        return super().__new__(cls, *args, **options)


class _Ordered(dict[Any, Any]):
    """A dictionary that takes the attributes a state dict carries (``_metadata``)."""

    checked: ClassVar[Callable[..., None]]

    def __init__(self, *args: Any) -> None:
        self.checked(*args)
        # What is odd may be of any size: it is kept out.
        parts = args[0] if len(args) == 1 and isinstance(args[0], (list, dict)) else ()
        super().__init__(parts if not misuse("collections.OrderedDict", args) else ())

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


def scan(stream: IO[bytes] | bytes, size: int = 0) -> Scan:
    """Read one pickle from a stream, running nothing of it.

    Args:
        stream: Where the pickle begins.
        size: Bytes of the file it comes from; few bytes may not say many things.

    Raises:
        ScanError: It is not a whole pickle.
    """
    source = io.BytesIO(stream) if isinstance(stream, bytes) else stream
    found = Scan()
    begin = source.tell()
    steps = min(max(size, _STEPS[0]), _STEPS[1])
    try:
        found.content = _Reader(source, found, steps).load()
    except pickle.UnpicklingError as error:
        raise ScanError(str(error), found) from None
    except Exception as error:
        # A damaged pickle can misuse the machine in any way: wrong types, empty stacks, no memory.
        raise ScanError(f"{type(error).__name__}: {str(error)[:200]}", found) from None
    found.size = source.tell() - begin
    return found
