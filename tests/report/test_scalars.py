"""Reading a report's scalars alone: the same numbers as of the whole, checked like it."""

from pathlib import Path

import numpy as np
import pytest

import lla
from lla.errors import ReportError
from lla.report import Report
from lla.report.storage import read_scalars

ARRAY = "hessian/layers/parameters"


def test_the_same_scalars_and_nothing_else(report: Report, tmp_path: Path) -> None:
    lla.write(report, tmp_path / "r.h5")
    whole, scalars = lla.read(tmp_path / "r.h5"), read_scalars(tmp_path / "r.h5", [ARRAY])
    assert {path: repr(value) for path, value in scalars.metrics.items()} == {
        path: repr(value) for path, value in whole.metrics.items()
    }
    assert len(scalars.metrics) > 40
    for name in ("verdicts", "stages", "provenance", "plan", "checkpoint", "sha256", "caption"):
        assert getattr(scalars, name) == getattr(whole, name), name
    spectrum = scalars.results["spectrum"]
    np.testing.assert_array_equal(
        spectrum.layers.parameters, whole.results["spectrum"].layers.parameters
    )
    assert spectrum.layers.names is spectrum.density is spectrum.eigenvalues is None
    assert scalars.results["landscape"].surface is None
    assert read_scalars(tmp_path / "r.h5").results["spectrum"].layers is None


def test_damage_is_told_even_in_an_array_that_is_not_read(report: Report, tmp_path: Path) -> None:
    lla.write(report, tmp_path / "r.h5")
    content = (tmp_path / "r.h5").read_bytes()
    middle = len(content) // 2
    (tmp_path / "r.h5").write_bytes(content[:middle] + b"\xff\x00" + content[middle + 2 :])
    with pytest.raises(ReportError, match="is damaged"):
        read_scalars(tmp_path / "r.h5")
    with pytest.raises(ReportError, match="there is no report"):
        read_scalars(tmp_path / "gone.h5")
