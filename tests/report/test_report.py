import dataclasses
import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

import lla
from lla.errors import ReportError
from lla.report import Report, document


def same(one: object, other: object) -> bool:
    """Whether two results hold the same values, NaN equal to NaN."""
    if dataclasses.is_dataclass(one):
        names = [item.name for item in dataclasses.fields(one)]
        return type(one) is type(other) and all(
            same(getattr(one, name), getattr(other, name)) for name in names
        )
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, float):
        return one == other or (one != one and other != other)
    return one == other


def test_a_file_opens_to_the_same_report(report: Report, tmp_path: Path) -> None:
    written = lla.write(report, tmp_path / "r.h5")
    found = lla.read(tmp_path / "r.h5")
    assert found.results.keys() == report.results.keys()
    for name, result in report.results.items():
        assert same(result, found.results[name]), name
    assert document(found) == document(written)
    assert found.caption == report.caption
    # The comparison itself must be able to fail.
    broken = dataclasses.replace(report.results["spectrum"], eigenvalues=np.zeros(3))
    assert not same(broken, found.results["spectrum"])


def test_metrics_are_scalar_datasets_at_their_paths(report: Report, tmp_path: Path) -> None:
    lla.write(report, tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5") as file:
        assert file.attrs["lla_schema"] == "lla-report/1"
        for path, metric in report.metrics.items():
            data = file[path]
            assert data.shape == ()
            if isinstance(metric, lla.Estimate) and metric.exists:
                assert data[()] == metric.value
                assert data.attrs["low"] == metric.low
                assert data.attrs["high"] == metric.high
                assert same(float(data.attrs["confidence"]), metric.confidence)


def test_default_plots_and_scales(report: Report, tmp_path: Path) -> None:
    """Following @default from the root leads to a plot whose axes are dimension scales."""
    lla.write(report, tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5") as file:
        group = file
        while "default" in group.attrs:
            group = group[group.attrs["default"]]
        assert group.name == "/hessian/density"
        surface = file["landscape/surface"]
        for data in (group, surface):
            assert data.attrs["NX_class"] == "NXdata"
            signal = data[data.attrs["signal"]]
            for place, axis in enumerate(data.attrs["axes"]):
                assert data[axis].shape == (signal.shape[place],)
                assert axis in (signal.dims[place].label, data[axis].attrs.get("NAME"))
        assert surface["loss"].dims[0][0] == surface["alpha"]
        assert surface["loss"].dims[1][0] == surface["beta"]


def test_documents_are_json_without_nan(report: Report) -> None:
    text = json.dumps(document(report), allow_nan=False)
    found = json.loads(text)
    assert found["schema"] == "lla-report/1"
    assert found["metrics"]["stability/trace_frobenius_max_lr"]["value"] is None
    assert found["metrics"]["stability/trace_frobenius_max_lr"]["why"]
    assert found["stages"]["spectrum"]["matvecs"] > 60


def test_a_failed_write_leaves_the_old_report_and_nothing_else(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.h5"
    lla.write(report, path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ReportError, match="No space left"):
        lla.write(report, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["r.h5"]


def test_an_interrupted_write_leaves_nothing(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        lla.write(report, tmp_path / "r.h5")
    assert not os.listdir(tmp_path)


def test_what_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="there is no report"):
        lla.read(tmp_path / "no.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(ReportError, match=r"text\.h5 is not a report"):
        lla.read(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(ReportError, match="HDF5 file, but not a report of lla"):
        lla.read(tmp_path / "other.h5")
