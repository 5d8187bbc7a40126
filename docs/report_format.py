"""Write the JSON schemas that the package ships, and docs/report-format.md from them.

``make docs`` runs this after a change to what a report holds; a test fails until it has been run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from string import Template
from typing import Any

from lla.report.schemas import NAMES, made

DOCS = Path(__file__).parent
SCHEMAS = DOCS.parent / "lla" / "report" / "schemas"
PAGE = "report-format.md"

Schema = dict[str, Any]


def page(contents: Schema, document: Schema) -> str:
    """The page as Markdown."""
    inner = document["properties"]
    provenance = contents["properties"]["groups"]["properties"]["provenance"]
    stage = inner["stages"]["additionalProperties"]
    attributes = contents["properties"]["attributes"]
    text = Template((DOCS / "report-format.template").read_text("utf-8"))
    return text.substitute(
        root=_rows(
            (f"`/`, attribute `{name}`", _type(item), _about(item))
            for name, item in _of(attributes)
        ),
        estimate=_rows(
            (f"`{name}`", _type(item), _about(item))
            for name, item in _of(document["$defs"]["estimate"])
            if name != "value"
        ),
        analyses="".join(_analyses(contents)).rstrip("\n") + "\n",
        verdicts=_words(document["$defs"]["verdict"]["properties"]["verdict"]),
        provenance=_keys(provenance["properties"]["datasets"]),
        checkpoint=_keys(inner["checkpoint"]),
        facts="\n".join(
            [_keys(inner["provenance"]), _keys(inner["provenance"]["properties"]["data"], "data.")]
        ),
        stage=_keys(stage),
        statuses=_words(stage["properties"]["status"]),
        document=_keys(document),
    )


def _analyses(contents: Schema) -> Iterator[str]:
    for name, group in _of(contents["properties"]["groups"]):
        if name != "provenance":
            yield f"## `/{name}`: {group['description']}\n\n"
            yield "| dataset | dimensions | units | meaning |\n| --- | --- | --- | --- |\n"
            yield from _datasets(name, group, [])
            yield "\n"


def _datasets(path: str, group: Schema, notes: list[str]) -> Iterator[str]:
    """A row for each dataset of a group, and of the groups inside."""
    datasets = group["properties"]["datasets"]
    for name, item in _of(datasets):
        reference = item.get("$ref", "").rpartition("/")[2]
        if reference in ("title", "dimension"):
            continue
        marks = [*notes, *(["if there"] if name not in datasets["required"] else [])]
        if reference == "label":
            marks.append("word")
        inner = item["properties"]
        dims = ", ".join(inner["dimensions"]["const"]) if "dimensions" in inner else ""
        units = inner["attributes"]["properties"].get("units", {}).get("const", "")
        extra = f" *({', '.join(marks)})*" if marks else ""
        yield _row(f"`{path}/{name}`", dims, units, _about(item) + extra)
    groups = group["properties"]["groups"]
    for name, item in _of(groups):
        marks = [*notes, *(["if there"] if name not in groups["required"] else [])]
        yield from _datasets(f"{path}/{name}", item, marks)
    if isinstance(groups["additionalProperties"], dict):
        yield from _datasets(f"{path}/<name>", groups["additionalProperties"], notes)


def _of(schema: Schema) -> Iterable[tuple[str, Schema]]:
    return schema["properties"].items()


def _keys(schema: Schema, prefix: str = "") -> str:
    return _rows((f"`{prefix}{name}`", _about(item)) for name, item in _of(schema) if _about(item))


def _words(schema: Schema) -> str:
    return _rows((f"`{item['const']}`", item["description"]) for item in schema["oneOf"])


def _rows(rows: Iterable[tuple[str, ...]]) -> str:
    return "".join(_row(*cells) for cells in rows).rstrip("\n")


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _about(item: Schema) -> str:
    return str(item.get("description", ""))


def _type(item: Schema) -> str:
    if "const" in item:
        return f"`{item['const']}`"
    kinds = item["type"] if isinstance(item["type"], list) else [item["type"]]
    return {"number": "number", "boolean": "true or false", "string": "text"}[kinds[0]]


def files() -> dict[Path, str]:
    """What there is to write."""
    schemas = {name: made(name) for name in NAMES}
    texts = {
        SCHEMAS / f"{name}.json": json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
        for name, schema in schemas.items()
    }
    return {**texts, DOCS / PAGE: page(schemas["contents"], schemas["document"])}


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
        print(path)
