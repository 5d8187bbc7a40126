"""What other programs find in a report: none of them knows lla."""

import math
from pathlib import Path

import h5py
import nexusformat.nexus as nexus
import numpy as np
import pytest
import silx.io
import silx.io.nxdata
import xarray

import lla
from lla.report import Report


def test_xarray_finds_dimensions_and_coordinates(report: Report, file: Path) -> None:
    found, surface = report.results["spectrum"], report.results["landscape"].surface
    # Warnings are errors here: one would tell of dimensions without a name.
    with xarray.open_datatree(file, engine="h5netcdf") as tree:
        assert tree.attrs["lla_schema"] == "lla-report/1"
        loss = tree["landscape/surface"]["loss"]
        assert loss.dims == ("alpha", "beta")
        np.testing.assert_array_equal(loss.coords["alpha"], surface.alpha)
        np.testing.assert_array_equal(loss.coords["beta"], surface.beta)
        np.testing.assert_array_equal(loss, surface.loss)
        assert loss.attrs["units"] == "loss"
        names = [*found.layers.names]
        trace = tree["hessian/layers"]["trace"]
        assert trace.coords["names"].values.tolist() == names
        assert float(trace.sel(names=names[-1])) == found.layers.trace[-1]
        sharpest = tree["hessian"]["lambda_max"]
        assert float(sharpest) == found.lambda_max.value
        assert float(sharpest.attrs["low"]) == found.lambda_max.low
        assert tree["hessian"]["eigenvalues"].dims == ("pair",)
        assert tree["hessian/density"]["nodes"].dims == ("probe", "step")
        assert tree["hessian/eigenvectors"]["values"].dims == ("pair", "parameter")
        assert tree["saliency"]["combined"].dims == ("image", "y", "x")
        everywhere = [dim for node in tree.subtree for dim in node.dataset.dims]
        assert not [dim for dim in everywhere if str(dim).startswith("phony")]
    # The engine is guessed from the file's first bytes.
    with xarray.open_dataset(file, group="hessian/density") as density:
        assert density["density"].dims == ("eigenvalue",)


def test_silx_draws_the_density_with_its_errors(report: Report, file: Path) -> None:
    density = report.results["spectrum"].density
    with silx.io.open(str(file)) as root:
        plot = silx.io.nxdata.get_default(root)
        assert plot.is_valid, plot.issues
        assert plot.title == "spectral density"
        np.testing.assert_array_equal(plot.signal[()], density.density)
        np.testing.assert_array_equal(plot.axes[0][()], density.eigenvalue)
        np.testing.assert_allclose(plot.errors[()], density.high - density.density, rtol=1e-12)
        assert plot.errors.shape == plot.signal.shape


@pytest.mark.parametrize(
    ("group", "place", "signal"),
    [
        ("hessian", "hessian/density", "density"),
        ("hessian/layers", "hessian/layers", "trace"),
        ("stability", "stability/conditions", "max_lr"),
        ("landscape", "landscape/surface", "loss"),
        ("saliency", "saliency/maps/1", "raw"),
    ],
)
def test_each_group_has_its_plot(file: Path, group: str, place: str, signal: str) -> None:
    with silx.io.open(str(file)) as root:
        plot = silx.io.nxdata.get_default(root[group])
        assert plot.is_valid, plot.issues
        assert plot.group.name == f"/{place}"
        assert plot.signal.name == f"/{place}/{signal}"
    found = nexus.nxload(file)[group].plottable_data
    assert found.nxpath == f"/{place}"
    assert found.nxsignal.shape


def test_nexusformat_finds_the_default_plot(report: Report, file: Path) -> None:
    density = report.results["spectrum"].density
    root = nexus.nxload(file)
    assert isinstance(root, nexus.NXroot)
    assert isinstance(root["hessian"], nexus.NXentry)
    plot = root.plottable_data
    assert isinstance(plot, nexus.NXdata)
    assert plot.nxpath == "/hessian/density"
    assert plot.nxtitle == "spectral density"
    np.testing.assert_array_equal(plot.nxsignal.nxvalue, density.density)
    np.testing.assert_array_equal(plot.nxaxes[0].nxvalue, density.eigenvalue)
    np.testing.assert_allclose(plot.nxerrors.nxvalue, density.high - density.density, rtol=1e-12)
    surface = root["landscape"].plottable_data
    assert [axis.nxname for axis in surface.nxaxes] == ["alpha", "beta"]


def test_h5py_alone(report: Report, file: Path) -> None:
    with h5py.File(file) as root:
        assert root.attrs["creator"] == "lla"
        assert root.attrs["creator_version"] == lla.__version__
        assert root.attrs["file_name"] == "r.h5"
        assert root.attrs["file_time"].endswith("+00:00")
        assert root["hessian/K_H0.5"][()] == report.metrics["hessian/K_H0.5"].value
        missing = root["stability/trace_frobenius_max_lr"]
        assert math.isnan(missing[()])
        assert missing.attrs["why"] == "it holds for the square loss only"
        loss = root["landscape/surface/loss"]
        assert loss.dims[0][0] == root["landscape/surface/alpha"]
        assert loss.compression == "gzip"
        assert loss.shuffle
        assert loss.fletcher32
        # A dimension without coordinates is named by a scale that takes no space.
        pair = root["hessian/pair"]
        assert pair.is_scale
        assert pair.id.get_storage_size() == 0
        assert root["hessian/eigenvalues"].dims[0][0] == pair


def test_reports_of_less_have_their_plots(report: Report, tmp_path: Path) -> None:
    from dataclasses import replace

    for kept, place in (
        ("landscape", "/landscape/surface"),
        ("stability", "/stability/conditions"),
    ):
        results = {name: report.results[name] for name in ("baseline", kept)}
        lla.write(replace(report, results=results), tmp_path / "less.h5")
        assert nexus.nxload(tmp_path / "less.h5").plottable_data.nxpath == place
    lla.write(replace(report, results={}), tmp_path / "less.h5")
    with h5py.File(tmp_path / "less.h5") as root:
        assert "default" not in root.attrs
