"""What the options of a command line say, as sections of settings."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from lla.errors import ConfigurationError
from lla_cli.options import Setting

if TYPE_CHECKING:
    from lla.checkpoint import Trust
    from lla.settings import Settings

__all__ = ["gathered", "trust_of", "values_of"]


def gathered(
    settings: tuple[Setting, ...], values: Mapping[str, Any], only: Sequence[str] = ()
) -> Settings:
    """The settings of a command from its options and from everywhere below them.

    Raises:
        ConfigurationError: A file cannot be read, or a setting is invalid.
    """
    from lla.settings import gather

    flags = values_of(settings, values)
    if only:
        flags.setdefault("run", {})["only"] = list(only)
    recipe = Path(values["recipe"]) if values["recipe"] else None
    return gather(values["checkpoint"], recipe=recipe, flags=flags, environment=os.environ)


def trust_of(values: Mapping[str, Any]) -> Trust:
    """What the options allow to be run; no recipe and no variable can allow it."""
    from lla.checkpoint import Trust

    return Trust(tuple(values["allow_global"]), values["unsafe_load"])


def values_of(
    settings: tuple[Setting, ...], values: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """The settings that the given options state, by section and key.

    Raises:
        ConfigurationError: An option's text is not of its form.
    """
    sections: dict[str, dict[str, Any]] = {}
    for text in values.get("set_") or ():
        path, _, value = _pair(text, "--set")
        section, _, key = path.partition(".")
        sections.setdefault(section, {})[key] = _typed(value)
    for setting in settings:
        given = values.get(setting.name)
        if given is None or given == []:
            continue
        keys = sections.setdefault(setting.section, {})
        if setting.name == "model_arg":
            pairs = [_pair(text, "--model-arg") for text in given]
            keys["args"] = {name: _typed(item) for name, _, item in pairs}
        elif setting.name in ("data", "loss"):
            source, options = _with_options(given)
            keys[setting.key] = source
            keys.update({"args": options} if setting.name == "loss" and options else {})
            keys.update(options if setting.name == "data" else {})
        else:
            keys[setting.key] = given
    return sections


def _pair(text: str, flag: str) -> tuple[str, str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise ConfigurationError(
            f"{flag} {text} is not of the form K=V", f"write {flag} NAME=VALUE"
        )
    return name, separator, value


def _with_options(text: str) -> tuple[str, dict[str, Any]]:
    """``source?key=value&key=value`` as a source and its options."""
    source, _, query = text.partition("?")
    return source, {key: _typed(value) for key, value in parse_qsl(query, keep_blank_values=True)}


def _typed(text: str) -> Any:
    """A value as TOML reads it; anything that is no TOML is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
