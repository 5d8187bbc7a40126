"""Landscapes that github.com/tomgoldstein/loss-landscape computed, as reports.

A surface file holds ``xcoordinates``, ``ycoordinates`` (absent where it is a line), and for "train"
and "test" ``…_loss`` and ``…_acc`` (percent). The arrays are made with the shape (nx, ny), but
filled by the flat indices of ``numpy.meshgrid(x, y)``, whose shape is (ny, nx): read as they are
stored, a grid that is not square is scrambled. −1 marks what was not evaluated, in both.
A projection file holds ``proj_xcoord`` and ``proj_ycoord``, one place per checkpoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lla import __version__
from lla.analyses.landscape import (
    EVALUATED,
    NOT_EVALUATED,
    NOT_FINITE,
    Axes,
    LandscapeResult,
    Profiles,
    Surface,
    Trajectory,
)
from lla.analyses.landscape.topology import topology_of
from lla.errors import DataError
from lla.estimate import Estimate, Label
from lla.report.report import CheckpointFacts, Report, Stage
from lla.report.storage import about

__all__ = ["FORMAT", "read_surface"]

FORMAT = "loss-landscape surface"
_WHY = f"the landscape was imported from a {FORMAT}: its network is not known"
_SENTINEL = -1.0
_PERCENT = 100.0
_PLACES = ("proj_xcoord", "proj_ycoord")


@dataclass
class _Found:
    """What the files hold, by the names of their data sets."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    directions: str = ""


def read_surface(paths: Sequence[str | Path], command: Sequence[str] = ()) -> Report:
    """A report of a surface file, and of a projection file if there is one, in any order.

    Losses are taken bit for bit; accuracies are divided by 100. What only a network could tell is
    missing, with the reason.

    Args:
        paths: The files.
        command: The command line, for the report.

    Raises:
        DataError: A file cannot be read, or is of another kind.
    """
    found = _Found()
    facts: list[tuple[str, str]] = []
    surface = ""
    for path in map(str, paths):
        content = _bytes_of(path)
        facts.append((path, hashlib.sha256(content).hexdigest()))
        held = _read(path, found)
        surface = path if "xcoordinates" in held else surface
        if about(Path(path)) is not None:
            raise DataError(
                f"{path} is a report already", f"look at it: lla show {path}, lla plot {path}"
            )
        if not held & {"xcoordinates", *_PLACES}:
            raise DataError(
                f"{path} has neither xcoordinates nor proj_xcoord: it is no surface and no "
                "projection of loss-landscape",
                "its directions are read by: lla landscape MODEL --axes file:PATH",
            )
    if not surface:
        raise DataError(
            "a projection alone is no landscape",
            "give the surface file as well: SURFACE.h5 PROJ.h5",
        )
    return _report(_landscape(found, surface), surface, dict(facts), command)


def _bytes_of(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}", "name a file of loss-landscape"
        ) from None


def _read(path: str, found: _Found) -> set[str]:
    """Take a file's arrays; the names of what it holds."""
    try:
        with h5py.File(path, "r") as file:
            names = [
                name
                for name, item in file.items()
                if isinstance(item, h5py.Dataset) and item.dtype.kind in "fiu" and item.ndim
            ]
            found.arrays |= {name: np.asarray(file[name], dtype=np.float64) for name in names}
            origin = file.get("dir_file")
            if isinstance(origin, h5py.Dataset) and not origin.shape:
                value = origin[()]
                text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
                found.directions = Path(text).name
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as HDF5: {error}", "give a surface file of loss-landscape"
        ) from None
    return set(names)


def _landscape(found: _Found, path: str) -> LandscapeResult:
    x, y = found.arrays["xcoordinates"], found.arrays.get("ycoordinates")
    values = {
        name: _values(found.arrays, name, x, y, path)
        for name in ("train", "test")
        if f"{name}_loss" in found.arrays
    }
    if not values:
        raise DataError(
            f"{path} has neither train_loss nor test_loss",
            "compute it first: python plot_surface.py, of loss-landscape",
        )
    (loss, accuracy), *others = values.values()
    also_loss, also_accuracy = others[0] if others else (None, None)
    evaluated = ~_untouched(found.arrays, next(iter(values)), loss.shape)
    status = np.where(np.isfinite(loss), EVALUATED, NOT_FINITE)
    status = np.where(evaluated, status, NOT_EVALUATED).astype(np.uint8)
    nothing = np.full(loss.shape, np.nan)
    common: dict[str, Any] = {
        "loss": loss, "accuracy": accuracy, "quadratic": nothing,
        "also_loss": also_loss, "also_accuracy": also_accuracy,
        **_further(found.arrays, *values),
    }  # fmt: skip
    result = _bare(("x direction",) if y is None else ("x direction", "y direction"), found, status)
    if y is None:
        lined: dict[str, Any] = {
            key: value if value is None or key == "metrics" else np.expand_dims(value, -2)
            for key, value in common.items()
        }
        return replace(result, profiles=Profiles(names=("x direction",), distance=x[None], **lined))
    error = np.where(evaluated, 0.0, np.nan)
    surface = Surface(alpha=x, beta=y, status=status, error=error, **common)
    return replace(
        result,
        surface=surface,
        trajectory=_trajectory(found.arrays, path),
        topology=topology_of(x, y, loss, error),
    )


def _values(
    arrays: Mapping[str, np.ndarray], name: str, x: np.ndarray, y: np.ndarray | None, path: str
) -> tuple[np.ndarray, np.ndarray]:
    """Loss and accuracy, shape (nx, ny) or (nx,); NaN where they were not evaluated."""
    shape = _shape(x, y)
    parts = []
    for key in (f"{name}_loss", f"{name}_acc"):
        stored = arrays.get(key)
        if stored is not None and stored.size != np.prod(shape):
            raise DataError(
                f"{path}: {key} has {stored.size} values, and the grid {np.prod(shape)} points",
                "it was written in part or by another program; compute it anew",
            )
        parts.append(np.full(shape, np.nan) if stored is None else _in_order(stored, shape))
    missing = _untouched(arrays, name, shape)
    loss, accuracy = (np.where(missing, np.nan, part) for part in parts)
    return loss, accuracy / _PERCENT


def _further(arrays: Mapping[str, np.ndarray], main: str, other: str = "") -> dict[str, Any]:
    """What else is stored of every point, as ``train_top5``: fields of a surface."""
    shape = _shape(arrays["xcoordinates"], arrays.get("ycoordinates"))
    count = np.prod(shape)
    names = tuple(
        name.removeprefix(f"{main}_")
        for name, values in arrays.items()
        if name.startswith(f"{main}_") and values.size == count
        and name not in (f"{main}_loss", f"{main}_acc")
    )  # fmt: skip
    if not names:
        return {"metrics": None, "metric_values": None, "also_metric_values": None}
    nothing = np.full(shape, np.nan)
    rows = [
        [_in_order(arrays[key], shape) if (key := f"{data}_{name}") in arrays else nothing
         for name in names]
        for data in (main, other)
    ]  # fmt: skip
    return {
        "metrics": names,
        "metric_values": np.stack(rows[0]),
        "also_metric_values": np.stack(rows[1]) if other else None,
    }


def _shape(x: np.ndarray, y: np.ndarray | None) -> tuple[int, ...]:
    return (len(x),) if y is None else (len(x), len(y))


def _in_order(stored: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Values as (x, y), from the flat order of ``meshgrid(x, y)``: x runs fastest."""
    return stored.reshape(shape[::-1]).T if len(shape) == 2 else stored.reshape(shape)


def _untouched(arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Where the sentinel stands in loss and accuracy both: a loss alone may well be −1."""
    parts = [arrays[key] for key in (f"{name}_loss", f"{name}_acc") if key in arrays]
    found: np.ndarray = np.ones(shape, dtype=bool)
    for part in parts:
        found &= _in_order(part, shape) == _SENTINEL
    return found


def _trajectory(arrays: Mapping[str, np.ndarray], path: str) -> Trajectory | None:
    if not any(name in arrays for name in _PLACES):
        return None
    places = [arrays.get(name, np.zeros(0)).ravel() for name in _PLACES]
    if len(places[0]) != len(places[1]) or not len(places[0]):
        raise DataError(
            f"proj_xcoord has {len(places[0])} places and proj_ycoord {len(places[1])}",
            f"leave the projection out: lla import {path}",
        )
    nothing = np.full(len(places[0]), np.nan)
    return Trajectory(
        names=tuple(f"checkpoint {index + 1}" for index in range(len(nothing))),
        coordinates=np.stack(places, axis=1),
        loss=nothing,
        accuracy=nothing.copy(),
        plane_loss=nothing.copy(),
        distance=nothing.copy(),
        epoch=nothing.copy(),
    )


def _bare(names: tuple[str, ...], found: _Found, status: np.ndarray) -> LandscapeResult:
    """A result without arrays: what needs the network is missing."""
    in_loss = Estimate.missing(_WHY, units="loss")
    told = tuple(f"{name} of {found.directions}" if found.directions else name for name in names)
    nothing = np.full(len(names), np.nan)
    columns = {
        key: nothing.copy()
        for key in (
            "eigenvalues", "residuals", "norms", "slope", "curvature",
            "measured", "measured_low", "measured_high", "kinks", "kinks_error",
        )
    }  # fmt: skip
    count = int((status == NOT_FINITE).sum())
    return LandscapeResult(
        center_error=in_loss,
        curvature_alpha=in_loss,
        curvature_beta=in_loss,
        cosine=Estimate.missing(_WHY),
        quadratic_radius=Estimate.missing(_WHY, units="parameter norm"),
        non_finite=Estimate.exact(float(count), method="count of points"),
        evaluated=Estimate.exact(float((status != NOT_EVALUATED).mean()), method="count of points"),
        filling_error=Estimate.missing("no point was filled in", units="loss"),
        barrier=in_loss,
        curve_barrier=in_loss,
        checks=Label("not applicable", _WHY),
        axes=Axes(names=told, cosines=np.full((len(names),) * 2, np.nan), **columns),
        surface=None,
        profiles=None,
        trajectory=None,
        topology=None,
        path=None,
        band=None,
        panel={},
    )


def _report(
    result: LandscapeResult, surface: str, digests: dict[str, str], command: Sequence[str]
) -> Report:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Report(
        checkpoint=CheckpointFacts(surface, digests[surface], FORMAT, 0),
        results={"landscape": result},
        stages={"landscape": Stage("done", 0.0, finished=now)},
        plan={},
        provenance={
            "versions": {"lla": __version__},
            "command": list(command),
            "started": now,
            "finished": now,
            "device": "",
            "settings": {},
            "configuration": {},
            "origins": {},
            "data": {},
            "imported": {"from": FORMAT, "files": digests},
        },
    )
