"""What an HDF5 report contains, as plain values: what ``schemas/contents.json`` is a schema of."""

from __future__ import annotations

import math
from typing import Any

import h5py
import numpy as np

from lla.report.nexus import DIMENSION_ONLY

__all__ = ["contents"]

# What HDF5 itself keeps of dimension scales: told by "dimensions" and "scale".
_OF_SCALES = {"CLASS", "NAME", "DIMENSION_LABELS", "DIMENSION_LIST", "REFERENCE_LIST"}
_TYPES = {"i": "integer", "u": "integer", "f": "number", "b": "boolean", "O": "string"}


def contents(group: h5py.Group) -> dict[str, Any]:
    """Attributes, datasets and groups of a group, all the way down.

    Returns:
        ``attributes`` by name, with non-finite numbers as None; ``datasets`` by name, each with
        ``type``, ``shape``, ``dimensions``, ``attributes`` and whether it is the ``scale`` of a
        dimension ("coordinates", or "name" where it only names one); ``groups`` by name.
    """
    items = list(group.items())
    return {
        "attributes": _attributes(group),
        "datasets": {
            name: _dataset(item) for name, item in items if isinstance(item, h5py.Dataset)
        },
        "groups": {name: contents(item) for name, item in items if isinstance(item, h5py.Group)},
    }


def _dataset(data: h5py.Dataset) -> dict[str, Any]:
    found = {
        "type": _TYPES.get(data.dtype.kind, str(data.dtype)),
        "shape": list(data.shape),
        "dimensions": [dim.label for dim in data.dims],
        "attributes": _attributes(data),
    }
    if data.is_scale:
        name = data.attrs["NAME"].decode()
        found["scale"] = "name" if name.startswith(DIMENSION_ONLY) else "coordinates"
    return found


def _attributes(item: h5py.Group | h5py.Dataset) -> dict[str, Any]:
    return {name: _plain(value) for name, value in item.attrs.items() if name not in _OF_SCALES}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return None if isinstance(value, float) and not math.isfinite(value) else value
