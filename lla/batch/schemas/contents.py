"""The schema of what ``index.h5`` contains."""

from __future__ import annotations

from typing import Any

from lla.batch.layout import SCHEMA, OverEpochs, OverRows, Own, Words
from lla.report.schemas.contents import DEFS, node, result_schema, root_attributes
from lla.report.schemas.parts import DIALECT, TEXT, Schema, record

__all__ = ["contents_schema"]

# What has the units of the metric.
_IN_UNITS = ("value", "low", "high", "value_errors")


def contents_schema() -> Schema:
    """The schema of an index's contents."""
    name = {"const": "index.h5", "description": "name under which it was written"}
    attributes = root_attributes(SCHEMA, {"file_name": name})
    own = result_schema(Own, "NXcollection", {"const": Own.about})
    root = node(record(attributes, ["default"]), record({}), record({"index": own}))
    root["properties"]["groups"]["additionalProperties"] = {"$ref": "#/$defs/analysis"}
    return {
        "$schema": DIALECT,
        "$id": "urn:lla:index:1:contents",
        "title": f"Contents of a batch's index.h5, {SCHEMA}",
        "description": "What lla.report.contents.contents(file) tells of an index.",
        **root,
        "$defs": {
            "analysis": _analysis(),
            "over_rows": _numbers(OverRows),
            "over_epochs": _numbers(OverEpochs),
            "words": result_schema(Words, "NXcollection", TEXT),
            **DEFS,
        },
    }


def _analysis() -> Schema:
    """The group of an analysis: a group for each of its metrics."""
    attributes = {"NX_class": {"const": "NXentry"}, "title": TEXT, "default": TEXT}
    found = node(
        record(attributes, ["default"]),
        record({"title": {"$ref": "#/$defs/title"}}),
        record({}),
        description="an analysis, under the group that it has in reports",
    )
    kinds = [{"$ref": f"#/$defs/{name}"} for name in ("over_rows", "over_epochs", "words")]
    found["properties"]["groups"]["additionalProperties"] = {"anyOf": kinds}
    return found


def _numbers(type: Any) -> Schema:
    """A metric in numbers: what it is, and in which units, its value says."""
    found = result_schema(type, "NXdata", TEXT)
    datasets = found["properties"]["datasets"]["properties"]
    for name in _IN_UNITS:
        attributes = datasets[name]["properties"]["attributes"]
        attributes["properties"]["units"] = TEXT
    datasets["value"]["properties"]["attributes"]["properties"]["long_name"] = TEXT
    return found
