"""Where settings come from, with their paths made usable, and how one source lies over another."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from lla.errors import ConfigurationError, SettingsFileError

__all__ = [
    "OWNERS",
    "Layers",
    "Source",
    "anchored",
    "find_recipe",
    "read_project",
    "read_recipe",
    "typed",
    "with_options",
]

# What the other keys of a section are about.
OWNERS = {"model": "factory", "data": "source", "loss": "name"}
# The keys that mean nothing for another network, data source or loss. How the network wants its
# inputs (mean, std, size) and how they are cut (batch_size) stays when the data is another.
_DESCRIBING = {
    "model": ("args",),
    "data": ("split", "target", "inputs", "args", "classes", "limit"),
    "loss": ("args",),
}
_DEFAULT_OWNERS = {"loss": "cross_entropy"}


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


@dataclass
class Layers:
    """Sources laid over each other, the weakest first.

    Later values win key by key. ``args`` (of model, data and loss) are merged key by key as well.
    Where a source names another factory, data source or loss, the weaker ones' keys that describe
    the former one are dropped.

    Attributes:
        values: Sections of keys, as they are now.
        origins: Where each value came from, by ``section.key``.
    """

    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)

    def add(self, section: str, keys: Mapping[str, Any], origin: str) -> None:
        """Lay a source's section over what there is.

        Raises:
            ConfigurationError: ``args`` is no table.
        """
        below = self.values.setdefault(section, {})
        if _is_another(section, below, keys):
            for key in _DESCRIBING[section]:
                below.pop(key, None)
                self.origins.pop(f"{section}.{key}", None)
        for key, value in keys.items():
            name, told = f"{section}.{key}", origin
            if key == "args" and section in OWNERS:
                former = below.get("args", {})
                if not isinstance(value, Mapping):
                    raise ConfigurationError(
                        f"{origin}: [{section}] args = {value!r} is not valid: it is no table",
                        "args is: keyword arguments, as { width = 16 }",
                    )
                if former.keys() - value.keys():
                    told = f"{self.origins[name]} + {origin}"
                value = {**former, **value}
            below[key] = value
            self.origins[name] = told


def _is_another(section: str, below: Mapping[str, Any], keys: Mapping[str, Any]) -> bool:
    """Whether a source names another factory, data source or loss than those below it."""
    owner = OWNERS.get(section, "")
    former = below.get(owner) or _DEFAULT_OWNERS.get(section)
    if owner not in keys or not former:
        return False
    # Two spellings of one path are one place.
    one, other = (os.path.abspath(str(name)) for name in (keys[owner], former))
    return one != other


def typed(text: str) -> Any:
    """A value as TOML reads it (a number, a list, a table …); what is no TOML is a text."""
    try:
        found = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return found if isinstance(found, (bool, int, float, str, list, dict)) else text


def with_options(text: str) -> tuple[str, dict[str, Any]]:
    """``source?key=value&key=value`` as a source and its options."""
    source, _, query = text.partition("?")
    return source, {key: typed(value) for key, value in parse_qsl(query, keep_blank_values=True)}


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
            if isinstance(found, dict):  # [tool.lla.audit] is a policy, and no settings
                found.pop("audit", None)
            return Source(f"[tool.lla] of {path}", anchored(found, parent)) if found else None
    return None


def _toml(path: Path, role: str) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise SettingsFileError(
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
    landscape = found.get("landscape")
    if isinstance(landscape, dict) and "metrics" in landscape:
        stated = landscape["metrics"]
        texts = stated.split(",") if isinstance(stated, str) else stated
        if isinstance(texts, list):  # anything else is told as a mistake later
            landscape["metrics"] = [
                _relative(text, folder) if ".py:" in str(text) else text for text in texts
            ]
    return _with_domains(found, folder)


def _with_domains(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The section [domains], of names and sources, where it belongs: ``align.domains``."""
    given = values.pop("domains", None)
    align = values.get("align")
    if given is not None:
        align = values.setdefault("align", {})
        if isinstance(align, dict):
            align.setdefault("domains", given)
    if isinstance(align, dict) and isinstance(align.get("domains"), Mapping):
        align["domains"] = {
            name: _relative(text, folder) if _names_file(text) else text
            for name, text in align["domains"].items()
        }
    return values


def _names_file(text: Any) -> bool:
    """Whether a source names a place: ``?split=test`` is another part of the same data."""
    return isinstance(text, str) and bool(text) and not text.startswith("?")


def _relative(text: str, folder: Path) -> str:
    """A file reference, perhaps behind a scheme, as seen from the current folder."""
    scheme, separator, rest = text.partition(":")
    if separator and scheme in _SCHEMES:
        is_file = ".py:" in rest if scheme == "factory" else (folder / rest).exists()
        return f"{scheme}:{os.path.relpath(folder / rest)}" if is_file else text
    return os.path.relpath(folder / text)
