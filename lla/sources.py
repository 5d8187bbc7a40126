"""Where settings come from: recipes and project files, with their paths made usable."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lla.errors import ConfigurationError

__all__ = ["Source", "anchored", "find_recipe", "read_project", "read_recipe"]


# Data sources that are no files as such: what follows the colon may be one.
_SCHEMES = ("factory", "hf", "torchvision")


@dataclass(frozen=True)
class Source:
    """Settings from one place.

    Attributes:
        origin: What the place is called in messages.
        values: Sections of keys.
    """

    origin: str
    values: Mapping[str, Mapping[str, Any]]


def find_recipe(place: Path, stem: str) -> Path | None:
    """The recipe of a checkpoint: beside it ``<stem>.toml`` or ``lla.toml``; in it, if a folder.

    Args:
        place: The checkpoint's file or folder.
        stem: Its name without suffix.
    """
    inside = [place / "lla.toml"] if place.is_dir() else []
    for candidate in (*inside, place.parent / f"{stem}.toml", place.parent / "lla.toml"):
        if candidate.is_file():
            return candidate
    return None


def read_recipe(path: Path) -> Source:
    """The source of a recipe file; paths in it are relative to its folder.

    Raises:
        ConfigurationError: The file is missing, no TOML, or of another schema.
    """
    values = _toml(path, "recipe")
    schema = values.pop("schema", 1)
    if schema != 1:
        raise ConfigurationError(
            f"{path} has schema {schema}, and this lla knows schema 1", "upgrade lla"
        )
    return Source(f"recipe {path}", anchored(values, path.parent))


def read_project(folder: Path) -> Source | None:
    """The source of ``[tool.lla]`` in the nearest ``pyproject.toml`` above a folder, if any."""
    for parent in (folder, *folder.parents):
        path = parent / "pyproject.toml"
        if path.is_file():
            found = _toml(path, "project file").get("tool", {}).get("lla")
            return Source(f"[tool.lla] of {path}", anchored(found, parent)) if found else None
    return None


def _toml(path: Path, role: str) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise ConfigurationError(
            f"the {role} {path} cannot be read: {error.strerror}",
            f"name another one, or look for it: ls {path.parent}",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"the {role} {path} is not valid TOML: {error}", "correct it at that place"
        ) from None


def anchored(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The values with file references made relative to the current folder instead of ``folder``."""
    found = {
        section: dict(keys) if isinstance(keys, Mapping) else keys
        for section, keys in values.items()
    }
    for section, key in (("model", "factory"), ("data", "source"), ("loss", "name")):
        keys = found.get(section)
        text = keys.get(key) if isinstance(keys, dict) else None
        if isinstance(text, str) and text and (key == "source" or ".py:" in text):
            found[section][key] = _relative(text, folder)
    return found


def _relative(text: str, folder: Path) -> str:
    """A file reference, perhaps behind a scheme, as seen from the current folder."""
    scheme, separator, rest = text.partition(":")
    if separator and scheme in _SCHEMES:
        is_file = ".py:" in rest if scheme == "factory" else (folder / rest).exists()
        return f"{scheme}:{os.path.relpath(folder / rest)}" if is_file else text
    return os.path.relpath(folder / text)
