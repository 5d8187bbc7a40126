"""Surface files of loss-landscape, written here the way that it writes them."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from lla_cli.main import app
from typer.testing import CliRunner

from lla.analyses.landscape import EVALUATED, NOT_EVALUATED, NOT_FINITE, LandscapeResult
from lla.errors import DataError
from lla.report import Report, read, write
from lla.report.landscape_files import export
from lla.report.landscape_import import read_surface
from tests.plots import build

X, Y = np.linspace(-1, 1, 5), np.linspace(-0.5, 2, 3)


def bowl(x: float, y: float) -> float:
    return 0.3 + x**2 + 2 * y**2 + 0.7 * x


def written_by_their_loop(path: Path, *, skipped: tuple[int, ...] = (), broken: int = -1) -> Path:
    """Arrays of shape (nx, ny), filled through the flat indices of a mesh of shape (ny, nx)."""
    losses, accuracies = -np.ones((len(X), len(Y))), -np.ones((len(X), len(Y)))
    across, along = np.meshgrid(X, Y)
    for index in range(losses.size):
        if index in skipped:
            continue
        x, y = across.ravel()[index], along.ravel()[index]
        losses.ravel()[index] = np.nan if index == broken else bowl(x, y)
        accuracies.ravel()[index] = 10 * (x + y)
    with h5py.File(path, "w") as file:
        file["dir_file"] = "runs/net_weights_filternorm.h5"
        file["xcoordinates"], file["ycoordinates"] = X, Y
        file["train_loss"], file["train_acc"] = losses, accuracies
    return path


def landscape_of(report: Report) -> LandscapeResult:
    found: LandscapeResult = report.results["landscape"]
    return found


def test_every_point_is_where_its_loss_was_computed(tmp_path: Path) -> None:
    result = landscape_of(read_surface([written_by_their_loop(tmp_path / "s.h5")]))
    surface = result.surface
    assert surface.loss.shape == (5, 3)
    for i, x in enumerate(X):
        for j, y in enumerate(Y):
            assert surface.loss[i, j] == bowl(x, y)
            assert surface.accuracy[i, j] == pytest.approx((x + y) / 10)
    assert (surface.status == EVALUATED).all()
    assert result.axes.names == tuple(
        f"{name} direction of net_weights_filternorm.h5" for name in "xy"
    )
    assert result.checks.value == "not applicable"
    assert "imported" in result.checks.why
    assert not result.center_error.exists
    assert "imported" in result.center_error.why


def test_the_sentinel_is_told_from_a_loss_and_from_what_broke(tmp_path: Path) -> None:
    path = written_by_their_loop(tmp_path / "s.h5", skipped=(1, 14), broken=7)
    with h5py.File(path, "a") as file:
        flat = file["train_loss"][...]
        flat.ravel()[3] = -1.0  # a loss of −1 whose accuracy was stored
        file["train_loss"][...] = flat
    surface = landscape_of(read_surface([path])).surface
    status = surface.status.T.ravel()  # x runs fastest
    assert status[[1, 14]].tolist() == [NOT_EVALUATED] * 2
    assert status[7] == NOT_FINITE
    assert (np.delete(status, [1, 7, 14]) == EVALUATED).all()
    assert surface.loss.T.ravel()[3] == -1.0
    assert np.isnan(surface.loss.T.ravel()[[1, 7, 14]]).all()
    assert np.isnan(surface.accuracy.T.ravel()[[1, 14]]).all()


@pytest.fixture
def exported(tmp_path: Path) -> tuple[Report, Path]:
    """A report of a grid that is not square with test data and a trajectory, and its export."""
    from dataclasses import replace

    result = build.landscape(hole=True, trajectory=build.trajectory())
    random = np.random.default_rng(0)
    shape = result.surface.loss.shape
    surface = replace(
        result.surface,
        accuracy=random.random(shape),
        also_loss=random.random(shape),
        also_accuracy=random.random(shape),
        metrics=("top5", "margin"),
        metric_values=random.random((2, *shape)),
        also_metric_values=random.random((2, *shape)),
    )
    report = build.report(landscape=replace(result, surface=surface))
    (path,) = export(report, "loss-landscape", tmp_path, "net")
    return report, path


def test_what_is_exported_comes_back(exported: tuple[Report, Path], tmp_path: Path) -> None:
    report, path = exported
    before = landscape_of(report)
    written = write(read_surface([path]), tmp_path / "back.lla.h5")
    after = landscape_of(read(written.path))
    assert set(after.surface.metrics) == {"top5", "margin"}
    order = [after.surface.metrics.index(name) for name in before.surface.metrics]
    for name in ("metric_values", "also_metric_values"):
        one, other = getattr(before.surface, name), getattr(after.surface, name)
        np.testing.assert_array_equal(one, other[order], err_msg=name)
    for name in ("alpha", "beta", "loss", "also_loss", "status"):
        one, other = getattr(before.surface, name), getattr(after.surface, name)
        assert one.shape == other.shape
        np.testing.assert_array_equal(one, other, err_msg=name)
    for name in ("accuracy", "also_accuracy"):  # times 100, over 100: the last bit may be another
        np.testing.assert_array_max_ulp(
            getattr(before.surface, name), getattr(after.surface, name), maxulp=1
        )
    np.testing.assert_array_equal(before.trajectory.coordinates, after.trajectory.coordinates)
    again = tmp_path / "again"
    (second,) = export(read(written.path), "loss-landscape", again, "net")
    with h5py.File(path) as first, h5py.File(second) as file:
        assert set(first) == set(file)
        np.testing.assert_array_equal(first["train_loss"], file["train_loss"])


def test_a_line_and_a_projection(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "line.h5", "w") as file:
        file["xcoordinates"], file["test_loss"], file["test_top5"] = X, X**2, X + 2
    result = landscape_of(read_surface([tmp_path / "line.h5"]))
    assert result.surface is None
    np.testing.assert_array_equal(result.profiles.distance, X[None])
    np.testing.assert_array_equal(result.profiles.loss, X[None] ** 2)
    np.testing.assert_array_equal(result.profiles.metric_values, X[None, None] + 2)
    assert np.isnan(result.profiles.accuracy).all()

    with h5py.File(tmp_path / "proj.h5", "w") as file:
        file["proj_xcoord"], file["proj_ycoord"] = [0.5, 0.1, 0.0], [1.0, 0.2, 0.0]
    plane = written_by_their_loop(tmp_path / "s.h5")
    report = read_surface([tmp_path / "proj.h5", plane])
    assert report.checkpoint.path == str(plane)
    assert landscape_of(report).trajectory.coordinates.tolist() == [[0.5, 1], [0.1, 0.2], [0, 0]]


def test_what_is_no_surface_is_told(tmp_path: Path) -> None:
    plane = written_by_their_loop(tmp_path / "s.h5")
    with h5py.File(tmp_path / "proj.h5", "w") as file:
        file["proj_xcoord"], file["proj_ycoord"] = [0.5, 0.1], [1.0]
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.create_group("xdirection")
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file["xcoordinates"] = X
    with h5py.File(tmp_path / "half.h5", "w") as file:
        file["xcoordinates"], file["ycoordinates"], file["train_loss"] = X, Y, X
    (tmp_path / "text.h5").write_text("no HDF5")
    for names, words in (
        (["other.h5"], "neither xcoordinates"),
        (["proj.h5"], "projection alone"),
        (["s.h5", "proj.h5"], "2 places and proj_ycoord 1"),
        (["empty.h5"], "neither train_loss"),
        (["half.h5"], "5 values, and the grid 15"),
        (["text.h5"], "cannot be read as HDF5"),
        (["none.h5"], "No such file"),
    ):
        with pytest.raises(DataError, match=words):
            read_surface([tmp_path / name for name in names])
    assert plane.is_file()


@pytest.mark.long
def test_the_command_and_everything_that_reads_a_report(
    exported: tuple[Report, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = CliRunner()
    done = run.invoke(app, ["import", str(exported[1])])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("wrote net.lla.h5\n")
    shown = run.invoke(app, ["show", "-v", "net.lla.h5"])
    assert "imported from a loss-landscape surface" in " ".join(shown.stdout.split())
    assert "not applicable" in shown.stdout
    found = json.loads(run.invoke(app, ["show", "--json", "net.lla.h5"]).stdout)
    assert found["checkpoint"]["parameters"] == 0
    assert found["metrics"]["landscape/center_error"]["value"] is None
    for arguments in (
        ["report", "net.lla.h5"],
        ["export", "net.lla.h5", "--format", "vtk,csv,gif"],
    ):
        done = run.invoke(app, arguments)
        assert done.exit_code == 0, done.output
    assert run.invoke(app, ["import", str(exported[1])]).exit_code == 0  # once more

    write(exported[0], tmp_path / "net.lla.h5")
    again = run.invoke(app, ["import", "net.lla.h5"])
    assert again.exit_code == 5
    assert "net.lla.h5 is a report already" in again.stderr
    refused = run.invoke(app, ["import", str(exported[1])])
    assert refused.exit_code == 5
    assert "a report that a run computed" in refused.stderr
    wrong = run.invoke(app, ["export", "net.lla.h5", "--format", "csv,gfi"])
    assert wrong.exit_code == 2
    assert "did you mean 'gif'" in wrong.stderr
