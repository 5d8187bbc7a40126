import os
import re
from dataclasses import replace

import matplotlib.pyplot as plt
import pytest
from lla_plots import summary
from lla_plots.draw import draw, render, save
from matplotlib.text import Text
from PIL import Image

from lla.errors import ConfigurationError, ReportError
from lla.estimate import Verdict
from tests.plots import build
from tests.plots.build import texts

ALL = [
    "spectrum",
    "layers",
    "stability",
    "stability_batches",
    "sharpness",
    "landscape",
    "landscape_contour",
    "surface",
    "landscape_cuts",
    "saliency",
    "summary",
]


def test_all_figures_in_order():
    assert list(draw(build.report())) == ALL
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("only", "names"),
    [
        (("landscape",), ["landscape", "landscape_contour", "surface", "landscape_cuts"]),
        (("surface", "layers"), ["layers", "surface"]),
        (("summary",), ["summary"]),
        (("baseline",), []),
    ],
)
def test_only_what_is_asked_for(only, names):
    assert list(draw(build.report(), only)) == names


def test_missing_results_leave_out_their_figures():
    report = build.report(saliency=build.no_saliency(), landscape=None)
    names = ["spectrum", "layers", "stability", "stability_batches", "sharpness", "summary"]
    assert list(draw(report)) == names


def test_the_summary_answers_the_questions_of_a_reader():
    figure = summary.figure(build.report())
    said = texts(figure)
    for heading in (
        "How sharp is it?",
        "How sure are we?",
        "Is it stable at its learning rate?",
        "Which layers carry the curvature?",
        "What does the loss look like around it?",
        "What to do next",
    ):
        assert heading in said
    assert "hessian/lambda_max" in said
    assert "17.00 [16.50, 17.50]  95 %" in said
    assert "20.00 [19.50, 20.50]  95 %*" in said
    assert "* not converged" in said
    assert "mainly positive" in said
    for words in ("violated: b", "inconclusive: d", "not applicable: c", "why b"):
        assert words in said
    assert "1. Lower the learning rate" in said
    labels = {axes.get_xlabel() for axes in figure.axes}
    assert "eigenvalue of the Hessian (loss units)" in labels
    assert "trace (loss units), interval; share" in labels


def test_the_summary_is_a_page_of_a4_and_ends_with_what_it_says():
    for missing in ((), ("spectrum", "landscape"), ("spectrum", "stability", "landscape")):
        figure = summary.figure(build.report(**dict.fromkeys(missing)))
        width, height = figure.get_size_inches() * 25.4
        assert width == pytest.approx(210)
        assert height <= 297 + 1e-6
        figure.canvas.draw()
        renderer = figure.canvas.get_renderer()
        lowest = min(text.get_window_extent(renderer).y0 for text in figure.texts)
        highest = max(text.get_window_extent(renderer).y1 for text in figure.texts)
        assert 0.3 < lowest / figure.dpi < (0.6 if missing else 2.0)
        assert 0.4 < height / 25.4 - highest / figure.dpi < 0.7
    assert height < 200


def test_a_page_that_is_cut_keeps_its_plots_where_they_were():
    tall = build.report(stability=None, saliency=None, sharpness=None)
    figure = summary.figure(tall)
    figure.canvas.draw()
    (label,) = [axes for axes in figure.axes if "eigenvalue of" in axes.get_xlabel()]
    box = label.get_position()
    _, height = figure.get_size_inches()
    assert height < 297 / 25.4 - 1
    assert (1 - box.y1) * height == pytest.approx(0.5 + 0.32 + 0.02 + 0.42, abs=0.25)
    assert box.height * height == pytest.approx(1.6 - 0.42)


def test_conditions_that_say_the_same_share_a_line_of_the_summary():
    made = build.stability()
    nine = tuple(Verdict(f"stability.c{n}", "not_applicable", "batch norm") for n in range(9))
    one = Verdict("stability.hurt", "violated", "too large")
    report = build.report(stability=replace(made, verdicts=(*nine, one)))
    figure = summary.figure(report)
    said = texts(figure)
    assert said.count("batch norm") == 1
    for n in range(9):
        assert f"c{n}" in said
    assert said.index("violated: hurt") < said.index("not applicable: c0")
    # What they leave free is the plane's.
    assert any("α (parameter norm)" in axes.get_xlabel() for axes in figure.axes)


def test_the_summary_says_what_has_no_place_of_its_own():
    only = dict.fromkeys(("spectrum", "stability", "landscape"))
    said = texts(summary.figure(build.report(**only)))
    assert "The largest rise of the loss that ascent found" in said
    assert "What did the network look at?" in said
    assert "This report was not asked: What did the network look at?" not in said


def test_the_summarys_text_and_plots_stay_on_the_page():
    verdicts = build.stability()
    many = verdicts.__class__(**{**vars(verdicts), "verdicts": verdicts.verdicts * 2})
    figure = summary.figure(build.report("runs/" + "long-name," * 40 + ".pt", stability=many))
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    for text in figure.texts:
        box = text.get_window_extent(renderer)
        assert figure.bbox.x0 <= box.x0, text.get_text()
        assert box.x1 <= figure.bbox.x1, text.get_text()
        assert box.y0 >= 0, text.get_text()
    places = [axes.get_position() for axes in figure.axes]
    assert all(place.y0 > 0.02 for place in places)


def test_the_summary_of_a_bare_report():
    nothing = dict.fromkeys(("spectrum", "stability", "sharpness", "landscape", "saliency"))
    figure = summary.figure(build.report(**nothing))
    render(figure, dpi=50)
    assert "loss/value" in texts(figure)


def test_saved_files_are_whole_and_repeat(tmp_path):
    report = build.report()
    first = save(report, tmp_path / "a", ("png", "svg", "pdf"), only=("saliency",))
    second = save(report, tmp_path / "b", ("png", "svg", "pdf"), only=("saliency",))
    assert [path.name for path in first] == ["saliency.png", "saliency.svg", "saliency.pdf"]
    starts = (b"\x89PNG", b"<?xml", b"%PDF")
    for one, other, start in zip(first, second, starts, strict=True):
        assert one.read_bytes().startswith(start)
        assert one.read_bytes() == other.read_bytes()
    assert len(os.listdir(tmp_path / "a")) == 3


def test_a_folder_that_cannot_be_is_an_error_of_ours(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="cannot be written"):
        save(build.report(), tmp_path / "file" / "folder", only=("saliency",))


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    (old,) = save(build.report(), tmp_path, only=("saliency",))
    before = old.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ReportError, match="No space left"):
        save(build.report(), tmp_path, only=("saliency",))
    assert old.read_bytes() == before
    assert os.listdir(tmp_path) == ["saliency.png"]


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_only_figures_of_ours_are_replaced(tmp_path, kind):
    report = build.report()
    save(report, tmp_path, (kind,), only=("saliency",))
    (ours,) = save(report, tmp_path, (kind,), only=("saliency",))
    figure = plt.Figure()
    figure.savefig(tmp_path / f"summary.{kind}")
    foreign = (tmp_path / f"summary.{kind}").read_bytes()
    ours.unlink()
    with pytest.raises(ReportError, match=f"summary.{kind} is there already, and no fig") as seen:
        save(report, tmp_path, (kind,), only=("saliency", "summary"))
    assert "another folder" in seen.value.remedy
    assert (tmp_path / f"summary.{kind}").read_bytes() == foreign
    assert os.listdir(tmp_path) == [f"summary.{kind}"]


def test_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "saliency.png").mkdir()
    with pytest.raises(ReportError, match="is a folder"):
        save(build.report(), tmp_path, only=("saliency",))


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="gif"):
        save(build.report(), tmp_path, ("gif",))
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(("width", "inches"), [("full", 180), ("column", 85), ("120mm", 120)])
def test_figures_have_the_width_that_is_asked_for(tmp_path, width, inches):
    (path,) = save(build.report(), tmp_path, ("png",), ("saliency",), width)
    with Image.open(path) as picture:
        assert picture.width / 200 * 25.4 == pytest.approx(inches, abs=0.2)


@pytest.mark.parametrize("width", ["wide", "", "5", "9000", "nan", "inf"])
def test_a_width_that_is_none_is_refused_before_anything_is_written(tmp_path, width):
    with pytest.raises(ConfigurationError, match="is no width"):
        save(build.report(), tmp_path / "figures", width=width)
    assert not os.listdir(tmp_path)


def test_text_is_large_enough_to_read_at_every_width():
    for width in (180.0, 85.0):
        for name, figure in draw(build.report(), width=width).items():
            for text in figure.findobj(Text):
                if text.get_text().strip() and text.get_visible():
                    assert text.get_fontsize() >= 6.0, (name, text.get_text())


def test_files_carry_title_and_digest_in_their_metadata(tmp_path):
    png, svg, pdf = save(build.report(), tmp_path, ("png", "svg", "pdf"), only=("saliency",))
    with Image.open(png) as picture:
        assert "sha256 0123456789ab" in picture.text["Description"]
        assert picture.text["Title"].startswith("Where the network looks: saliency maps")
    assert "sha256 0123456789ab" in svg.read_text()
    assert b"Where the network looks: saliency maps" in pdf.read_bytes()


def test_vector_files_bring_their_letters(tmp_path):
    svg, pdf = save(build.report(), tmp_path, ("svg", "pdf"), only=("saliency",))
    # Paths in the SVG: nothing to look for on the reader's machine.
    assert "<text" not in svg.read_text()
    assert "font-family" not in svg.read_text()
    fonts = re.findall(rb"/Subtype /(Type3|CIDFontType2|TrueType)", pdf.read_bytes())
    assert b"CIDFontType2" in fonts
    assert b"Type3" not in fonts
    assert b"/FontFile2" in pdf.read_bytes()


def test_letters_that_the_font_lacks_neither_warn_nor_stop(tmp_path):
    save(build.report("runs/模型.pt"), tmp_path, only=("stability", "summary"))
