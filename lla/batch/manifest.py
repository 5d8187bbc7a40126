"""A manifest: checkpoints with what differs among them, as TOML, CSV or JSON lines.

Every entry has a ``path`` (a file, a folder or a pattern), perhaps a ``name`` and a ``recipe``, and
settings: as ``section.key`` in all three formats, or as tables of sections in TOML and JSON.
Paths are relative to the manifest's folder.
"""

from __future__ import annotations

import csv
import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lla.analyses.checkpoints import checkpoints_of
from lla.batch.wanted import Wanted
from lla.checkpoint import split_scheme
from lla.errors import ConfigurationError, LlaError, SettingsFileError
from lla.settings import resolve
from lla.sources import Source, anchored, typed

__all__ = ["read_manifest"]

_OWN = ("path", "name", "recipe")
_TABLE = "checkpoint"


def read_manifest(path: Path) -> list[Wanted]:
    """The checkpoints that a manifest names, in its order.

    Raises:
        SettingsFileError: It cannot be read.
        ConfigurationError: It is of no known format, or an entry is wrong.
    """
    formats = {".toml": _toml, ".csv": _csv, ".jsonl": _json_lines}
    read = formats.get(path.suffix.lower())
    if read is None:
        raise ConfigurationError(
            f"the manifest {path} is of no known format", "name it .toml, .csv or .jsonl"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingsFileError(
            f"the manifest {path} cannot be read: {error.strerror}",
            f"look for it: ls {path.parent}",
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"the manifest {path} is no text in UTF-8: {error.reason}", "save it as UTF-8"
        ) from None
    found = [one for origin, entry in read(text, path) for one in _wanted(entry, origin, path)]
    if not found:
        raise ConfigurationError(
            f"the manifest {path} names no checkpoint", "add entries, each with a path"
        )
    return found


def _toml(text: str, path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            f"the manifest {path} is not valid TOML: {error}", "correct it at that place"
        ) from None
    schema, entries = values.pop("schema", 1), values.pop(_TABLE, [])
    if schema != 1:
        raise ConfigurationError(
            f"{path} has schema {schema}, and this lla knows schema 1", "upgrade lla"
        )
    if values or not isinstance(entries, list):
        other = next(iter(values), _TABLE)
        raise ConfigurationError(
            f"{path}: '{other}' stands where only entries do", f"write each as [[{_TABLE}]]"
        )
    for number, entry in enumerate(entries, start=1):
        yield f"{path}, {_TABLE} {number}", entry


def _csv(text: str, path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    rows = csv.DictReader(text.splitlines(), strict=True, skipinitialspace=True)
    try:
        for row in rows:
            origin = f"{path}, line {rows.line_num}"
            if None in row or None in row.values():
                raise ConfigurationError(
                    f"{origin} has another number of cells than the first line names",
                    "quote cells that hold a comma",
                )
            # A cell left empty says nothing.
            filled = {key.strip(): cell for key, cell in row.items() if cell.strip()}
            yield origin, {k: v if k in _OWN else typed(v) for k, v in filled.items()}
    except csv.Error as error:
        raise ConfigurationError(
            f"the manifest {path} is not valid CSV: {error} (line {rows.line_num})",
            "correct it at that place",
        ) from None


def _json_lines(text: str, path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            yield f"{path}, line {number}", json.loads(line)
        except json.JSONDecodeError as error:
            raise ConfigurationError(
                f"{path}, line {number} is not valid JSON: {error}", "write one object a line"
            ) from None


def _wanted(entry: Any, origin: str, path: Path) -> Iterable[Wanted]:
    """The checkpoints of one entry: a pattern may mean several."""
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"{origin} is no table", 'write it as {"path": "model.pt"}')
    own = {key: entry[key] for key in _OWN if key in entry}
    wrong = next((key for key, value in own.items() if not isinstance(value, str)), None)
    if wrong or not own.get("path"):
        said = f"its {wrong} is no text" if wrong else "it has no path"
        raise ConfigurationError(f"{origin}: {said}", 'every entry has a path: path = "model.pt"')
    values = _sections({key: value for key, value in entry.items() if key not in _OWN}, origin)
    values = anchored(values, path.parent)
    try:
        resolve([Source(origin, values)])
        named = checkpoints_of([_seen_from_here(own["path"], path.parent)], "its path")
    except LlaError as error:
        reason = error.reason if error.reason.startswith(origin) else f"{origin}: {error.reason}"
        raise ConfigurationError(reason, error.remedy) from None
    if own.get("name") and len(named) > 1:
        raise ConfigurationError(
            f"{origin}: one name, and {len(named)} checkpoints match {own['path']}",
            "leave the name out: each is called as its file",
        )
    recipe = _seen_from_here(own["recipe"], path.parent) if "recipe" in own else None
    one = Wanted("", own.get("name", ""), recipe, values, origin)
    return [replace(one, checkpoint=checkpoint) for checkpoint in named]


def _sections(entry: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Sections of keys from ``section.key`` and from tables."""
    found: dict[str, Any] = {}
    for key, value in entry.items():
        section, dot, rest = key.partition(".")
        if not dot and not isinstance(value, Mapping):
            raise ConfigurationError(
                f"{origin}: '{key}' is no setting", f"write settings as section.key: run.{key}"
            )
        keys = {rest: value} if dot else dict(value)
        found[section] = {**found.get(section, {}), **keys}
    return found


def _seen_from_here(text: str, folder: Path) -> str:
    scheme, place = split_scheme(text)
    if scheme and not (folder / place).exists():
        return text
    return f"{scheme}:" * bool(scheme) + os.path.relpath(folder / place)
