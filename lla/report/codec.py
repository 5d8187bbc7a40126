"""Results to HDF5 groups and back, by the declarations of their fields alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from typing import Any

import h5py
import numpy as np

from lla.analyses.fields import Entry, Plot, entries
from lla.estimate import Estimate, Label, Verdict
from lla.report import nexus

__all__ = ["DamagedDatasetError", "decode", "decode_scalars", "encode"]

_VERDICTS = "verdicts"
_FACTS = {
    type: frozenset(item.name for item in fields(type)) - {"value"} for type in (Estimate, Label)
}
_BEFORE = "the report was made by a version of lla that did not compute this"


class DamagedDatasetError(OSError):
    """A dataset is missing, or its bytes are not those that were written; the text names it."""


def encode(result: Any, group: h5py.Group) -> None:
    """Write a result dataclass into an HDF5 group.

    Args:
        result: Instance of a dataclass declared with :mod:`lla.analyses.fields`.
        group: An empty group.

    Raises:
        ValueError: An array does not have the dimensions that it is declared with.
    """
    arrays = {}
    for entry in entries(result):
        value = getattr(result, entry.attribute)
        if value is not None:
            _ENCODERS[entry.kind](entry, value, group)
            if entry.kind == "array":
                arrays[entry.name] = entry.dims
    nexus.attach_scales(group, arrays)
    plot: Plot | None = getattr(result, "plot", None)
    if plot is not None and plot.signal in group:
        nexus.describe_plot(group, plot)


def decode(type: Any, group: h5py.Group) -> Any:
    """Read a result dataclass from an HDF5 group.

    What is not there becomes None or empty where the declaration allows it, and a metric a missing
    estimate.

    Raises:
        DamagedDatasetError: A dataset is missing or damaged; it is named.
    """
    values = {}
    for entry in entries(type):
        values[entry.attribute] = _DECODERS[entry.kind](entry, group)
    return type(**values)


def decode_scalars(type: Any, group: h5py.Group, arrays: Collection[str] = ()) -> Any:
    """Read the metrics and verdicts of a result dataclass: a small part of the time of all.

    Args:
        type: The dataclass.
        group: Its group.
        arrays: Paths of arrays within the file, without a slash in front, that are read as well.

    Returns:
        The dataclass with None for the other arrays and groups, whatever is declared of them.

    Raises:
        DamagedDatasetError: A dataset is missing or damaged; it is named.
    """
    values: dict[str, Any] = {}
    for entry in entries(type):
        path = f"{group.name}/{entry.name}".lstrip("/")
        if entry.kind in ("metric", "verdicts") or path in arrays:
            values[entry.attribute] = _DECODERS[entry.kind](entry, group)
        elif entry.kind == "group" and any(name.startswith(f"{path}/") for name in arrays):
            there = _is_there(entry, group)
            inner = decode_scalars(entry.type, group[entry.name], arrays) if there else None
            values[entry.attribute] = inner
        else:
            values[entry.attribute] = None
    return type(**values)


def _values(data: h5py.Dataset, *, text: bool) -> Any:
    try:
        return (data.asstr() if text else data)[()]
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise DamagedDatasetError(f"the dataset {data.name} is damaged: {error}") from error


def _is_there(entry: Entry, group: h5py.Group) -> bool:
    """Whether there is a dataset or group of an entry.

    Raises:
        DamagedDatasetError: There is none, and there has to be.
    """
    if entry.name in group:
        return True
    if not entry.optional:
        raise DamagedDatasetError(f"{group.name}/{entry.name} is missing")
    return False


def _encode_metric(entry: Entry, value: Estimate | Label, group: h5py.Group) -> None:
    content = float(value.value) if isinstance(value, Estimate) else nexus.storable(value.value)
    data = group.create_dataset(entry.name, data=content)
    for item in fields(value):
        content = getattr(value, item.name)
        if item.name != "value" and content is not None and content != "":
            data.attrs[item.name] = nexus.storable(content)
    data.attrs["long_name"] = entry.about


def _decode_metric(entry: Entry, group: h5py.Group) -> Estimate | Label | None:
    if entry.name not in group:
        if entry.optional:
            return None
        return Label("", _BEFORE) if entry.text else Estimate.missing(_BEFORE)
    data = group[entry.name]
    known, attributes = _FACTS[Label if entry.text else Estimate], data.attrs
    facts = {name: _native(attributes[name]) for name in attributes if name in known}
    value = _values(data, text=entry.text)
    return Label(str(value), **facts) if entry.text else Estimate(float(value), **facts)


def _native(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _encode_array(entry: Entry, value: Any, group: h5py.Group) -> None:
    if isinstance(value, tuple):
        texts = [nexus.storable(text) for text in value]
        data = group.create_dataset(entry.name, data=texts, dtype=h5py.string_dtype())
    else:
        # An empty array cannot be chunked, and so neither compressed nor checksummed.
        filters = nexus.FILTERS if np.size(value) and np.ndim(value) else {}
        data = group.create_dataset(entry.name, data=np.asarray(value), **filters)
    data.attrs["long_name"] = entry.about
    if entry.units:
        data.attrs["units"] = entry.units


def _decode_array(entry: Entry, group: h5py.Group) -> Any:
    if not _is_there(entry, group):
        return None
    values = _values(group[entry.name], text=entry.text)
    return tuple(values.tolist()) if entry.text else values


def _encode_group(entry: Entry, value: Any, group: h5py.Group) -> None:
    _encode_child(entry.name, entry.about, value, group)


def _encode_child(name: str, title: str, value: Any, group: h5py.Group) -> None:
    child = group.create_group(name, track_order=True)
    is_plot = getattr(value, "plot", None) is not None
    nexus.describe(child, "NXdata" if is_plot else "NXcollection", title)
    encode(value, child)
    _lead_to(group, child, name)


def _lead_to(group: h5py.Group, child: h5py.Group, name: str) -> None:
    """Let a group's @default name the first child that leads to a plot."""
    if "default" not in group.attrs and nexus.is_plot(child):
        group.attrs["default"] = name


def _decode_group(entry: Entry, group: h5py.Group) -> Any:
    return decode(entry.type, group[entry.name]) if _is_there(entry, group) else None


def _encode_groups(entry: Entry, value: dict[str, Any], group: h5py.Group) -> None:
    parent = group.create_group(entry.name, track_order=True)
    nexus.describe(parent, "NXcollection", entry.about)
    for name, item in value.items():
        _encode_child(_quoted(name), name, item, parent)
    _lead_to(group, parent, entry.name)


def _decode_groups(entry: Entry, group: h5py.Group) -> dict[str, Any]:
    if entry.name not in group:
        return {}
    children = group[entry.name].items()
    return {child.attrs["title"]: decode(entry.type, child) for _, child in children}


def _quoted(name: str) -> str:
    """A group's name for a module's, which may hold a slash, be empty or a dot."""
    text = nexus.storable(name).replace("%", "%25").replace("/", "%2F")
    return "%" if not text else text.replace(".", "%2E") if set(text) == {"."} else text


def _encode_verdicts(entry: Entry, value: tuple[Verdict, ...], group: h5py.Group) -> None:
    columns = {
        item.name: [nexus.storable(getattr(verdict, item.name)) for verdict in value]
        for item in fields(Verdict)
    }
    parent = group.create_group(_VERDICTS, track_order=True)
    nexus.describe(parent, "NXcollection", entry.about)
    for name, texts in columns.items():
        parent.create_dataset(name, data=texts, dtype=h5py.string_dtype())
    nexus.attach_scales(parent, dict.fromkeys(columns, ("id",)))


def _decode_verdicts(entry: Entry, group: h5py.Group) -> tuple[Verdict, ...]:
    if _VERDICTS not in group:
        return ()
    parent = group[_VERDICTS]
    columns = [_values(parent[item.name], text=True).tolist() for item in fields(Verdict)]
    return tuple(Verdict(*row) for row in zip(*columns, strict=True))


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
