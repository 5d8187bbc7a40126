"""What the options of a command line say, as sections of settings."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lla.errors import ConfigurationError
from lla.sources import typed, with_options
from lla_cli.parameters import Setting

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
        section, dot, key = path.partition(".")
        if not dot:
            raise _without_section(path, value)
        sections.setdefault(section, {})[key] = typed(value)
    for setting in settings:
        given = values.get(setting.name)
        if given is None or given == []:
            continue
        keys = sections.setdefault(setting.section, {})
        if setting.name == "model_arg":
            pairs = [_pair(text, "--model-arg") for text in given]
            _add_args(keys, {name: typed(item) for name, _, item in pairs})
        elif setting.metavar == "NAME=VALUE":
            flag = f"--{setting.name}"
            keys[setting.key] = {name: item for name, _, item in (_pair(t, flag) for t in given)}
        elif setting.name in ("data", "loss"):
            source, options = with_options(given)
            keys[setting.key] = source
            if setting.name == "loss":
                _add_args(keys, options)
            else:
                keys.update(options)
        else:
            keys[setting.key] = given
    return sections


def _add_args(keys: dict[str, Any], args: dict[str, Any]) -> None:
    """Add arguments to those that ``--set SECTION.args={…}`` gives."""
    given = keys.get("args", {})
    # What is no table is told with all other mistakes, where the settings are merged.
    if args and isinstance(given, Mapping):
        keys["args"] = {**given, **args}


def _without_section(word: str, value: str) -> ConfigurationError:
    from lla.settings import meant

    found = meant(word)
    hint = f" (did you mean '{found}'?)" if found else ""
    name = found.partition(" or ")[0] or f"SECTION.{word}"
    return ConfigurationError(
        f"--set {word}={value} is not of the form SECTION.KEY=V{hint}",
        f"write --set {name}={value}",
    )


def _pair(text: str, flag: str) -> tuple[str, str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise ConfigurationError(
            f"{flag} {text} is not of the form K=V", f"write {flag} NAME=VALUE"
        )
    return name, separator, value
