"""Files of named arrays: ``.npz``, ``.pt`` and ``.safetensors``. Nothing in them is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from lla.errors import ConfigurationError, DataError, nearest
from lla.problem.readers.request import Request, reading
from lla.problem.readers.samples import Keys, Samples, tensor_of
from lla.problem.recipe import DataSpec

__all__ = ["open_store"]

# Names, and what gives the array of a name.
_Arrays = tuple[list[str], Callable[[str], Any]]
# How a ZIP archive, an empty one, and a single array of NumPy's begin.
_NUMPY = (b"PK\3\4", b"PK\5\6", b"\x93NUM")
_REMEDY = "write the file again, with arrays of numbers under the keys x and y"


def open_store(request: Request) -> Samples:
    """The arrays ``x`` and ``y``, those of a split, or the stated keys; only these are read.

    Raises:
        ConfigurationError: A key does not exist.
        DataError: The file cannot be read, or a key holds no numbers.
    """
    path, split = request.path, request.spec.split
    opened = {".npz": _npz, ".safetensors": _safetensors}.get(path.suffix, _torch)
    with reading(path, _REMEDY), opened(path) as (names, get):
        default = f"y_{split}" if split else "y"
        lacking = f"{path} has no array '{default}'{nearest(default, names)}"
        return _keys(names, request.spec, path).gather(
            lambda key: tensor_of(get(key), f"'{key}' of {path}"),
            f"{lacking} among {', '.join(names)}",
        )


def _keys(names: Sequence[str], spec: DataSpec, path: Path) -> Keys:
    def found(key: str) -> str:
        """A stated key, in its split's version if there is one."""
        of_split = f"{key}_{spec.split}"
        if spec.split and of_split in names:
            return of_split
        if key not in names:
            raise ConfigurationError(
                f"{path} has no array '{key}'{nearest(key, names)}",
                f"its keys are {', '.join(names)}; choose by [data] split, inputs and target",
            )
        return key

    suffix = f"_{spec.split}" if spec.split else ""
    inputs = spec.inputs
    if isinstance(inputs, dict) and inputs:
        chosen: Any = {argument: found(key) for argument, key in inputs.items()}
    else:
        several = tuple(found(key) for key in inputs)
        chosen = several if len(several) > 1 else several[0] if several else found(f"x{suffix}")
    target = f"y{suffix}" if f"y{suffix}" in names else None
    return Keys(chosen, found(spec.target) if spec.target else target)


@contextmanager
def _npz(path: Path) -> Iterator[_Arrays]:
    import numpy as np

    with path.open("rb") as stream:
        if stream.read(4) not in _NUMPY:
            raise DataError(
                f"{path} cannot be read: it is damaged, or no archive of NumPy's", _REMEDY
            )
        stream.seek(0)
        file = np.load(stream, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise DataError(
                f"{path} is one array without a name, no .npz", "write it by numpy.savez"
            )
        yield list(file.files), lambda key: _plain(file, key, path)


def _plain(file: Any, key: str, path: Path) -> Any:
    """An array of an ``.npz``, if it holds no Python objects."""
    try:
        return file[key]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise DataError(
            f"'{key}' of {path} holds Python objects, and reading them would run code",
            f"write it as an array of numbers: numpy.savez(…, {key}=numpy.stack(rows))",
        ) from None


@contextmanager
def _torch(path: Path) -> Iterator[_Arrays]:
    import pickle

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise DataError(
            f"{path} holds more than tensors (or is damaged), and reading that would run code",
            f"save tensors alone: torch.save({{'x': x, 'y': y}}, '{path.name}')",
        ) from None
    if not isinstance(content, dict):
        raise DataError(
            f"{path} holds a {type(content).__name__}, not a dict of tensors",
            f"save one: torch.save({{'x': x, 'y': y}}, '{path.name}')",
        )
    tensors = {str(key): value for key, value in content.items()}
    yield list(tensors), tensors.__getitem__


@contextmanager
def _safetensors(path: Path) -> Iterator[_Arrays]:
    from safetensors import safe_open

    opened: Any = safe_open(path, framework="pt")
    with opened as file:
        yield list(file.keys()), file.get_tensor
