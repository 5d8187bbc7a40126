"""Find a policy, read it, and say what is wrong with it: which gate, on which line."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from lla.audit.metrics import refuse_metric, refuse_verdict
from lla.audit.places import lines_of
from lla.audit.policy import BaselineLimits, Defaults, Gate, Override, Policy, Waiver
from lla.comparing import NAMES
from lla.errors import ConfigurationError, NothingToDoError, SettingsFileError, nearest
from lla.validation import first_mistake

__all__ = ["POLICY", "find_policy", "parse_policy", "read_policy"]

POLICY = "lla-policy.toml"
_PROJECT, _SECTION = "pyproject.toml", "tool.lla.audit"
_TOP = ("schema", "defaults", "gate", "waiver", "override")
_INHERITED = ("confidence", "on_inconclusive", "severity", "include_sampling")
_OF_OVERRIDE = ("gate", "checkpoint")


def find_policy(folder: Path) -> Path:
    """The policy of a folder: ``lla-policy.toml`` there, or the nearest project file that has one.

    Raises:
        ConfigurationError: There is none.
    """
    if (folder / POLICY).is_file():
        return folder / POLICY
    for parent in (folder, *folder.parents):
        path = parent / _PROJECT
        if path.is_file():
            if _section_of(tomllib.loads(_text(path))) is not None:
                return path
            break
    raise ConfigurationError(
        f"there is no policy: neither {POLICY} here nor [{_SECTION}] in {_PROJECT}",
        "write one from a report: lla audit --init REPORT.lla.h5",
    )


def read_policy(path: str | Path | None = None) -> Policy:
    """Read a policy.

    Args:
        path: Its file; a ``pyproject.toml`` has it in ``[tool.lla.audit]``. None: look for it.

    Raises:
        SettingsFileError: The file cannot be read.
        ConfigurationError: It is not valid; the message names gate and line.
        NothingToDoError: It has no gates.
    """
    place = find_policy(Path()) if path is None else Path(path)
    return parse_policy(_text(place), str(place), project=place.name == _PROJECT)


def parse_policy(text: str, path: str = POLICY, *, project: bool = False) -> Policy:
    """A policy from its text.

    Args:
        text: TOML.
        path: Its file, for messages.
        project: Whether it is a project file, with the policy in ``[tool.lla.audit]``.

    Raises:
        ConfigurationError: It is not valid.
        NothingToDoError: It has no gates.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            f"the policy {path} is not valid TOML: {error}", "correct it at that place"
        ) from None
    section = ""
    if project:
        section, found = _SECTION, _section_of(values)
        if found is None:
            raise ConfigurationError(
                f"{path} has no [{_SECTION}]", f"write it there, or a file of its own: {POLICY}"
            )
        values = found
    return _Reading(text, path, section).policy(values)


def _section_of(values: Mapping[str, Any]) -> dict[str, Any] | None:
    found: Any = values
    for part in _SECTION.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return dict(found) if isinstance(found, Mapping) else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsFileError(
            f"the policy {path} cannot be read: {error.strerror}",
            "name another one, or write one: lla audit --init REPORT.lla.h5",
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"the policy {path} is no UTF-8: {error}", "save it as UTF-8"
        ) from None


class _Reading:
    """One policy as it is read."""

    def __init__(self, text: str, path: str, section: str) -> None:
        self._text, self._path, self._section = text, path, section

    def policy(self, values: dict[str, Any]) -> Policy:
        self._refuse_unknown(values, _TOP, 0, "")
        schema = values.get("schema", 1)
        if schema != 1:
            raise ConfigurationError(
                f"{self._path} has schema {schema}, and this lla knows schema 1", "upgrade lla"
            )
        stated = values.get("defaults", {})
        if not isinstance(stated, Mapping):
            raise self._mistake(0, "", "defaults is no table", "write [defaults]")
        self._refuse_unknown(stated, Defaults.model_fields, 0, "[defaults]")
        defaults = self._made(Defaults, dict(stated), 0, "[defaults]")
        inherited = {key: getattr(defaults, key) for key in _INHERITED}
        raw: dict[str, dict[str, Any]] = {}
        gates = []
        for line, table in self._tables(values, "gate"):
            gates.append(self._gate({**inherited, **table}, table, line))
            if gates[-1].id in raw:
                raise self._mistake(
                    line, f"gate '{gates[-1].id}'", "there is another of this id", "rename it"
                )
            raw[gates[-1].id] = {**inherited, **table}
        if not gates:
            raise NothingToDoError(
                f"the policy {self._path} has no gates", "add [[gate]] tables: see docs/audit.md"
            )
        return Policy(
            self._path,
            tuple(gates),
            tuple(self._waiver(*found, raw) for found in self._tables(values, "waiver")),
            tuple(self._override(*found, raw) for found in self._tables(values, "override")),
            defaults,
            self._section,
        )

    def _tables(self, values: Mapping[str, Any], name: str) -> Iterable[tuple[int, dict[str, Any]]]:
        """Each table of an array with the line its header is on; 1 where it has none."""
        tables = values.get(name, [])
        if not isinstance(tables, list) or not all(isinstance(one, Mapping) for one in tables):
            raise self._mistake(0, "", f"{name} is no array of tables", f"write [[{name}]]")
        prefix = f"{self._section}." if self._section else ""
        lines = lines_of(self._text, f"{prefix}{name}")
        if len(lines) != len(tables):
            lines = [1] * len(tables)
        return list(zip(lines, map(dict, tables), strict=True))

    def _gate(self, values: dict[str, Any], told: Mapping[str, Any], line: int) -> Gate:
        where = f"gate '{told['id']}'" if told.get("id") else "a gate"
        known = [key for key in Gate.model_fields if key not in ("line", "skip")]
        self._refuse_unknown(told, known, line, where)
        return self._checked(values, line, where)

    def _checked(self, values: dict[str, Any], line: int, where: str) -> Gate:
        """A gate that can be evaluated: of a metric or verdict that there is."""
        limits = values.get("baseline")
        if isinstance(limits, Mapping):
            place = f"{where}, baseline"
            self._refuse_unknown(limits, BaselineLimits.model_fields, line, place)
            for name in limits.get("across", ()):
                if name not in NAMES:
                    hint = nearest(str(name), NAMES)
                    self._refuse(line, place, f"across = '{name}' is nothing known{hint}", NAMES)
        gate: Gate = self._made(Gate, {**values, "line": line}, line, where)
        try:
            refuse_metric(gate) if gate.metric else refuse_verdict(gate)
        except ConfigurationError as error:
            raise self._mistake(line, where, error.reason, error.remedy) from None
        return gate

    def _waiver(self, line: int, table: dict[str, Any], gates: Mapping[str, Any]) -> Waiver:
        where = f"waiver of '{table['gate']}'" if table.get("gate") else "a waiver"
        known = [key for key in Waiver.model_fields if key != "line"]
        self._refuse_unknown(table, known, line, where)
        waiver: Waiver = self._made(Waiver, {**table, "line": line}, line, where)
        self._refuse_gate(waiver.gate, gates, line, where)
        return waiver

    def _override(
        self, line: int, table: dict[str, Any], gates: Mapping[str, dict[str, Any]]
    ) -> Override:
        where = f"override of '{table['gate']}'" if table.get("gate") else "an override"
        known = [*_OF_OVERRIDE, *(key for key in Gate.model_fields if key not in ("id", "line"))]
        self._refuse_unknown(table, known, line, where)
        for key in _OF_OVERRIDE:
            if not isinstance(table.get(key), str):
                raise self._mistake(line, where, f"{key} is missing", f'write {key} = "…"')
        self._refuse_gate(table["gate"], gates, line, where)
        former = gates[table["gate"]]
        changed = {key: value for key, value in table.items() if key not in _OF_OVERRIDE}
        gate = self._checked({**former, **changed}, line, where)
        return Override(table["gate"], table["checkpoint"], gate, line)

    def _refuse_gate(self, id: str, gates: Mapping[str, Any], line: int, where: str) -> None:
        if id not in gates:
            self._refuse(line, where, f"there is no gate '{id}'{nearest(id, gates)}", gates)

    def _refuse_unknown(
        self, values: Mapping[str, Any], known: Iterable[str], line: int, where: str
    ) -> None:
        names = list(known)
        for key in values:
            if key not in names:
                self._refuse(line, where, f"unknown key '{key}'{nearest(key, names)}", names)

    def _refuse(self, line: int, where: str, what: str, known: Iterable[str]) -> None:
        raise self._mistake(line, where, what, f"choose among: {', '.join(known)}")

    def _made(self, type: type[BaseModel], values: dict[str, Any], line: int, where: str) -> Any:
        try:
            return type(**values)
        except ValidationError as error:
            found = first_mistake(error)
            if not found.key:
                raise self._mistake(line, where, found.why, "see docs/audit.md") from None
            about = f"{found.key} is: {type.model_fields[found.key].description}"
            if found.key not in values:
                raise self._mistake(line, where, f"{found.key} is missing", about) from None
            what = f"{found.key} = {_written(values[found.key])} is not valid: {found.why}"
            raise self._mistake(line, where, what, about) from None

    def _mistake(self, line: int, where: str, what: str, remedy: str) -> ConfigurationError:
        place = f"{self._path}, line {line}" if line else self._path
        return ConfigurationError(f"{place}: {where}{': ' if where else ''}{what}", remedy)


def _written(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {_written(item)}' for key, item in value.items())} }}"
    return f'"{value}"' if isinstance(value, str) else str(value)
