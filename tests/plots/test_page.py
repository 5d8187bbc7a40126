import base64
import hashlib
import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from lla_plots.advice import steps
from lla_plots.page import html, write_html

from lla.errors import ReportError
from lla.report import Stage
from tests.plots import build

HOSTILE = "<script>alert('runs')</script>.pt"
QUESTIONS = [
    "How sharp is it?",
    "How sure are we?",
    "Is it stable at its learning rate?",
    "Which layers carry the curvature?",
    "What does the loss look like around the weights?",
    "Where does the network look?",
    "What to do next",
    "What was analysed",
]


class Reader(HTMLParser):
    """What a browser would see: tags with attributes, text, and the content of scripts."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.scripts, self.words, self.headings = [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "script":
            self.scripts.append((dict(attributes).get("type"), ""))

    def handle_data(self, data):
        tag = self.tags[-1][0] if self.tags else ""
        if tag == "script" and self.cdata_elem == "script":
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)
            return
        self.words.append(data)
        if tag == "h2":
            self.headings.append(data.strip())

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(autouse=True)
def small_images(monkeypatch):
    """Quick images, after the one page that every test of its size and content reads."""
    monkeypatch.setattr("lla_plots.page._DPI", 30)


@pytest.fixture(scope="module")
def page():
    return html(build.report())


@pytest.fixture(scope="module")
def read(page):
    return Reader(page)


def test_the_headings_are_the_questions(read):
    assert [heading for heading in read.headings if heading] == QUESTIONS


def test_nothing_is_loaded_from_anywhere(page, read):
    for tag, attributes in read.tags:
        for name in ("src", "href", "data", "action", "srcset", "poster"):
            target = attributes.get(name, "#")
            assert target.startswith(("#", "data:image/png;base64,")), (tag, name, target[:80])
    assert "link" not in {tag for tag, _ in read.tags}
    assert "@import" not in page.partition("</style>")[0]
    assert len(page.encode()) < 6_000_000


def test_the_policy_allows_exactly_the_scripts_of_the_page(read):
    (policy,) = [
        attributes["content"]
        for tag, attributes in read.tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "unsafe-eval" not in policy
    allowed = re.search(r"script-src ([^;]*)", policy)[1].split()
    run = [text for kind, text in read.scripts if kind is None]
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in run]
    assert allowed == [f"'sha256-{digest}'" for digest in digests]
    assert len(run) == 2


def test_surface_and_spectrum_are_interactive_with_still_images(read):
    found = [json.loads(text) for kind, text in read.scripts if kind == "application/json"]
    spectrum, surface = found
    assert spectrum["data"][-1]["x"] == [10.0, 4.0, -1.0]
    assert spectrum["data"][-1]["marker"]["symbol"] == ["circle", "circle-open", "circle"]
    sheet = surface["data"][0]
    assert sheet["type"] == "surface"
    assert (len(sheet["z"]), len(sheet["z"][0])) == (len(sheet["y"]), len(sheet["x"])) == (9, 7)
    assert sum(tag == "img" for tag, _ in read.tags) == 7
    assert "noscript" in {tag for tag, _ in read.tags}


def test_a_hole_in_the_surface_is_a_gap_not_a_nan():
    page = html(build.report(landscape=build.landscape(hole=True), spectrum=None, saliency=None))
    read = Reader(page)
    surface = json.loads(
        [text for kind, text in read.scripts if kind == "application/json"][-1],
        parse_constant=pytest.fail,
    )
    assert surface["data"][0]["z"][1][0] is None
    assert "2 of 63 points are not finite" in read.text


def test_tables_tell_intervals_verdicts_and_provenance(read):
    for words in (
        "10.00 [9.99, 10.01]",
        "17.00 [16.50, 17.50]",
        "95 %, not converged",
        "—, because it holds for the square loss only",
        "mainly positive (C_t = -0.1)",
        "violated",
        "at the edge",
        "first carries 71 % of the trace",
        "digits.npz",
        "0123456789ab",
        "run.tolerance",
        "--tolerance",
        "300 matvecs",
        "1.5 s",
    ):
        assert words in read.text, words
    kinds = {attributes.get("class") for tag, attributes in read.tags if tag == "span"}
    assert {"verdict violated", "verdict at_edge", "verdict not_applicable"} <= kinds


def test_style_follows_the_reader(page):
    style = page.partition("<style>")[2].partition("</style>")[0]
    assert "prefers-color-scheme: dark" in style
    assert "@media print" in style


def test_hostile_names_are_text():
    landscape = build.landscape()
    axes = replace(landscape.axes, names=("</script><script>alert(1)</script>", "d₂"))
    hostile = replace(landscape, axes=axes)
    page = html(build.report(HOSTILE, landscape=hostile, spectrum=None, saliency=None))
    assert "<script>alert" not in page
    read = Reader(page)
    assert sum(kind is None for kind, _ in read.scripts) == 2
    assert HOSTILE.partition("/")[0] in read.text


def test_a_bare_report_makes_a_page():
    nothing = {"spectrum": None, "stability": None, "landscape": None, "saliency": None}
    page = html(build.report(**nothing))
    assert len(page) < 100_000  # nothing to turn, so no plotly.js
    read = Reader(page)
    assert [heading for heading in read.headings if heading] == [
        "How sure are we?",
        "What to do next",
        "What was analysed",
    ]
    assert "Nothing is left open" in read.text


def test_missing_parts_are_said():
    report = build.report(
        saliency=build.no_saliency(), stability=build.stability(lr=None), landscape=None
    )
    read = Reader(html(report))
    assert "the inputs are no images" in read.text
    assert "That cannot be told: the learning rate is unknown" in read.text


def test_writing_replaces_at_the_end(tmp_path, monkeypatch):
    report = build.report(spectrum=None, landscape=None, saliency=None)
    target = write_html(report, tmp_path / "page.html")
    whole = target.read_text(encoding="utf-8")
    assert whole.rstrip().endswith("</html>")

    def broken(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(ReportError, match="No space left"):
        write_html(report, target)
    assert target.read_text(encoding="utf-8") == whole
    assert os.listdir(tmp_path) == ["page.html"]


def test_a_page_without_a_place_is_an_error_of_ours(tmp_path):
    report = build.report(spectrum=None, landscape=None, saliency=None, stability=None)
    with pytest.raises(ReportError, match="cannot be written"):
        write_html(report, tmp_path / "missing" / "page.html")


def commands(report):
    return [step.command for step in steps(report)]


def test_advice_names_settings_and_the_checkpoint():
    found = commands(build.report(path="runs/my net.pt"))
    assert "lla stability 'runs/my net.pt' --lr 0.04" in found
    assert "lla stability 'runs/my net.pt' --max-batches 400" in found
    assert any("--batch-tolerance" in c or "--tolerance" in c for c in found)


def test_advice_for_an_unconverged_trace():
    trace = build.sampled(17.0, converged=False)
    report = build.report(spectrum=build.spectrum(trace=trace))
    assert "lla spectrum runs/net.pt --max-probes 800" in commands(report)
    assert "lla spectrum runs/net.pt --max-probes 800" not in commands(build.report())


def test_advice_for_an_unknown_learning_rate():
    report = build.report(stability=build.stability(lr=None))
    assert "lla stability runs/net.pt --lr LEARNING_RATE" in commands(report)


def test_advice_for_failures_and_holes():
    report = build.report(
        landscape=build.landscape(hole=True, center_error=build.exact(1.0)),
    )
    report = replace(report, stages={"saliency": Stage("failed", 0.1, why="no memory")})
    found = steps(report)
    assert found[0].text == "The analysis saliency failed: no memory"
    assert found[0].command == "lla saliency runs/net.pt"
    assert "lla landscape runs/net.pt --dtype float64" in commands(report)
    assert "lla landscape runs/net.pt --rise 0.1" in commands(report)


def test_advice_where_nothing_is_open():
    report = build.report(stability=None)
    assert [step.command for step in steps(report)] == [""]
