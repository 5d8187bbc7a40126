import base64
import gzip
import hashlib
import json
import os
import re
from dataclasses import replace

import pytest
from lla_cli import options
from lla_plots.advice import steps
from lla_plots.commands import PROBLEM
from lla_plots.page import html, write_html
from lla_plots.words import spectrum as words_spectrum
from lla_plots.words import stability

from lla.errors import ReportError
from lla.estimate import Verdict
from lla.report import Stage
from tests.plots import build
from tests.plots.reading import Reader

HOSTILE = "<script>alert('runs')</script>.pt"
QUESTIONS = [
    "How well does it fit?",
    "How sharp is it?",
    "How sure are we?",
    "Is it stable at its learning rate?",
    "How much does the loss rise around it?",
    "Which layers carry the curvature?",
    "What does the loss look like around it?",
    "What did the network look at?",
    "What to do next?",
    "What was analysed, and how?",
]


@pytest.fixture(autouse=True)
def small_images(monkeypatch):
    """Quick images, after the one page that every test of its size and content reads."""
    monkeypatch.setattr("lla_plots.pictures._DPI", 30)


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


def digest(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_policy_allows_exactly_the_scripts_and_styles_of_the_page(page, read):
    policy = read.policy
    assert policy["default-src"] == "'none'"
    assert policy["img-src"] == "data:"
    assert "unsafe" not in str(policy)
    assert "http" not in str(policy)
    (own,) = read.run()
    (packed,) = [text for kind, text in read.scripts if kind == "application/gzip"]
    library = gzip.decompress(base64.b64decode(packed)).decode()
    assert "plotly.js v" in library[:200]
    assert policy["script-src"].split() == [digest(own), digest(library)]
    style = page.partition("<style>")[2].partition("</style>")[0]
    (place,) = [values for tag, values in read.tags if values.get("id") == "plotly"]
    assert policy["style-src"].split() == [digest(style), f"'nonce-{place['data-nonce']}'"]
    assert not [tag for tag, values in read.tags if "style" in values]


@pytest.mark.long
def test_the_nonce_is_of_the_page_and_the_same_each_time(page):
    nonce = re.search(r'data-nonce="(\w+)"', page)[1]
    assert len(nonce) == 64
    assert f'data-nonce="{nonce}"' not in html(build.report("another.pt", saliency=None))
    assert html(build.report(saliency=None)) == html(build.report(saliency=None))


def test_surface_and_spectrum_are_interactive_with_still_images(read):
    spectrum, surface = map(json.loads, read.data())
    assert spectrum["data"][-1]["x"] == [10.0, 4.0, -1.0]
    assert spectrum["data"][-1]["marker"]["symbol"] == ["circle", "circle-open", "circle"]
    sheet = surface["data"][0]
    assert sheet["type"] == "surface"
    assert (len(sheet["z"]), len(sheet["z"][0])) == (len(sheet["y"]), len(sheet["x"])) == (9, 7)
    stills = [values for tag, values in read.tags if tag == "img"]
    assert [values["class"] for values in stills] == ["still light", "still dark"] * 10
    assert all(values["alt"] and int(values["width"]) > 0 for values in stills)
    assert "noscript" in {tag for tag, _ in read.tags}


def test_a_hole_in_the_surface_is_a_gap_not_a_nan():
    page = html(build.report(landscape=build.landscape(hole=True), spectrum=None, saliency=None))
    read = Reader(page)
    surface = json.loads(read.data()[-1], parse_constant=pytest.fail)
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
        "Layer first carries 71 % of the trace: 12.00 [11.00, 13.00]",
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
    assert len(read.run()) == 1
    assert HOSTILE.partition("/")[0] in read.text


def test_a_bare_report_makes_a_page():
    nothing = dict.fromkeys(("spectrum", "stability", "sharpness", "landscape", "saliency"))
    page = html(build.report(**nothing))
    assert len(page) < 100_000  # nothing to turn, so no plotly.js
    read = Reader(page)
    assert [heading for heading in read.headings if heading] == [
        "How well does it fit?",
        "How sure are we?",
        "What to do next?",
        "What was analysed, and how?",
    ]
    assert "Of what this report was asked, nothing is left open" in read.text
    asked = "Is it stable at its learning rate?"
    assert f"This report was not asked: {asked} lla stability runs/net.pt" in read.text


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
    assert "lla stability 'runs/my net.pt' --lr 0.036" in found
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
    report = build.report(stability=build.stability(**build.calm()))
    assert [step.command for step in steps(report)] == [""]
    assert steps(report)[0].text.startswith("Nothing is left open")


def test_an_advised_command_asks_the_same_question():
    """What the command line gave the same analysis stands in the advised command, and no more."""
    stated = {
        "spectrum.steps": (80, "command line"),
        "spectrum.max_probes": (200, "command line"),  # what the advice raises
        "spectrum.eigenvectors": (True, "command line"),
        "spectrum.largest": (3, "recipe"),  # which says so again
        "landscape.points": (9, "command line"),
    }
    configuration: dict = {}
    for path, (value, _) in stated.items():
        section, _, key = path.partition(".")
        configuration.setdefault(section, {})[key] = value
    report = build.report(
        spectrum=build.spectrum(trace=build.sampled(17.0, converged=False)),
        stability=build.stability(lr=None),
    )
    provenance = {
        **report.provenance,
        "configuration": configuration,
        "origins": {path: origin for path, (_, origin) in stated.items()},
        "command": ["lla", "analyze", "runs/net.pt", "--seed", "7"],
    }
    found = commands(replace(report, provenance=provenance))
    wanted = "lla spectrum runs/net.pt --seed 7 --steps 80 --eigenvectors --max-probes 800"
    assert wanted in found
    assert "lla stability runs/net.pt --seed 7 --lr LEARNING_RATE" in found
    provenance["command"] = ["lla", "analyze", "runs/net.pt", "--set", "spectrum.steps=80"]
    found = commands(replace(report, provenance=provenance))
    assert (
        "lla spectrum runs/net.pt --set spectrum.steps=80 --eigenvectors --max-probes 800" in found
    )


_STATING = ("Model and data", "Training, for stability", "Computation", "Many ranks, by torchrun")


def test_every_option_that_states_the_problem_is_repeated():
    for setting in options.SETTINGS:
        if setting.panel in _STATING:
            assert setting.name in PROBLEM, setting.name


def test_the_most_pressing_comes_first():
    trace = build.sampled(17.0, converged=False)
    found = commands(build.report(spectrum=build.spectrum(trace=trace)))
    assert found[0] == "lla stability runs/net.pt --lr 0.036"
    assert found.index("lla spectrum runs/net.pt --max-probes 800") > 0


@pytest.mark.parametrize(
    ("verdicts", "answer"),
    [
        (("violated", "consistent", "not_applicable"), "No: at the learning rate 0.1"),
        (("at_edge", "inconclusive", "consistent"), "It is at the edge: at the learning rate 0.1"),
        (("inconclusive", "consistent", "consistent"), "Not decided: at the learning rate 0.1"),
        (("consistent", "consistent", "not_applicable"), "Yes, as far as is known: at the"),
        (("not_applicable",) * 3, "That cannot be told at the learning rate 0.1"),
    ],
)
def test_the_answer_on_stability_follows_from_the_verdicts(verdicts, answer):
    judged = tuple(Verdict(f"stability.{n}", v, "why") for n, v in enumerate(verdicts))
    result = build.stability(verdicts=judged)
    (section,) = stability.sections(result)
    assert section.lead.startswith(answer)
    assert section.outcome == verdicts[0]
    if verdicts[1:] == ("consistent", "not_applicable"):
        assert "2 of 3 known conditions apply here, and" in section.lead


@pytest.mark.parametrize(
    ("rate", "text"), [(0.9973, "0.99"), (0.036, "0.036"), (1234.5, "1.2e+03")]
)
def test_a_safe_rate_is_never_rounded_up(rate, text):
    assert stability._rounded_down(rate) == text


@pytest.mark.parametrize(
    ("smallest", "words"),
    [(-1.0, "not a minimum in every direction"), (1.0, "No direction bends"), (0.0, "not decided")],
)
def test_whether_a_direction_bends_down_is_read_from_the_interval(smallest, words):
    (sharp, _) = words_spectrum.sections(build.spectrum(lambda_min=build.certified(smallest)))
    assert words in sharp.lead


def test_sureness_tells_what_it_rests_on():
    read = Reader(html(build.report(stability=None, saliency=None)))
    # lambda_max 10 ± 0.01 and trace 17 ± 0.5, by their definition.
    assert "λ max ± 0.1 % and trace of the Hessian ± 2.9 %" in read.text


def test_a_stage_without_a_result_keeps_its_question():
    stages = {
        "saliency": Stage("not_applicable", 0.1, why="the inputs are no images"),
        "landscape": Stage("failed", 0.1, why="ValueError: <b>no</b>"),
    }
    page = html(replace(build.report(saliency=None, landscape=None), stages=stages))
    assert "The question does not apply here: the inputs are no images." in Reader(page).text
    assert "the analysis broke" in page
    assert "<b>no</b>" not in page
