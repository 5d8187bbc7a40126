"""Where data comes from: one module per kind of source, each with ``open_store(request)``."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from pathlib import Path

from lla.errors import ConfigurationError, DataError, nearest, nearest_file
from lla.problem.readers.request import Request
from lla.problem.readers.samples import Store
from lla.problem.recipe import DataSpec

__all__ = ["open_store"]


@dataclass(frozen=True)
class _Kind:
    """A kind of source.

    Attributes:
        about: What it is called in messages.
        module: Which module of this package reads it.
        takes: Keys of ``[data]`` that mean something to it, beside those that all take.
    """

    about: str
    module: str
    takes: tuple[str, ...]


_ARRAYS = _Kind("a file of named arrays", "arrays", ("split", "target", "inputs"))
_IDX = _Kind("an IDX file", "idx", ("target",))
_FOLDER = _Kind("a folder of images", "folder", ("split", "args", "size"))
_HF = _Kind("a Hugging Face data set", "huggingface", ("split", "target", "inputs", "args", "size"))
_SCHEMES = {
    "factory": _Kind("a data factory", "factory", ("split", "target", "inputs", "args")),
    "torchvision": _Kind("a torchvision data set", "vision", ("split", "args", "size")),
    "hf": _HF,
}
_SUFFIXES = {".npz": _ARRAYS, ".pt": _ARRAYS, ".pth": _ARRAYS, ".safetensors": _ARRAYS}
_IDX_NAME = re.compile(r"(-ubyte|\.idx)(\.gz)?$")
# One letter is a drive of Windows.
_SCHEME = re.compile(r"([A-Za-z][\w+-]+):(.*)", re.DOTALL)
# Keys of which a kind of source must say that it takes them.
_OPTIONAL = ("split", "target", "inputs", "args", "size")


def open_store(spec: DataSpec, folder: Path) -> Store:
    """The samples that ``[data]`` names.

    Args:
        spec: Source and keys.
        folder: Where a relative source is looked for.

    Raises:
        ConfigurationError: The source is not of a known kind, or a key means nothing to it.
        DataError: It does not exist or cannot be read.
    """
    kind, where = _kind_of(spec.source, folder)
    for key in _OPTIONAL:
        if getattr(spec, key) and key not in kind.takes:
            raise ConfigurationError(
                f"{spec.source} is {kind.about}, which takes no '{key}'",
                f"leave [data] {key} out; it takes {', '.join(kind.takes)}",
            )
    reader = importlib.import_module(f"lla.problem.readers.{kind.module}")
    store: Store = reader.open_store(Request(where, folder, spec))
    return store


def _kind_of(source: str, folder: Path) -> tuple[_Kind, str]:
    path = folder / source
    scheme = _SCHEME.fullmatch(source)
    if scheme and not path.exists():
        if scheme[1] not in _SCHEMES:
            raise ConfigurationError(
                f"there is no data scheme '{scheme[1]}:'{nearest(scheme[1], _SCHEMES)}",
                _known(),
            )
        return _SCHEMES[scheme[1]], scheme[2]
    if path.is_dir():
        saved = any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))
        return (_HF if saved else _FOLDER), source
    kind = _IDX if _IDX_NAME.search(path.name) else _SUFFIXES.get(path.suffix)
    if kind is None and (path.suffix or path.is_file()):
        raise ConfigurationError(
            f"data source {path} is not of a known kind{nearest(path.suffix, _SUFFIXES)}", _known()
        )
    if kind is None or not path.is_file():
        raise DataError(
            f"there is no data file {path}{nearest_file(path)}",
            "correct [data] source (relative to the recipe's folder) or pass --data FILE",
        )
    return kind, source


def _known() -> str:
    schemes = ", ".join(f"{name}:…" for name in _SCHEMES)
    return (
        f"use one of {', '.join(_SUFFIXES)}, an IDX file (…-ubyte, .idx, also .gz), a folder of "
        f"images by class, {schemes}"
    )
