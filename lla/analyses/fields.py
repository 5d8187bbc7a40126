"""How the fields of a result are declared, so that reports can be written and read without code.

A result is a frozen dataclass. Each of its fields is one of

- ``metric``: an :class:`~lla.estimate.Estimate` or a :class:`~lla.estimate.Label`;
- ``array``: a numpy array (or a tuple of strings) with named dimensions;
- ``group``: another such dataclass, or None where there is none;
- ``groups``: a mapping from names to such dataclasses;
- ``verdicts``: a tuple of :class:`~lla.estimate.Verdict`.

A dataclass drawn by default as a plot says so by a class variable ``plot = Plot(signal, axes)``.
A field that a released version did not have is declared as possibly None (a metric need not be):
reports of that version lack it, and stay readable.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from typing import Any, Literal, cast

__all__ = [
    "Entry",
    "Kind",
    "Plot",
    "array",
    "check",
    "entries",
    "group",
    "groups",
    "metric",
    "verdicts",
]

Kind = Literal["metric", "array", "group", "groups", "verdicts"]


@dataclass(frozen=True, slots=True)
class Plot:
    """The default plot of a group.

    Attributes:
        signal: The array that is drawn.
        axes: For each of its dimensions the array of coordinates along it, or "." for none.
        band: The arrays of the lower and the upper end of the signal's interval, if it has one.
            The report holds the half-width as well, as viewers look for it: ``<signal>_errors``.
    """

    signal: str
    axes: tuple[str, ...]
    band: tuple[str, str] | None = None


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
        units: Units of an array or a metric; "" where it has none.
        type: For groups, the dataclass of the content.
        annotation: The field's type as it is written.
    """

    attribute: str
    name: str
    kind: Kind
    about: str
    dims: tuple[str, ...] = ()
    units: str = ""
    type: Any = None
    annotation: str = ""

    @property
    def optional(self) -> bool:
        """Whether there need not be a value."""
        return "None" in self.annotation or "Optional" in self.annotation

    @property
    def text(self) -> bool:
        """Whether the values are words: a label, or an array of strings."""
        words = {"metric": "Label", "array": "str"}
        return self.kind in words and words[self.kind] in self.annotation


def metric(about: str, name: str = "", units: str = "") -> Any:
    """Declare a scalar with its uncertainty."""
    return _declare("metric", about, name, units=units)


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
    return Entry(attribute=item.name, name=name, annotation=str(item.type), **facts)


def check(type: Any) -> None:
    """Hold the declarations of a result against each other, and those of its groups.

    Raises:
        TypeError: A field is not declared, a dimension has the name of something else, or the plot
            is of arrays that there are not.
    """
    found = {entry.name: entry for entry in entries(type)}
    arrays = {name: entry for name, entry in found.items() if entry.kind == "array"}
    for entry in arrays.values():
        for dim in entry.dims:
            if dim in found and found[dim].dims != (dim,):
                raise TypeError(
                    f"{type.__name__}: the dimension '{dim}' of '{entry.name}' has the name of "
                    "a field that is not its axis"
                )
    plot: Plot | None = getattr(type, "plot", None)
    if plot is not None:
        drawn = [plot.signal, *(axis for axis in plot.axes if axis != "."), *(plot.band or ())]
        for name in drawn:
            if name not in arrays:
                raise TypeError(f"{type.__name__}: its plot draws '{name}', which is no array")
        if len(plot.axes) != len(arrays[plot.signal].dims):
            raise TypeError(f"{type.__name__}: its plot needs an axis for each dimension")
    for entry in found.values():
        if entry.type is not None:
            check(entry.type)
