"""Plain values beside weights that torch's loader leaves out: numpy's, arguments, paths.

numpy's own functions trust a pickle: they take bytes for addresses of objects where the pickle
says so. Under their names stand functions that build numbers and texts from bytes, and no more.
"""

from __future__ import annotations

import argparse
import math
import pathlib
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy._core import multiarray

from lla.checkpoint.formats.calls import NUMPY_CODE

__all__ = ["harmless"]

_TYPES = ("int", "float", "str", "bool", "list", "dict", "tuple")


def harmless() -> Iterator[tuple[Any, str]]:
    """What the loader may build beyond tensors, each with the name it has in a pickle."""
    for module in ("numpy._core.multiarray", "numpy.core.multiarray"):
        yield scalar, f"{module}.scalar"
        yield reconstruct, f"{module}._reconstruct"
    yield PlainDtype, "numpy.dtype"
    yield PlainArray, "numpy.ndarray"
    yield argparse.Namespace, "argparse.Namespace"
    for kind in (pathlib.PosixPath, pathlib.PurePosixPath):
        yield kind, f"pathlib.{kind.__name__}"
    yield frozenset, "builtins.frozenset"
    yield bytes, "builtins.bytes"
    yield defaultdict, "collections.defaultdict"
    for name in _TYPES:
        yield type_alone, f"builtins.{name}"


def _refused(what: str) -> pickle.UnpicklingError:
    return pickle.UnpicklingError(f"it has {what}, which only Python itself can build")


class PlainDtype:
    """Stands for ``numpy.dtype``: the type of a number or a text, in one byte order."""

    def __init__(self, code: Any, *options: Any) -> None:
        if not isinstance(code, str) or not NUMPY_CODE.fullmatch(code):
            raise _refused(f"numpy values of type '{str(code)[:20]}'")
        self.dtype: np.dtype[Any] = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        """Take the byte order; sizes and flags are numpy's, whatever a pickle states."""
        if isinstance(state, tuple) and len(state) >= 8 and state[2:5] == (None, None, None):
            if state[1] in ("<", ">"):
                self.dtype = self.dtype.newbyteorder(state[1])
            return
        raise _refused("numpy values of several fields")


class PlainArray(np.ndarray):
    """Stands for ``numpy.ndarray``: made by ``reconstruct`` alone, filled from bytes alone."""

    def __new__(cls, *args: Any, **options: Any) -> PlainArray:
        """Refuse: nothing intact calls the class."""
        raise _refused("an array made by its class")

    def __setstate__(self, state: Any) -> None:
        """Take shape, type and bytes, if they fit each other."""
        _, shape, kind, fortran, content = state
        if not isinstance(kind, PlainDtype) or not isinstance(content, bytes):
            raise _refused("a numpy array of objects")
        if not all(type(side) is int and side >= 0 for side in shape):
            raise _refused("a numpy array of no shape")
        if math.prod(shape) * kind.dtype.itemsize != len(content):
            raise pickle.UnpicklingError(f"a numpy array has {len(content)} bytes, not its shape's")
        state = (1, tuple(shape), kind.dtype, bool(fortran), content)
        super().__setstate__(state)


def reconstruct(kind: Any, shape: Any, code: Any) -> PlainArray:
    """An empty array for ``__setstate__`` to fill, as numpy's pickles begin."""
    if kind is not PlainArray or shape != (0,):
        raise _refused("a numpy array of unusual kind")
    return np.ndarray.__new__(PlainArray, (0,), np.int8)


def scalar(kind: Any, content: Any = None) -> Any:
    """A number or a text from its bytes."""
    if not isinstance(kind, PlainDtype) or not isinstance(content, bytes):
        raise _refused("a numpy value that is an object")
    if len(content) != kind.dtype.itemsize:
        raise pickle.UnpicklingError(f"a numpy value has {len(content)} bytes")
    return multiarray.scalar(kind.dtype, content)


def defaultdict(*factory: Any) -> dict[Any, Any]:
    """A plain dictionary: what it would make for a missing key is of no use here."""
    return {}


def type_alone(*args: Any) -> Any:
    """Stands for a builtin type, which may be named, as a dictionary's default is, not called."""
    raise _refused("a call of a builtin type")
