"""How the fields of a result are declared, so that reports can be written and read without code.

A result is a frozen dataclass. Each of its fields is one of

- ``metric``: an :class:`~lla.estimate.Estimate` or a :class:`~lla.estimate.Label`;
- ``array``: a numpy array (or a tuple of strings) with named dimensions;
- ``group``: another such dataclass, or None where there is none;
- ``groups``: a mapping from names to such dataclasses;
- ``verdicts``: a tuple of :class:`~lla.estimate.Verdict`.

A dataclass drawn by default as a plot says so by a class variable ``plot = Plot(signal, axes)``.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from typing import Any, Literal, cast

__all__ = ["Entry", "Kind", "Plot", "array", "entries", "group", "groups", "metric", "verdicts"]

Kind = Literal["metric", "array", "group", "groups", "verdicts"]


@dataclass(frozen=True, slots=True)
class Plot:
    """The default plot of a group: the array drawn, and the arrays along its axes."""

    signal: str
    axes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """The declaration of one field of a result.

    Attributes:
        attribute: Name of the dataclass field.
        name: Name in the report.
        kind: What the field holds.
        about: One line on its meaning.
        dims: For an array, the names of its dimensions; one that is the name of another array
            of the same group is an axis with coordinates.
        units: For an array, its units.
        type: For groups, the dataclass of the content.
    """

    attribute: str
    name: str
    kind: Kind
    about: str
    dims: tuple[str, ...] = ()
    units: str = ""
    type: Any = None


def metric(about: str, name: str = "") -> Any:
    """Declare a scalar with its uncertainty."""
    return _declare("metric", about, name)


def array(about: str, dims: tuple[str, ...], units: str = "", name: str = "") -> Any:
    """Declare an array with its dimensions."""
    return _declare("array", about, name, dims=dims, units=units)


def group(about: str, type: Any, name: str = "") -> Any:
    """Declare a nested group; its value may be None."""
    return _declare("group", about, name, type=type)


def groups(about: str, type: Any, name: str = "") -> Any:
    """Declare a mapping of nested groups of one type."""
    return _declare("groups", about, name, type=type)


def verdicts(about: str) -> Any:
    """Declare the verdicts of an analysis."""
    return _declare("verdicts", about, "")


def _declare(kind: Kind, about: str, name: str, **more: Any) -> Any:
    return field(metadata={"kind": kind, "about": about, "name": name, **more})


def entries(result: Any) -> tuple[Entry, ...]:
    """The declared fields of a result dataclass (type or instance), in order."""
    return tuple(_entry(item) for item in fields(result))


def _entry(item: Field[Any]) -> Entry:
    if "kind" not in item.metadata:
        raise TypeError(
            f"the result field '{item.name}' is not declared: use metric, array, group, groups or "
            "verdicts of lla.analyses.fields"
        )
    facts = dict(item.metadata)
    name = cast(str, facts.pop("name")) or item.name
    return Entry(attribute=item.name, name=name, **facts)
