"""Exported landscapes, read by what they are for: XML, VTK's own reader where it is installed."""

import csv
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import h5py
import numpy as np
import pytest
from lla_cli.main import app
from typer.testing import CliRunner

from lla.analyses.landscape import Trajectory
from lla.errors import ConfigurationError, NothingToDoError
from lla.report import Report, write
from lla.report.landscape_files import export
from tests.plots import build


@pytest.fixture(scope="module")
def report() -> Report:
    """A landscape of more rows than columns, with a trajectory."""
    made = build.report()
    result = made.results["landscape"]
    trajectory = Trajectory(
        names=("a.pt", "b.pt"),
        coordinates=np.array([[0.1, 0.2], [-0.3, 0.05]]),
        loss=np.array([0.5, 0.7]),
        accuracy=np.array([0.9, 0.8]),
        plane_loss=np.array([0.6, 0.9]),
        distance=np.array([0.0, 2.0]),
        epoch=None,
    )
    results = {**made.results, "landscape": replace(result, trajectory=trajectory)}
    return replace(made, results=results)


def test_vtk_files_hold_every_point_once(report: Report, tmp_path: Path) -> None:
    grid, line = export(report, "vtk", tmp_path, "model")
    surface = report.results["landscape"].surface
    n, m = surface.loss.shape
    assert n != m
    root = ElementTree.parse(grid).getroot()
    assert root.attrib["type"] == "StructuredGrid"
    piece = root.find("StructuredGrid/Piece")
    assert piece is not None
    assert piece.attrib["Extent"] == f"0 {n - 1} 0 {m - 1} 0 0"
    arrays = {part.attrib["Name"]: part for part in root.iter("DataArray")}
    points = np.fromstring(arrays["points"].text, sep=" ").reshape(-1, 3)
    loss = np.fromstring(arrays["loss"].text, sep=" ")
    for (x, y, z), value in zip(points, loss, strict=True):
        row, column = np.abs(surface.alpha - x).argmin(), np.abs(surface.beta - y).argmin()
        assert surface.loss[row, column] == value == z
    # The first axis runs fastest.
    assert points[0][1] == points[1][1]
    assert points[0][0] != points[1][0]
    lines = ElementTree.parse(line).getroot()
    assert [part.text for part in lines.find("PolyData/Piece/Lines")] == ["0 1", "2"]


def test_vtks_own_reader_agrees(report: Report, tmp_path: Path) -> None:
    vtk = pytest.importorskip("vtk", reason="VTK is not installed: pip install vtk")
    grid, line = export(report, "vtk", tmp_path, "model")
    surface = report.results["landscape"].surface
    reader = vtk.vtkXMLStructuredGridReader()
    reader.SetFileName(str(grid))
    reader.Update()
    found = reader.GetOutput()
    dimensions = [0, 0, 0]
    found.GetDimensions(dimensions)
    assert dimensions == [*surface.loss.shape, 1]
    values = found.GetPointData().GetArray("loss")
    for index in range(found.GetNumberOfPoints()):
        x, y, _ = found.GetPoint(index)
        row, column = np.abs(surface.alpha - x).argmin(), np.abs(surface.beta - y).argmin()
        assert values.GetValue(index) == surface.loss[row, column]
    reader = vtk.vtkXMLPolyDataReader()
    reader.SetFileName(str(line))
    reader.Update()
    assert reader.GetOutput().GetNumberOfLines() == 1
    assert reader.GetOutput().GetNumberOfPoints() == 2


def test_loss_landscape_takes_x_along_the_second_axis(report: Report, tmp_path: Path) -> None:
    (path,) = export(report, "loss-landscape", tmp_path, "model")
    surface = report.results["landscape"].surface
    with h5py.File(path) as file:
        x, y = np.meshgrid(file["xcoordinates"], file["ycoordinates"])  # as its plots do
        assert file["train_loss"].shape == x.shape
        row, column = np.argwhere((x == surface.alpha[3]) & (y == surface.beta[1]))[0]
        assert file["train_loss"][row, column] == surface.loss[3, 1]
        assert file["train_acc"][row, column] == pytest.approx(100 * surface.accuracy[3, 1])
        assert file["proj_ycoord"][1] == 0.05


def test_csv_has_a_row_for_each_point(report: Report, tmp_path: Path) -> None:
    (path,) = export(report, "csv", tmp_path, "model")
    surface = report.results["landscape"].surface
    with path.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == surface.loss.size
    assert float(rows[1]["loss"]) == surface.loss[0, 1]
    assert float(rows[1]["beta"]) == surface.beta[1]


@pytest.mark.parametrize(
    ("output", "more", "files"),
    [
        ("way.csv", [], ["way.csv"]),
        ("a/b.vts", [], ["a/b.vts", "a/b.vtp"]),
        ("c.surface.h5", ["--format=loss-landscape"], ["c.surface.h5"]),
        ("v1.2/", ["--format=csv"], ["v1.2/model.csv"]),
        ("old.d", ["--format=csv"], ["old.d/model.csv"]),
        ("plain", [], ["plain/model.vts", "plain/model.vtp"]),
    ],
)
def test_where_an_export_goes(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    output: str, more: list[str], files: list[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    write(report, "model.lla.h5")
    Path("old.d").mkdir()
    done = CliRunner().invoke(app, ["export", "model.lla.h5", "-o", output, *more])
    assert done.stdout.split() == files, done.stderr
    if output == "plain":  # a report of another ending gives its name likewise
        Path("model.lla.h5").rename("net.h5")
        done = CliRunner().invoke(app, ["export", "net.h5", "-o", "more", "--format=csv"])
        assert done.stdout.split() == ["more/net.csv"]
        return
    made = {str(path) for path in Path().rglob("*") if path.is_file()}
    assert made == {"model.lla.h5", *files}


@pytest.mark.parametrize(
    ("output", "more", "words"),
    [
        ("x.vtx", [], ["no format's files end in .vtx", ".vts", ".gif", "-o x.vtx/"]),
        ("x.csv", ["--format=vtk"], ["is a file of the format csv", "--format says vtk"]),
    ],
)
def test_a_file_that_no_format_ends_so_is_told(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    output: str, more: list[str], words: list[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    write(report, "model.lla.h5")
    done = CliRunner().invoke(app, ["export", "model.lla.h5", "-o", output, *more])
    assert done.exit_code == 2
    for part in words:
        assert part in done.stderr
    assert not Path(output).exists()


def test_what_cannot_be_exported_is_told(report: Report, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'vtk'"):
        export(report, "vtp", tmp_path, "model")
    with pytest.raises(NothingToDoError, match="no landscape"):
        export(replace(report, results={}), "vtk", tmp_path, "model")
