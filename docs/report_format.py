"""Write the JSON schemas that the package ships, and docs/report-format.md and batch-format.md.

``make docs`` runs this after a change to what a report or an index holds; a test fails until it
has been run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from string import Template
from typing import Any

import lla.batch.schemas
import lla.report.schemas

DOCS = Path(__file__).parent
PAGE = "report-format.md"
BATCHES = "batch-format.md"

Schema = dict[str, Any]


def page(contents: Schema, document: Schema) -> str:
    """The page as Markdown."""
    inner = document["properties"]
    provenance = contents["properties"]["groups"]["properties"]["provenance"]
    stage = inner["stages"]["additionalProperties"]
    text = Template((DOCS / "report-format.template").read_text("utf-8"))
    return text.substitute(
        root=_attributes(contents),
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


def batches(batch: Schema, index: Schema, contents: Schema) -> str:
    """The page of a batch's formats as Markdown."""
    text = Template((DOCS / "batch-format.template").read_text("utf-8"))
    jobs, tables = batch["properties"]["jobs"]["items"], index["properties"]
    values = tables["metrics"]["additionalProperties"]["properties"]["values"]["items"]["anyOf"]
    own = contents["properties"]["groups"]["properties"]["index"]["properties"]["groups"]
    return text.substitute(
        batch=_table(batch),
        job=_table(jobs),
        states=_words(jobs["properties"]["state"]),
        index=_table(index),
        checkpoints=_table(tables["checkpoints"]["items"]),
        numbers=_table(values[0]),
        trends=_table(tables["trends"]["items"]),
        outliers=_table(tables["outliers"]["items"]),
        root=_attributes(contents),
        own="\n".join(_members(f"index/{name}", item) for name, item in _of(own)),
        metric=_members("<metric>", contents["$defs"]["over_epochs"]),
    )


def _table(schema: Schema) -> str:
    return "| key | meaning |\n| --- | --- |\n" + _keys(schema)


def _members(path: str, group: Schema) -> str:
    """A row for each dataset of a group: its dimensions, and what it is."""
    rows = [
        (f"`{path}/{name}`", ", ".join(item["properties"]["dimensions"]["const"]), _about(item))
        for name, item in _of(group["properties"]["datasets"])
        if "properties" in item
    ]
    return _rows(rows)


def _attributes(contents: Schema) -> str:
    return _rows(
        (f"`/`, attribute `{name}`", _type(item), _about(item))
        for name, item in _of(contents["properties"]["attributes"])
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
    texts = {}
    pages = {lla.report.schemas: (PAGE, page), lla.batch.schemas: (BATCHES, batches)}
    for room, (name, write) in pages.items():
        schemas = {each: room.made(each) for each in room.NAMES}
        folder = Path(room.__file__).parent
        for each, schema in schemas.items():
            texts[folder / f"{each}.json"] = json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
        texts[DOCS / name] = write(**schemas)
    return texts


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
        print(path)
