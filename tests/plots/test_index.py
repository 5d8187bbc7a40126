import os

import pytest
from lla_cli.main import app
from lla_plots.index import _names, write_folder
from typer.testing import CliRunner

import lla
from lla.errors import ReportError
from tests.plots import build
from tests.plots.reading import Reader

BARE = {"spectrum": None, "landscape": None, "saliency": None}


@pytest.fixture(autouse=True)
def small_images(monkeypatch):
    monkeypatch.setattr("lla_plots.pictures._DPI", 30)


@pytest.fixture
def reports(tmp_path):
    for name in ("one", "two"):
        lla.write(build.report(f"runs/{name} net.pt", **BARE), tmp_path / f"{name} net.lla.h5")
    return [str(tmp_path / f"{name} net.lla.h5") for name in ("one", "two")]


def run(*words):
    return CliRunner().invoke(app, ["report", *map(str, words)])


@pytest.mark.long
def test_a_page_each_an_index_and_one_plotly(tmp_path):
    names = [tmp_path / "a.lla.h5", tmp_path / "b.lla.h5"]
    for name in names:
        lla.write(build.report(saliency=None, stability=None), name)
    written = write_folder([str(name) for name in names], tmp_path / "pages")
    found = sorted(os.listdir(tmp_path / "pages"))
    assert [name for name in found if name.endswith(".html")] == ["a.html", "b.html", "index.html"]
    (library,) = [name for name in found if name.endswith(".js")]
    page = Reader((tmp_path / "pages" / "a.html").read_text(encoding="utf-8"))
    (place,) = [values for tag, values in page.tags if values.get("id") == "plotly"]
    assert place["data-address"] == library
    assert page.policy["script-src"].endswith(f"'nonce-{place['data-nonce']}'")
    assert len((tmp_path / "pages" / "a.html").read_bytes()) < 500_000
    index = Reader(written.index.read_text(encoding="utf-8"))
    assert [v["href"] for t, v in index.tags if t == "a"] == ["a.html"] * 2 + ["b.html"] * 2
    assert len([1 for tag, _ in index.tags if tag == "img"]) == 4
    assert "10.00 [9.99, 10.01]" in index.text
    assert "unsafe" not in str(index.policy)
    assert "'self'" not in str(index.policy)


def test_names_are_quoted_in_addresses_and_unique(reports, tmp_path):
    done = run(*reports, "-o", tmp_path / "pages")
    assert done.exit_code == 0, done.stderr
    index = Reader((tmp_path / "pages" / "index.html").read_text(encoding="utf-8"))
    assert {v["href"] for t, v in index.tags if t == "a"} == {"one%20net.html", "two%20net.html"}
    assert "1 violated 1 at the edge 1 inconclusive" in index.text
    assert _names(["x/m.lla.h5", "y/m.lla.h5", "m.h5", "index.h5"]) == [
        "x-m",
        "y-m",
        "m",
        "index-2",
    ]


def test_what_cannot_be_read_is_listed_and_the_rest_finished(reports, tmp_path):
    (tmp_path / "broken.h5").write_bytes(b"nothing")
    done = run(reports[0], tmp_path / "broken.h5", "-o", tmp_path / "pages")
    assert done.exit_code == 5
    assert "broken.h5 is not a report" in done.stderr
    assert (tmp_path / "pages" / "one net.html").exists()
    text = Reader((tmp_path / "pages" / "index.html").read_text(encoding="utf-8")).text
    assert "broken.h5 is not a report" in text
    with pytest.raises(ReportError, match="none of the reports"):
        write_folder([str(tmp_path / "broken.h5")] * 2, tmp_path / "pages")


@pytest.mark.long
@pytest.mark.parametrize("name", ["index.html", "two net.html"])
def test_only_pages_of_ours_are_replaced(reports, tmp_path, name):
    folder = tmp_path / "pages"
    assert run(*reports, "-o", folder).exit_code == 0
    assert run(*reports, "-o", folder).exit_code == 0  # our own are made anew
    (folder / name).write_text("<title>mine</title>")
    before = {path: (folder / path).read_bytes() for path in os.listdir(folder)}
    done = run(*reports, "-o", folder)
    assert done.exit_code == 5
    assert "is there already" in done.stderr
    assert {path: (folder / path).read_bytes() for path in os.listdir(folder)} == before


def test_a_script_that_is_not_plotly_is_not_replaced(reports, tmp_path):
    folder = tmp_path / "pages"
    assert run(*reports, "-o", folder).exit_code == 0
    (library,) = folder.glob("*.js")
    library.write_text("mine")
    assert "no plotly.js: it is not replaced" in run(*reports, "-o", folder).stderr
    assert library.read_text() == "mine"


def test_a_folder_given_for_one_report_gets_an_index(reports, tmp_path):
    done = run(reports[0], "-o", f"{tmp_path}/pages/")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.strip() == f"{tmp_path}/pages/index.html"
