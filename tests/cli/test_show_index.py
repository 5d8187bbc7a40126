"""``lla show`` of a batch's index: what failed, trends, outliers, numbers; its digest checked."""

import json
import shutil
from pathlib import Path

import pytest
from rich.cells import cell_len

from lla.batch.index import Entry, write_index
from tests.batch import epochs
from tests.cli.test_show import process, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("index")
    epochs.written(place)
    hostile = Entry("[red]x[/red]" * 9, "x.pt", "x.h5", "failed", "why \x1b[31m" * 20, "[bold]this")
    write_index([*epochs.entries(), hostile], place)
    return place


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


@pytest.mark.parametrize("options", [[], ["-v"]])
def test_what_a_reader_sees(options: list[str]) -> None:
    done = run("show", "index.h5", *options, env={"COLUMNS": "300"})
    assert done.exit_code == 0, done.stderr
    assert max(map(cell_len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout
    text = " ".join(done.stdout.split())
    assert "11 checkpoints of 3 runs: 8 done, 2 failed, 1 unreadable" in text
    assert "epoch_9 unreadable e9.lla.h5 is not a report" in text
    assert "no such file" in text
    assert "[red]x[/red]" in text.replace(" ", ""), "as it is"
    # The losses fall strictly and are exact; epoch 8 is of other data.
    assert "loss/value falls -0.1" in text
    assert "1 not comparable with the first" in text
    assert "epoch_6 hessian/lambda_max" in text, "the outlier"
    assert "robust standard deviations above the median" in text
    assert "epoch_7 0.8 " in text, "a number of the table"
    assert ("others: " in text) != bool(options)
    assert ("none shown" in text) or not options


def test_the_document_alone_on_stdout() -> None:
    done = run("show", "--json", "--verify", "index.h5")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["schema"] == "lla-index/1"
    assert [row["name"] for row in found["checkpoints"]][2:9] == [
        f"epoch_{at}" for at in range(1, 8)
    ]
    values = found["metrics"]["loss/value"]["values"]
    assert [one["value"] for one in values][2:9] == epochs.LOSSES
    assert [one["value"] for one in found["metrics"]["hessian/lambda_max"]["values"]][7] == 40.0
    (odd,) = found["outliers"]
    assert (odd["name"], odd["path"], odd["median"]) == ("epoch_6", "hessian/lambda_max", 9.0)
    assert found["index_sha256"] in done.stderr


def test_one_flipped_byte_is_told(tmp_path: Path) -> None:
    whole = Path("index.h5").read_bytes()
    assert run("show", "--verify", "index.h5").stdout.splitlines()[-1].startswith("verified: ")
    for place in (len(whole) // 3, len(whole) // 2, len(whole) - 100):
        broken = tmp_path / "index.h5"
        broken.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        for options in ([], ["--verify"], ["--json"]):
            done = run("show", str(broken), *options)
            assert done.exit_code == 5
            assert "is damaged" in done.stderr
            assert "running the batch again" in " ".join(done.stderr.split())
            assert done.stdout == ""


def test_a_file_that_states_no_digest_is_shown_and_not_verified(tmp_path: Path) -> None:
    bare = tmp_path / "index.h5"
    bare.write_bytes(Path("index.h5").read_bytes()[:-77])
    assert run("show", str(bare)).exit_code == 0
    done = run("show", "--verify", str(bare))
    assert done.exit_code == 5
    assert "cannot be verified" in done.stderr


def test_an_index_of_a_later_version(tmp_path: Path) -> None:
    import h5py

    later = tmp_path / "index.h5"
    shutil.copy("index.h5", later)
    with h5py.File(later, "r+") as file:
        file.attrs["lla_schema"] = "lla-index/2"
    done = run("show", str(later))
    assert done.exit_code == 5
    assert "of schema lla-index/2" in " ".join(done.stderr.split())


def test_where_a_report_is_wanted() -> None:
    done = run("report", "index.h5")
    assert done.exit_code == 5
    assert "is the index of a batch, and no report" in " ".join(done.stderr.split())
    assert "lla show index.h5" in done.stderr


def test_an_encoding_without_letters() -> None:
    done = process("show", "index.h5", encoding="ascii")
    assert done.returncode == 0, done.stderr
    assert b"lambda_max" in done.stdout
