"""Read the data a recipe names and choose the samples to analyse."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch

from lla.errors import ConfigurationError, DataError, nearest
from lla.problem.problem import Dataset
from lla.problem.recipe import DataSpec
from lla.seeding import permutation

__all__ = ["load_data", "make_dataset"]


def load_data(spec: DataSpec, folder: Path, seed: int) -> Dataset:
    """The samples that a recipe's ``[data]`` names, on the CPU.

    Args:
        spec: The recipe's section.
        folder: Where a relative source is looked for.
        seed: Seed of the subset, if ``limit`` asks for one.

    Raises:
        ConfigurationError: The source is not given, or a key does not exist.
        DataError: The file cannot be read.
    """
    if not spec.source:
        raise ConfigurationError(
            "no data is named, and the loss depends on it",
            "name a file with x and y: --data digits.npz?split=train, or [data] source in a recipe",
        )
    path = folder / spec.source
    arrays = _read(path)
    suffix = f"_{spec.split}" if spec.split else ""
    inputs = _pick(arrays, f"x{suffix}", path)
    targets = _pick(arrays, spec.target or f"y{suffix}", path)
    return make_dataset(inputs, targets, spec, seed)


def make_dataset(
    inputs: torch.Tensor, targets: torch.Tensor, spec: DataSpec, seed: int = 0
) -> Dataset:
    """A data set from tensors, limited to a seeded subset if the specification says so.

    Args:
        inputs: Shape (n, …).
        targets: Shape (n, …).
        spec: Source, split, limit and chunk size.
        seed: Seed of the subset.

    Raises:
        DataError: There are no samples, or not as many targets as inputs.
    """
    if len(inputs) != len(targets) or not len(inputs):
        raise DataError(
            f"{spec.source or 'the data'} has {len(inputs)} inputs and {len(targets)} targets",
            "give one target to each input, and at least one of both",
        )
    available = len(inputs)
    indices = torch.arange(available)
    if spec.limit is not None and spec.limit < available:
        # Sorted: the file's order, so that the same subset reads the same whatever its drawing.
        indices = permutation(available, seed, "data")[: spec.limit].sort().values
        inputs, targets = inputs[indices], targets[indices]
    return Dataset(
        inputs=inputs,
        targets=targets,
        chunk=spec.batch_size,
        source=spec.source,
        split=spec.split,
        available=available,
        sha256=_digest(inputs, targets),
        indices=indices,
    )


def _read(path: Path) -> dict[str, Any]:
    readers = {".npz": _npz, ".pt": _torch, ".safetensors": _safetensors}
    if path.suffix not in readers:
        raise ConfigurationError(
            f"data source {path} is not of a known kind",
            f"use one of {', '.join(readers)}",
        )
    if not path.is_file():
        raise DataError(
            f"there is no data file {path}",
            "correct [data] source (relative to the recipe's folder) or pass --data FILE",
        )
    try:
        return readers[path.suffix](path)
    except Exception as error:
        raise DataError(
            f"{path} cannot be read: {error or type(error).__name__}", "write the file again"
        ) from error


def _npz(path: Path) -> dict[str, Any]:
    import numpy as np

    with np.load(path, allow_pickle=False) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def _torch(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return dict(content)


def _safetensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(path))


def _pick(arrays: dict[str, Any], key: str, path: Path) -> torch.Tensor:
    if key not in arrays or not isinstance(arrays[key], torch.Tensor):
        raise ConfigurationError(
            f"{path} has no array '{key}'{nearest(key, arrays)}",
            f"its keys are {', '.join(arrays)}; choose by [data] split and target",
        )
    found: torch.Tensor = arrays[key]
    return found


def _digest(*tensors: torch.Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
