"""Tables that follow from the declarations of a result, whatever the analysis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from lla.analyses.fields import Entry, entries
from lla.estimate import Estimate, Label, Verdict
from lla.numbers import confidence, interval, metric, number, outcome
from lla_plots.parts import Cell, Table
from lla_plots.phrases import capital

__all__ = ["arrays", "metrics", "number_cell", "verdicts"]

_MOST_ROWS = 24
_MOST_COLUMNS = 8


def metrics(result: Any, group: str) -> Table:
    """All scalars of a result, with their intervals."""
    rows = tuple(
        _metric_row(f"{group}/{entry.name}", entry.about, getattr(result, entry.attribute))
        for entry in entries(result)
        if entry.kind == "metric"
    )
    return Table(("quantity", "value", "how sure", "how obtained"), rows, "All numbers")


def _metric_row(path: str, about: str, value: Estimate | Label) -> tuple[Cell, ...]:
    name = Cell(capital(about), "about", code=path)
    if isinstance(value, Label):
        return name, Cell(metric(value)), Cell(""), Cell("")
    kind = "number" if value.exists else "missing"
    return name, Cell(interval(value), kind), _sure(value), Cell(value.method, "about")


def _sure(value: Estimate) -> Cell:
    return Cell(confidence(value), "" if value.converged or not value.exists else "warn")


def verdicts(found: tuple[Verdict, ...], names: tuple[str, ...] = ()) -> Table:
    """Verdicts in words and colour, each with its reason.

    Args:
        found: The verdicts.
        names: What each is about, in words; by default only its identifier.
    """
    rows = tuple(
        (
            Cell(name, "", code=verdict.id),
            Cell(outcome(verdict.verdict), f"verdict {verdict.verdict}"),
            Cell(verdict.why, "about"),
        )
        for verdict, name in zip(
            found, names if len(names) == len(found) else [""] * len(found), strict=True
        )
    )
    return Table(("condition", "verdict", "why"), rows, "Verdicts")


def arrays(result: Any) -> tuple[Table, ...]:
    """The arrays of a result: small ones in full, together where they share their dimensions."""
    declared = list(_declared(result))
    large = [
        (Cell(one.path, "code"), Cell(one.entry.about), Cell(_shape(v)), Cell(_range(v)))
        for one in declared
        if not _fits(v := one.values)
    ]
    found = [*_small([one for one in declared if _fits(one.values)])]
    if large:
        head = ("array in the report", "what it is", "shape", "range")
        found.append(Table(head, tuple(large), "Larger arrays"))
    return tuple(found)


class _Declared(NamedTuple):
    """An array of a result, where it is, and what the group around it is about ("" for none)."""

    path: str
    within: str
    entry: Entry
    values: np.ndarray


def _declared(result: Any, prefix: str = "", within: str = "") -> Iterator[_Declared]:
    """Every array of a result and its groups."""
    for entry in entries(result):
        value, path = getattr(result, entry.attribute), f"{prefix}{entry.name}"
        if value is None:
            continue
        if entry.kind == "array":
            yield _Declared(path, within, entry, np.asarray(value))
        elif entry.kind == "group":
            yield from _declared(value, f"{path}/", entry.about)
        elif entry.kind == "groups":
            for name, part in value.items():
                yield from _declared(part, f"{path}/{name}/", f"{entry.about}: {name}")


def _small(declared: Iterable[_Declared]) -> Iterator[Table]:
    """A table for each group of small arrays along the same first dimension."""
    together: dict[tuple[str, str, int], list[_Declared]] = {}
    for one in declared:
        place = one.path.rpartition("/")[0]
        together.setdefault((place, one.entry.dims[0], len(one.values)), []).append(one)
    for (_, dimension, length), members in together.items():
        # The array that names the rows comes first, as the row's head.
        members.sort(key=lambda one: one.entry.name != dimension)
        head, cells = [], []
        for _, _, entry, values in members:
            units = f" ({entry.units})" if entry.units else ""
            for column in range(1 if values.ndim == 1 else values.shape[1]):
                at = f" [{column}]" if values.ndim > 1 else ""
                head.append(f"{entry.about}{at}{units}")
                cells.append(values if values.ndim == 1 else values[:, column])
        rows = tuple(tuple(_value_cell(column[row]) for column in cells) for row in range(length))
        yield Table(tuple(head), rows, capital(members[0].within or dimension))


def _fits(values: np.ndarray) -> bool:
    if values.ndim == 1:
        return 0 < len(values) <= _MOST_ROWS
    return values.ndim == 2 and len(values) <= _MOST_ROWS and 0 < values.shape[1] <= _MOST_COLUMNS


def _value_cell(value: Any) -> Cell:
    if isinstance(value, (str, np.str_)):
        return Cell(str(value), "code")
    if isinstance(value, (bool, np.bool_)):
        return Cell("yes" if value else "no")
    return number_cell(float(value))


def number_cell(value: float) -> Cell:
    """A number, set as one; a dash where there is none."""
    return Cell(number(value), "missing" if math.isnan(value) else "number")


def _shape(values: np.ndarray) -> str:
    return " × ".join(map(number, values.shape))


def _range(values: np.ndarray) -> str:
    if values.dtype.kind not in "biuf" or not np.isfinite(values.astype(float)).any():
        return "—"
    finite = values.astype(float)[np.isfinite(values.astype(float))]
    return f"{number(finite.min())} to {number(finite.max())}"
