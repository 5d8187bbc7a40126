"""A landscape for other tools: loss-landscape's HDF5, ParaView's XML, plain CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from lla.errors import ConfigurationError, NothingToDoError, nearest
from lla.files import replacing

if TYPE_CHECKING:
    import numpy as np

    from lla.analyses.landscape import LandscapeResult, Surface
    from lla.report.report import Report

__all__ = ["FORMATS", "export"]


def export(report: Report, format: str, folder: Path, stem: str) -> list[Path]:
    """Write a report's landscape in the format of another tool.

    Args:
        report: Has a landscape over a plane.
        format: One of ``FORMATS``.
        folder: Where to; made if it is not there.
        stem: Beginning of the files' names.

    Returns:
        The files.

    Raises:
        ConfigurationError: There is no such format.
        NothingToDoError: The report has no landscape over a plane.
    """
    if format not in FORMATS:
        raise ConfigurationError(
            f"there is no format '{format}'{nearest(format, FORMATS)}",
            f"the formats are: {', '.join(FORMATS)}",
        )
    result: LandscapeResult | None = report.results.get("landscape")
    if result is None or result.surface is None:
        raise NothingToDoError(
            "the report has no landscape over a plane to export", "make one: lla landscape MODEL"
        )
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for suffix, write in FORMATS[format]:
        if suffix == ".vtp" and result.trajectory is None:
            continue
        path = folder / f"{stem}{suffix}"
        with replacing(path) as temporary:
            write(result, temporary)
        written.append(path)
    return written


def _loss_landscape(result: LandscapeResult, path: Path) -> None:
    """The layout of github.com/tomgoldstein/loss-landscape: x along the second axis of a surface.

    Accuracies are in percent there. It marks what is not evaluated by −1, and has none here.
    """
    import h5py

    surface = _surface(result)
    with h5py.File(path, "w") as file:
        file["xcoordinates"], file["ycoordinates"] = surface.alpha, surface.beta
        for name, loss, accuracy in (
            ("train", surface.loss, surface.accuracy),
            ("test", surface.also_loss, surface.also_accuracy),
        ):
            if loss is not None and accuracy is not None:
                # Its plots take Z[row, column] at (x[column], y[row]), as numpy.meshgrid gives.
                file[f"{name}_loss"], file[f"{name}_acc"] = loss.T, 100 * accuracy.T
        for name, further in (
            ("train", surface.metric_values), ("test", surface.also_metric_values)
        ):  # fmt: skip
            for metric, values in _further(surface, further):
                file[f"{name}_{metric}"] = values.T
        if result.trajectory is not None:
            places = result.trajectory.coordinates
            file["proj_xcoord"], file["proj_ycoord"] = places[:, 0], places[:, 1]


def _csv(result: LandscapeResult, path: Path) -> None:
    """A row for each point: alpha, beta, loss, accuracy, status (1, 2 or 3), error, metrics."""
    surface = _surface(result)
    further = _further(surface, surface.metric_values)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        named = [name for name, _ in further]
        writer.writerow(["alpha", "beta", "loss", "accuracy", "status", "error", *named])
        for row, alpha in enumerate(surface.alpha):
            for column, beta in enumerate(surface.beta):
                place = row, column
                more = (part for _, part in further)
                values = (surface.loss, surface.accuracy, surface.status, surface.error, *more)
                writer.writerow([alpha, beta, *(part[place] for part in values)])


def _vts(result: LandscapeResult, path: Path) -> None:
    """A structured grid at (α, β, loss) with losses and accuracies on its points."""
    surface = _surface(result)
    n, m = surface.loss.shape
    extent = f"0 {n - 1} 0 {m - 1} 0 0"
    root = _file("StructuredGrid")
    grid = ElementTree.SubElement(root, "StructuredGrid", WholeExtent=extent)
    piece = ElementTree.SubElement(grid, "Piece", Extent=extent)
    data = ElementTree.SubElement(piece, "PointData", Scalars="loss")
    fields = {
        "loss": surface.loss,
        "accuracy": surface.accuracy,
        "quadratic": surface.quadratic,
        "error": surface.error,
        "also_loss": surface.also_loss,
        **dict(_further(surface, surface.metric_values)),
    }
    for name, values in fields.items():
        if values is not None:
            # VTK counts the first axis fastest.
            _array(data, name, values.T.reshape(-1))
    _array(ElementTree.SubElement(piece, "Points"), "points", _points(surface), 3)
    _save(root, path)


def _vtp(result: LandscapeResult, path: Path) -> None:
    """The other checkpoints as a line through their projections."""
    trajectory = result.trajectory
    assert trajectory is not None
    import numpy as np

    count = len(trajectory.names)
    root = _file("PolyData")
    piece = ElementTree.SubElement(
        ElementTree.SubElement(root, "PolyData"),
        "Piece",
        NumberOfPoints=str(count), NumberOfVerts="0", NumberOfLines="1",
        NumberOfStrips="0", NumberOfPolys="0",
    )  # fmt: skip
    data = ElementTree.SubElement(piece, "PointData", Scalars="loss")
    _array(data, "loss", trajectory.loss)
    _array(data, "distance", trajectory.distance)
    places = np.column_stack([trajectory.coordinates, trajectory.plane_loss])
    _array(ElementTree.SubElement(piece, "Points"), "points", places.reshape(-1), 3)
    lines = ElementTree.SubElement(piece, "Lines")
    _array(lines, "connectivity", np.arange(count), kind="Int64")
    _array(lines, "offsets", np.array([count]), kind="Int64")
    _save(root, path)


def _surface(result: LandscapeResult) -> Surface:
    assert result.surface is not None
    return result.surface


def _further(surface: Surface, values: np.ndarray | None) -> list[tuple[str, np.ndarray]]:
    """Further metrics by name, each of shape (α, β)."""
    if surface.metrics is None or values is None:
        return []
    return list(zip(surface.metrics, values, strict=True))


def _points(surface: Surface) -> np.ndarray:
    import numpy as np

    alpha, beta = np.meshgrid(surface.alpha, surface.beta, indexing="ij")
    places = np.stack([alpha.T, beta.T, np.nan_to_num(surface.loss.T, posinf=0, neginf=0)], -1)
    flat: np.ndarray = places.reshape(-1)
    return flat


def _file(kind: str) -> ElementTree.Element:
    return ElementTree.Element(
        "VTKFile", type=kind, version="1.0", byte_order="LittleEndian", header_type="UInt64"
    )


def _array(
    parent: ElementTree.Element,
    name: str,
    values: np.ndarray,
    components: int = 1,
    kind: str = "Float64",
) -> None:
    element = ElementTree.SubElement(
        parent, "DataArray", type=kind, Name=name, NumberOfComponents=str(components),
        format="ascii",
    )  # fmt: skip
    element.text = " ".join(_number(value) for value in values.tolist())


def _number(value: float) -> str:
    return repr(value) if value == value else "nan"


def _save(root: ElementTree.Element, path: Path) -> None:
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


_Writer = tuple[str, Callable[["LandscapeResult", Path], None]]
FORMATS: dict[str, tuple[_Writer, ...]] = {
    "loss-landscape": ((".surface.h5", _loss_landscape),),
    "vtk": ((".vts", _vts), (".vtp", _vtp)),
    "csv": ((".csv", _csv),),
}
