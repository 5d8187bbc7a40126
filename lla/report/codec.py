"""Results to HDF5 groups and back, by the declarations of their fields alone."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import h5py
import numpy as np

from lla.analyses.fields import Entry, Plot, entries
from lla.estimate import Estimate, Label, Verdict

__all__ = ["decode", "encode"]

_VERDICTS = "verdicts"


def encode(result: Any, group: h5py.Group) -> None:
    """Write a result dataclass into an HDF5 group.

    Args:
        result: Instance of a dataclass declared with :mod:`lla.analyses.fields`.
        group: An empty group.
    """
    for entry in entries(result):
        value = getattr(result, entry.attribute)
        if value is not None:
            _ENCODERS[entry.kind](entry, value, group)
    _attach_scales(result, group)
    plot: Plot | None = getattr(result, "plot", None)
    if plot is not None:
        group.attrs["NX_class"] = "NXdata"
        group.attrs["signal"] = plot.signal
        group.attrs["axes"] = list(plot.axes)


def decode(type: Any, group: h5py.Group) -> Any:
    """Read a result dataclass from an HDF5 group; what is not there becomes None or empty."""
    values = {}
    for entry in entries(type):
        values[entry.attribute] = _DECODERS[entry.kind](entry, group)
    return type(**values)


def _encode_metric(entry: Entry, value: Estimate | Label, group: h5py.Group) -> None:
    data = group.create_dataset(entry.name, data=value.value)
    for item in fields(value):
        content = getattr(value, item.name)
        if item.name != "value" and content is not None and content != "":
            data.attrs[item.name] = content
    data.attrs["long_name"] = entry.about


def _decode_metric(entry: Entry, group: h5py.Group) -> Estimate | Label | None:
    if entry.name not in group:
        return None
    data = group[entry.name]
    is_label = data.dtype.kind == "O"
    names = {item.name for item in fields(Label if is_label else Estimate)} - {"value"}
    facts = {name: _native(data.attrs[name]) for name in names if name in data.attrs}
    if is_label:
        return Label(str(data.asstr()[()]), **facts)
    return Estimate(float(data[()]), **facts)


def _native(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _encode_array(entry: Entry, value: Any, group: h5py.Group) -> None:
    if isinstance(value, tuple):
        data = group.create_dataset(entry.name, data=list(value), dtype=h5py.string_dtype())
    else:
        # An empty array cannot be chunked, and so neither compressed nor checksummed.
        filters = (
            {"compression": "gzip", "shuffle": True, "fletcher32": True}
            if np.size(value) and np.ndim(value)
            else {}
        )
        data = group.create_dataset(entry.name, data=np.asarray(value), **filters)
    data.attrs["long_name"] = entry.about
    if entry.units:
        data.attrs["units"] = entry.units


def _decode_array(entry: Entry, group: h5py.Group) -> Any:
    if entry.name not in group:
        return None
    data = group[entry.name]
    if data.dtype.kind == "O":
        return tuple(data.asstr()[()].tolist())
    return data[()]


def _encode_group(entry: Entry, value: Any, group: h5py.Group) -> None:
    child = group.create_group(entry.name, track_order=True)
    child.attrs["NX_class"] = "NXcollection"
    child.attrs["title"] = entry.about
    encode(value, child)
    if child.attrs["NX_class"] == "NXdata" and "default" not in group.attrs:
        group.attrs["default"] = entry.name


def _decode_group(entry: Entry, group: h5py.Group) -> Any:
    return decode(entry.type, group[entry.name]) if entry.name in group else None


def _encode_groups(entry: Entry, value: dict[str, Any], group: h5py.Group) -> None:
    parent = group.create_group(entry.name, track_order=True)
    parent.attrs["NX_class"] = "NXcollection"
    for name, item in value.items():
        child = parent.create_group(name, track_order=True)
        child.attrs["NX_class"] = "NXcollection"
        encode(item, child)


def _decode_groups(entry: Entry, group: h5py.Group) -> dict[str, Any]:
    if entry.name not in group:
        return {}
    return {name: decode(entry.type, child) for name, child in group[entry.name].items()}


def _encode_verdicts(entry: Entry, value: tuple[Verdict, ...], group: h5py.Group) -> None:
    columns = {
        item.name: [getattr(verdict, item.name) for verdict in value] for item in fields(Verdict)
    }
    parent = group.create_group(_VERDICTS)
    parent.attrs["NX_class"] = "NXcollection"
    for name, texts in columns.items():
        parent.create_dataset(name, data=texts, dtype=h5py.string_dtype())


def _decode_verdicts(entry: Entry, group: h5py.Group) -> tuple[Verdict, ...]:
    if _VERDICTS not in group:
        return ()
    columns = [group[_VERDICTS][item.name].asstr()[()].tolist() for item in fields(Verdict)]
    return tuple(Verdict(*row) for row in zip(*columns, strict=True))


def _attach_scales(result: Any, group: h5py.Group) -> None:
    """Tie each array's dimensions to the array of the same name in the group, if there is one."""
    arrays = [entry for entry in entries(result) if entry.kind == "array" and entry.name in group]
    axes = {entry.name for entry in arrays if entry.dims == (entry.name,)}
    for name in axes:
        if group[name].dtype.kind != "O":
            group[name].make_scale(name)
    for entry in arrays:
        for place, dim in enumerate(entry.dims):
            group[entry.name].dims[place].label = dim
            if dim in axes and dim != entry.name and group[dim].dtype.kind != "O":
                group[entry.name].dims[place].attach_scale(group[dim])


_ENCODERS: dict[str, Any] = {
    "metric": _encode_metric,
    "array": _encode_array,
    "group": _encode_group,
    "groups": _encode_groups,
    "verdicts": _encode_verdicts,
}

_DECODERS: dict[str, Any] = {
    "metric": _decode_metric,
    "array": _decode_array,
    "group": _decode_group,
    "groups": _decode_groups,
    "verdicts": _decode_verdicts,
}
