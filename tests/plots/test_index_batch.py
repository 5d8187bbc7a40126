"""The page of a batch: what it says, its links, and that it answers in a browser."""

from dataclasses import replace

import numpy as np
import pytest
from lla_plots import courses

import lla
from lla.batch.gathering import gathered
from lla.batch.index import Entry, write_index
from lla.batch.outliers import outliers
from tests.plots import build
from tests.plots.browser import Visit, launched
from tests.plots.reading import Reader

BARE = {"landscape": None, "saliency": None, "stability": None, "sharpness": None}
HOSTILE = "<img src=x onerror=alert(1)>"
SHARP = [9.0, 8.1, 7.2, 6.3, 50.0, 4.5, 3.6]


@pytest.fixture(autouse=True)
def small_images(monkeypatch):
    monkeypatch.setattr("lla_plots.pictures._DPI", 40)


@pytest.fixture
def entries(tmp_path):
    base = build.report(**BARE)
    (tmp_path / "r").mkdir()
    for at, sharp in enumerate(SHARP, start=1):
        spectrum = replace(base.results["spectrum"], lambda_max=build.certified(sharp, 0.2))
        report = replace(base, results={**base.results, "spectrum": spectrum})
        lla.write(report, tmp_path / f"r/e {at}.lla.h5")
    found = [Entry(f"e {at}", f"runs/e {at}.pt", f"r/e {at}.lla.h5", "done") for at in range(1, 8)]
    return [*found, Entry(HOSTILE, "x.pt", "x.lla.h5", "failed", f"why {HOSTILE}", "do this")]


def test_the_page_tells_failures_trends_and_outliers(entries, tmp_path):
    page = Reader(write_index(entries, tmp_path).html.read_text(encoding="utf-8"))
    assert list(filter(None, page.headings)) == [
        "Not finished",
        "Trends over the runs",
        "Unlike the others",
        "All checkpoints",
    ]
    assert f"why {HOSTILE} do this" in page.text.replace("&lt;", "<")
    assert "onerror" not in str(page.tags)
    assert "7 done, 1 failed" in page.text
    links = {values["href"] for tag, values in page.tags if tag == "a"}
    assert links == {"index.csv", "index.h5", *(f"r/e%20{at}.lla.h5" for at in range(1, 8))}
    assert page.text.count("outlier") == 1  # the mark in the table
    assert "hessian/lambda_max" in page.text
    assert "'self'" not in str(page.policy)
    assert "unsafe" not in str(page.policy)


def test_the_figure_draws_values_intervals_and_outliers(entries, tmp_path):
    table = gathered(entries, tmp_path)
    (course,) = [one for one in table.courses if one.path == "hessian/lambda_max"]
    runs, odd = courses.lines(table), outliers(table)
    figure = courses.figure([course], runs, odd, "caption")
    (axes, *_) = figure.axes
    line, ring = axes.lines
    np.testing.assert_array_equal(line.get_data(), [np.arange(1.0, 8.0), SHARP])
    np.testing.assert_array_equal(ring.get_data(), [[5.0], [50.0]])
    ends = np.array([[low, high] for (_, low), (_, high) in axes.collections[1].get_segments()])
    np.testing.assert_allclose(ends, np.add.outer(SHARP, [-0.2, 0.2]))
    assert axes.get_yscale() == "log"
    plot = courses.plot(course, runs, [row.entry.name for row in table.rows], odd)
    np.testing.assert_allclose(plot["data"][0]["error_y"]["array"], 0.2)
    assert plot["data"][0]["y"] == SHARP
    assert plot["data"][1]["x"] == [5.0]


@pytest.mark.long
def test_pages_lead_to_the_index_and_share_one_plotly(entries, tmp_path):
    written = write_index(entries, tmp_path, pages=True)
    assert len(written.pages) == 7
    page = Reader(written.pages[0].read_text(encoding="utf-8"))
    assert "../index.html" in {values.get("href") for tag, values in page.tags if tag == "a"}
    (address,) = [v["data-address"] for _, v in page.tags if v.get("id") == "plotly"]
    assert (written.pages[0].parent / address).resolve().parent == tmp_path.resolve()
    index = Reader(written.html.read_text(encoding="utf-8"))
    assert "r/e%201.lla.html" in {values.get("href") for tag, values in index.tags if tag == "a"}


@pytest.mark.long
def test_the_page_answers_in_a_browser(entries, tmp_path):
    written = write_index(entries, tmp_path)
    with launched() as browser, Visit(browser, written.html) as visit:
        page = visit.page
        page.locator("details.chooser summary").click()
        page.locator(".choices label", has_text="hessian/r_e").click()
        assert page.locator("table.index thead th").last.text_content() == "hessian/r_e"
        page.locator("table.index thead th[data-path='hessian/lambda_max'] button").click()
        first = page.locator("table.index tbody tr").first
        assert "3.6" in first.locator("td").nth(3).text_content()
        assert first.locator("td").last.text_content() == "0.1000 [0.0990, 0.1010]"
        page.locator(".choices label", has_text="hessian/r_e").click()
        assert not first.locator("td").last.is_visible()
        page.locator("details.charts summary").first.click()
        page.locator("details.charts[open] .plot .main-svg").first.wait_for()
        assert visit.complaints == []
        assert all(address.startswith("file:") for address in visit.requests)
