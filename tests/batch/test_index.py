"""An index through the programs that read it; failures, order, formulas, what is not comparable."""

import csv
import math
import random
from dataclasses import replace

import h5py
import nexusformat.nexus as nexus
import numpy as np
import pandas
import pytest
import silx.io
import silx.io.nxdata
import xarray
from scipy import stats

import lla
from lla.batch.index import write_index
from lla.errors import ReportError
from lla.estimate import Estimate
from lla.report import seal
from tests.batch.epochs import HALF, LOSSES, SHARP, entries


@pytest.fixture(scope="module")
def index(place):
    return write_index(entries(), place)


def test_the_table_by_the_csv_module_and_pandas(index):
    content = index.csv.read_bytes()
    assert content.count(b"\r\n") == content.count(b"\n") == 11
    with index.csv.open(newline="", encoding="utf-8") as stream:
        rows = {row["name"]: row for row in csv.DictReader(stream, strict=True)}
    assert [float(rows[f"epoch_{at}"]["loss/value"]) for at in range(1, 8)] == LOSSES
    first = rows["epoch_1"]
    assert (first["status"], first["checkpoint"], first["epoch"]) == (
        "done",
        "runs/epoch_1.pt",
        "1.0",
    )
    assert first["sha256"].startswith("0123456789ab")
    assert float(first["hessian/lambda_max.low"]) == 9.0 - 0.1
    assert float(first["hessian/lambda_max.high"]) == 9.0 + 0.1
    assert first["hessian/lambda_max.converged"] == "true"
    assert first["hessian/effective_rank"] == first["hessian/effective_rank.converged"] == ""
    assert first["hessian/type"] == "mainly_positive"
    assert "hessian/type.low" not in first
    failed = rows["'=cmd|' /C'!A0"]
    assert (failed["status"], failed["reason"]) == ("failed", 'no such file, "x"')
    assert failed["loss/value"] == ""
    assert rows["epoch_9"]["status"] == "unreadable"
    assert rows["epoch_9"]["reason"] == "e9.lla.h5 is not a report"
    frame = pandas.read_csv(index.csv)
    assert frame["loss/value"].dropna().tolist() == [*LOSSES, 0.7]
    assert frame["hessian/lambda_max.high"].dtype == float


def test_the_file_through_other_programs(index):
    body = index.hdf5.read_bytes()
    assert seal.stated(body)
    nan = math.nan
    with h5py.File(index.hdf5) as file:
        assert file.attrs["lla_schema"] == "lla-index/1"
        group = file["hessian/lambda_max"]
        np.testing.assert_array_equal(group["value"], [nan, *SHARP, 9.0, nan])
        np.testing.assert_allclose(group["value_errors"][1:8], HALF, rtol=1e-12)
        assert group["converged"][:].tolist() == [False, *[True] * 8, False]
        whys = group["why"].asstr()[:].tolist()
        assert (whys[0], whys[1], whys[9]) == ("failed", "", "unreadable")
        assert file["hessian/effective_rank/why"].asstr()[1] == "not asked for"
        assert file["hessian/type/value"].asstr()[1] == "mainly_positive"
        told = file["index/checkpoints"]
        assert told["name"].asstr()[9] == "epoch_9"
        assert told["report_sha256"].asstr()[1] == lla.read(index.hdf5.parent / "e1.lla.h5").sha256
        assert told["order"][1] == 1.0
    with silx.io.open(str(index.hdf5)) as root:
        plot = silx.io.nxdata.get_default(root)
        assert plot.is_valid, plot.issues
        assert plot.group.name == "/loss/value"
        assert plot.errors.shape == plot.signal.shape
    assert nexus.nxload(index.hdf5).plottable_data.nxpath == "/loss/value"
    with xarray.open_datatree(index.hdf5, engine="h5netcdf") as tree:
        assert tree["hessian/trace"]["value"].dims == ("checkpoint",)
        assert float(tree["hessian/lambda_max"]["high"].sel(checkpoint=2)) == SHARP[0] + HALF[0]


def test_trends_and_outliers_are_those_of_the_values(index):
    with h5py.File(index.hdf5) as file:
        table = file["index/trends"]
        paths = table["path"].asstr()[:].tolist()
        loss = paths.index("loss/value")
        x = np.arange(1.0, 8.0)
        found = stats.theilslopes(LOSSES, x, alpha=0.95)
        assert table["points"][loss] == 7  # the eighth is of other data
        assert "1 not comparable with the first (the data" in table["why"].asstr()[loss]
        assert table["verdict"].asstr()[loss] == "falls"
        assert table["slope"][loss] == pytest.approx(found.slope)
        assert (table["low"][loss], table["high"][loss]) == pytest.approx(found[2:4])
        p = 2 / math.factorial(7)
        assert table["p"][loss] == pytest.approx(p)
        # With λ_max: the other headline metrics do not vary.
        assert table["p_holm"][loss] == pytest.approx(2 * p)
        assert table["verdict"].asstr()[paths.index("hessian/lambda_max")] == "none"
        assert table["verdict"].asstr()[paths.index("loss/accuracy")] == "constant"
        assert "hessian/effective_rank" not in paths
        odd = file["index/outliers"]
        at = odd["path"].asstr()[:].tolist().index("hessian/lambda_max")
        # Median 9, deviations 0, .1, .1, .05, .05, 31, 0: their median is 0.05.
        assert odd["z"][at] == pytest.approx(0.6745 * 31 / 0.05)
        assert odd["z_low"][at] == pytest.approx(0.6745 * 30.9 / 0.05)
        rows = [
            odd["row"][i]
            for i, path in enumerate(odd["path"].asstr()[:])
            if path == "hessian/lambda_max"
        ]
        assert rows == [7]  # epoch_6, behind the failed one


def test_a_wide_interval_is_no_outlier(place, tmp_path):
    base = lla.read(place / "e6.lla.h5")
    wide = replace(base.results["spectrum"], lambda_max=Estimate(40.0, 9.1, 71.0, 0.95))
    lla.write(replace(base, results={**base.results, "spectrum": wide}), tmp_path / "e6.lla.h5")
    for at in (1, 2, 3, 4, 5, 7):
        (tmp_path / f"e{at}.lla.h5").symlink_to(place / f"e{at}.lla.h5")
    written = write_index(entries()[:7], tmp_path)
    with h5py.File(written.hdf5) as file:
        assert "hessian/lambda_max" not in file["index/outliers/path"].asstr()[:]


def test_the_order_of_the_entries_changes_nothing(place, index, tmp_path):
    before = [path.read_bytes() for path in (index.hdf5, index.csv)]
    mixed = entries()
    random.Random(3).shuffle(mixed)
    again = write_index(mixed, place)
    assert [path.read_bytes() for path in (again.hdf5, again.csv)] == before


def test_nothing_done_is_an_index_all_the_same(tmp_path):
    written = write_index([replace(entries()[-1], status="waiting")], tmp_path)
    assert written.csv.read_text().count("\n") == 2
    with h5py.File(written.hdf5) as file:
        assert file["index/checkpoints/status"].asstr()[0] == "waiting"
    assert "1 waiting" in written.html.read_text()


def test_an_index_is_no_report_and_says_so(index):
    with pytest.raises(ReportError, match="is the index of a batch") as told:
        lla.read(index.hdf5)
    assert "index.html" in told.value.remedy


def test_a_page_of_somebody_elses_is_not_replaced(tmp_path):
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(ReportError, match="no page of a report"):
        write_index(entries()[-1:], tmp_path)
    assert not (tmp_path / "index.h5").exists()
