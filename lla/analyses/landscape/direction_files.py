"""Directions in the files of github.com/tomgoldstein/loss-landscape.

Groups ``xdirection`` and ``ydirection`` hold one data set per parameter, named "0", "1", ….
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import torch

from lla.errors import ConfigurationError, DataError
from lla.problem.parameters import ParameterSpace

__all__ = ["read_directions"]

_GROUPS = ("xdirection", "ydirection")


def read_directions(path: str, space: ParameterSpace) -> torch.Tensor:
    """One or two directions from a file of loss-landscape, shape (k, P), float64.

    Its data sets are the network's parameters in order, or its whole state (with batch norm's
    running statistics): those whose shapes fit the parameters, one after the other, are taken.

    Raises:
        ConfigurationError: No file is named, or its directions are of another network.
        DataError: The file cannot be read.
    """
    if not path:
        raise ConfigurationError(
            "axes 'file' name no file", "write --axes file:directions.h5 (x and y in it)"
        )
    try:
        with h5py.File(path, "r") as file:
            present = [name for name in _GROUPS if name in file]
            parts = [
                [np.asarray(file[name][str(index)]) for index in range(len(file[name]))]
                for name in present
            ]
    except (OSError, KeyError) as error:
        if not Path(path).is_file():
            raise DataError(f"there is no file {path}", "correct --axes file:PATH") from None
        raise DataError(
            f"{path} cannot be read as directions: {error}",
            "give an HDF5 file with groups xdirection and ydirection",
        ) from None
    if not parts:
        raise DataError(
            f"{path} has no group xdirection", "give a file that loss-landscape wrote as --dir_file"
        )
    return torch.stack([_flat(tensors, space, path) for tensors in parts])


def _flat(tensors: list[np.ndarray], space: ParameterSpace, path: str) -> torch.Tensor:
    left = iter(tensors)
    found: list[np.ndarray] = []
    for shape, name in zip(space.shapes, space.names, strict=True):
        part = next((one for one in left if one.shape == tuple(shape)), None)
        if part is None:
            raise ConfigurationError(
                f"the directions in {path} are of another network: none is left for {name} of "
                f"shape {tuple(shape)}",
                f"they are {len(tensors)} arrays; this network has {len(space.names)} parameters",
            )
        found.append(part.reshape(-1))
    return torch.from_numpy(np.concatenate(found).astype(np.float64))
