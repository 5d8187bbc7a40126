"""What makes a report describe itself: dimension scales for xarray, NeXus attributes for viewers.

Conventions: the NeXus class definitions of NXdata (https://manual.nexusformat.org), and the HDF5
dimension scales that netCDF-4 reads as dimensions and coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from lla.analyses.fields import Plot

__all__ = [
    "DIMENSION_ONLY",
    "FILTERS",
    "attach_scales",
    "describe",
    "describe_plot",
    "errors_about",
    "is_plot",
    "storable",
]

# So begins the name of a scale that gives a dimension its name and has no coordinates: netCDF-4's
# mark of a dimension that is no variable. The length follows, in 10 places.
DIMENSION_ONLY = "This is a netCDF dimension but not a netCDF variable."
# Without the checksum a flipped byte would be silently wrong in any reader.
FILTERS = {"compression": "gzip", "shuffle": True, "fletcher32": True}


def describe(group: h5py.Group, kind: str, title: str) -> None:
    """Give a group its NeXus class and its title: as an attribute, and as NeXus' field."""
    group.attrs["NX_class"] = kind
    group.attrs["title"] = storable(title)
    if kind in ("NXdata", "NXentry"):
        group.create_dataset("title", data=storable(title))


def storable(value: Any) -> Any:
    """A text as HDF5 can hold it, without NUL and lone surrogates; any other value as it is."""
    if not isinstance(value, str):
        return value
    return value.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def is_plot(group: h5py.Group) -> bool:
    """Whether following the group's @default leads to a plot."""
    return group.attrs["NX_class"] == "NXdata" or "default" in group.attrs


def attach_scales(group: h5py.Group, dims: Mapping[str, tuple[str, ...]]) -> None:
    """Name the dimensions of arrays and tie each to its scale.

    The scale of a dimension is the array of that name, which holds coordinates; where there is
    none, a scale without values, which takes no space, is added.

    Args:
        group: The group of the arrays.
        dims: Names of the dimensions of each array.

    Raises:
        ValueError: Two arrays share a dimension and differ in its length, or an array has not as
            many dimensions as declared.
    """
    lengths: dict[str, int] = {}
    for name, names in dims.items():
        shape = group[name].shape
        if len(shape) != len(names):
            raise ValueError(f"{group.name}/{name} has shape {shape}, and dimensions {names}")
        for dim, length in zip(names, shape, strict=True):
            if lengths.setdefault(dim, length) != length:
                raise ValueError(
                    f"{group.name}/{name} has {length} along '{dim}', and another {lengths[dim]}"
                )
    for dim, length in lengths.items():
        if dim in dims:
            group[dim].make_scale(dim)
        else:
            scale = group.create_dataset(dim, shape=(length,), dtype=">f4")
            scale.make_scale(f"{DIMENSION_ONLY}{length:10}")
    for name, names in dims.items():
        for place, dim in enumerate(names):
            group[name].dims[place].label = dim
            if dim != name:
                group[name].dims[place].attach_scale(group[dim])


def describe_plot(group: h5py.Group, plot: Plot) -> None:
    """Name signal, axes and uncertainties of an NXdata group, and add the uncertainties."""
    group.attrs["signal"] = plot.signal
    group.attrs["axes"] = list(plot.axes)
    for place, axis in enumerate(plot.axes):
        if axis != ".":
            group.attrs[f"{axis}_indices"] = place
    if plot.band is not None and all(name in group for name in (plot.signal, *plot.band)):
        _add_errors(group, plot.signal, plot.band)


def _add_errors(group: h5py.Group, signal: str, band: tuple[str, str]) -> None:
    value, low, high = (group[name][()] for name in (signal, *band))
    with np.errstate(invalid="ignore"):  # between infinities there is no width
        half = np.maximum(high - value, value - low)
    errors = group.create_dataset(
        f"{signal}_errors", data=half, **(FILTERS if half.size and half.ndim else {})
    )
    errors.attrs["long_name"] = errors_about(signal, band)
    if "units" in group[signal].attrs:
        errors.attrs["units"] = group[signal].attrs["units"]
    for place, dim in enumerate(group[signal].dims):
        errors.dims[place].label = dim.label
        for scale in dim.values():
            errors.dims[place].attach_scale(scale)


def errors_about(signal: str, band: tuple[str, str]) -> str:
    """What the uncertainties of a plot are."""
    return f"larger distance of {signal} to {band[0]} and {band[1]}"
