"""The schema of what an HDF5 report contains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lla.analyses.analysis import Analysis
from lla.analyses.fields import Entry, Plot, entries
from lla.analyses.registry import built_in
from lla.report.nexus import errors_about
from lla.report.report import SCHEMA
from lla.report.schemas.parts import (
    COUNT,
    DIALECT,
    ESTIMATE,
    LABEL,
    TEXT,
    TIME,
    VERDICT,
    Schema,
    record,
)
from lla.report.storage import PROVENANCE_TEXTS

__all__ = ["DEFS", "contents_schema", "node", "result_schema", "root_attributes"]

_NUMBERS = ["number", "integer", "boolean"]


def root_attributes(version: str, file: Mapping[str, Schema]) -> dict[str, Schema]:
    """Attributes of a file of ours, of a version of its format, with what is said of the file."""
    return {
        "NX_class": {"const": "NXroot", "description": "NeXus class"},
        "lla_schema": {"const": version, "description": "version of this format"},
        "creator": {"const": "lla", "description": "what wrote the file"},
        "creator_version": {**TEXT, "description": "version of lla that wrote the file"},
        **file,
        "HDF5_Version": {**TEXT, "description": "version of libhdf5 that wrote the file"},
        "default": {**TEXT, "description": "the group whose plot is shown first"},
    }


def contents_schema() -> Schema:
    """The schema of an HDF5 report's contents."""
    attributes = root_attributes(
        SCHEMA,
        {
            "file_name": {**TEXT, "description": "name under which it was written"},
            "file_time": {**TIME, "description": "when it was written, UTC"},
        },
    )
    groups = {analysis.group: _analysis(analysis) for analysis in built_in().values()}
    root = node(
        record(attributes, ["default"]),
        record({}),
        record({**groups, "provenance": _provenance()}, groups),
    )
    root["properties"]["groups"]["additionalProperties"] = _of_another_package()
    return {
        "$schema": DIALECT,
        "$id": "urn:lla:report:1:contents",
        "title": f"Contents of an HDF5 report, {SCHEMA}",
        "description": "What lla.report.contents.contents(file) tells of a report.",
        **root,
        "$defs": {
            "estimate": _dataset(["number"], (), _facts(ESTIMATE, ("low", "high", "confidence"))),
            "label": _dataset(["string"], (), _facts(LABEL, ())),
            **DEFS,
        },
    }


def _analysis(analysis: Analysis) -> Schema:
    attributes = {"analysis": {"const": analysis.name}}
    return result_schema(analysis.result, "NXentry", {"const": analysis.about}, attributes)


def _of_another_package() -> Schema:
    attributes = record({"NX_class": {"const": "NXentry"}, "title": TEXT, "analysis": TEXT})
    del attributes["additionalProperties"]
    anything = {"type": "object"}
    about = "result of an analysis that another package brings"
    return node(attributes, anything, anything, description=about)


def node(attributes: Schema, datasets: Schema, groups: Schema, **more: Any) -> Schema:
    """The schema of a group."""
    return record({"attributes": attributes, "datasets": datasets, "groups": groups}, **more)


def result_schema(
    type: Any, kind: str, title: Schema, more: Mapping[str, Schema] | None = None
) -> Schema:
    """The schema of the group of a result.

    Args:
        type: Dataclass of the result.
        kind: Its NeXus class.
        title: Schema of its title.
        more: Schemas of further attributes.
    """
    plot: Plot | None = getattr(type, "plot", None)
    attributes = {"NX_class": {"const": kind}, "title": title, **(more or {})}
    datasets: dict[str, Schema] = {}
    optional = {"default"}
    if kind != "NXcollection":
        datasets["title"] = {"$ref": "#/$defs/title"}
    if plot is not None:
        attributes |= _plot_attributes(plot)
    groups: dict[str, Schema] = {}
    for entry in entries(type):
        if entry.kind in ("metric", "array"):
            datasets[entry.name] = _metric(entry) if entry.kind == "metric" else _array(entry)
        else:
            groups[entry.name] = _GROUPS[entry.kind](entry)
            if _leads_to_plot(entry):
                attributes["default"] = {**TEXT, "description": "the group whose plot is shown"}
        if entry.optional:
            optional.add(entry.name)
    derived = _derived(entries(type), plot)
    datasets |= {name: schema for name, (schema, _) in derived.items()}
    optional |= {name for name, (_, needed) in derived.items() if not needed}
    return node(
        record(attributes, optional),
        record(datasets, optional),
        record(groups, optional),
        description=title.get("const", "one for each name"),
    )


def _plot_attributes(plot: Plot) -> dict[str, Schema]:
    places = {
        f"{axis}_indices": {"const": place} for place, axis in enumerate(plot.axes) if axis != "."
    }
    return {"signal": {"const": plot.signal}, "axes": {"const": list(plot.axes)}, **places}


def _derived(declared: tuple[Entry, ...], plot: Plot | None) -> dict[str, tuple[Schema, bool]]:
    """Datasets that follow from the declared ones, and whether they are always there."""
    found: dict[str, tuple[Schema, bool]] = {}
    arrays = {entry.name: entry for entry in declared if entry.kind == "array"}
    for entry in arrays.values():
        for dim in entry.dims:
            if dim not in arrays:
                needed = not entry.optional or found.get(dim, ({}, False))[1]
                found[dim] = {"$ref": "#/$defs/dimension"}, needed
    if plot is not None and plot.band is not None:
        signal = arrays[plot.signal]
        about = errors_about(plot.signal, plot.band)
        schema = _dataset(_NUMBERS, signal.dims, _named(about, signal.units), description=about)
        found[f"{plot.signal}_errors"] = schema, not signal.optional
    return found


def _leads_to_plot(entry: Entry) -> bool:
    if entry.type is None:
        return False
    inner = entries(entry.type)
    return getattr(entry.type, "plot", None) is not None or any(map(_leads_to_plot, inner))


def _named(about: str, units: str) -> Schema:
    facts: dict[str, Schema] = {"long_name": {"const": about}}
    return record({**facts, "units": {"const": units}} if units else facts)


def _metric(entry: Entry) -> Schema:
    facts: dict[str, Schema] = {"long_name": {"const": entry.about}}
    if not entry.text:
        facts["units"] = {"const": entry.units}
    return {
        "$ref": f"#/$defs/{'label' if entry.text else 'estimate'}",
        "description": entry.about,
        "properties": {"attributes": {"properties": facts}},
    }


def _array(entry: Entry) -> Schema:
    return _dataset(
        ["string"] if entry.text else _NUMBERS,
        entry.dims,
        _named(entry.about, entry.units),
        scale="coordinates" if entry.dims == (entry.name,) else "",
        description=entry.about,
    )


def _dataset(
    types: list[str], dims: tuple[str, ...], attributes: Schema, *, scale: str = "", **more: Any
) -> Schema:
    lengths = {"type": "array", "items": COUNT, "minItems": len(dims), "maxItems": len(dims)}
    properties: dict[str, Schema] = {
        "type": {"enum": types},
        "shape": lengths,
        "dimensions": {"const": list(dims)},
        "attributes": attributes,
    }
    return record({**properties, "scale": {"const": scale}} if scale else properties, **more)


def _facts(known: Mapping[str, Schema], always: tuple[str, ...]) -> Schema:
    """A metric's attributes: all its facts but the value, which the dataset holds."""
    facts = {name: schema for name, schema in known.items() if name != "value"}
    needed = {*always, "converged", "long_name"}
    return record({**facts, "long_name": TEXT}, set(facts) - needed)


def _group(entry: Entry) -> Schema:
    kind = "NXdata" if getattr(entry.type, "plot", None) is not None else "NXcollection"
    return result_schema(entry.type, kind, {"const": entry.about})


def _groups(entry: Entry) -> Schema:
    kind = "NXdata" if getattr(entry.type, "plot", None) is not None else "NXcollection"
    attributes = {"NX_class": {"const": "NXcollection"}, "title": {"const": entry.about}}
    if _leads_to_plot(entry):
        attributes["default"] = TEXT
    parent = node(record(attributes, ["default"]), record({}), record({}), description=entry.about)
    parent["properties"]["groups"]["additionalProperties"] = result_schema(entry.type, kind, TEXT)
    return parent


def _verdicts(entry: Entry) -> Schema:
    columns = {
        name: _dataset(
            ["string"],
            ("id",),
            record({}),
            scale="coordinates" if name == "id" else "",
            description=schema["description"],
        )
        for name, schema in VERDICT.items()
    }
    attributes = {"NX_class": {"const": "NXcollection"}, "title": {"const": entry.about}}
    return node(record(attributes), record(columns), record({}), description=entry.about)


def _provenance() -> Schema:
    texts = {
        name: _dataset(
            ["string"],
            (),
            record({"content": {"const": "JSON"}, "long_name": {"const": about}}),
            description=about,
        )
        for name, about in PROVENANCE_TEXTS.items()
    }
    attributes = record({"NX_class": {"const": "NXcollection"}, "title": TEXT})
    return node(attributes, record(texts), record({}), description="where it all comes from")


_GROUPS = {"group": _group, "groups": _groups, "verdicts": _verdicts}

DEFS: dict[str, Schema] = {
    "title": _dataset(["string"], (), record({}), description="title of the plot"),
    "dimension": _dataset(
        ["number"],
        ("",),
        record({}),
        scale="name",
        description="no values: it gives the dimension of this name to arrays beside it",
    ),
}
"""What groups of results refer to."""
