import math
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from lla_plots import landscape, saliency, spectrum, stability
from lla_plots.style import OUTCOME_COLORS, drawn_at
from matplotlib.colors import to_hex

from tests.plots import build
from tests.plots.build import CAPTION, texts


def test_stability_shows_limits_rate_and_verdicts():
    figure = stability.figures(build.stability(), CAPTION)["stability"]
    figure.canvas.draw()
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    said = texts(figure)
    for words in ("consistent", "violated", "not applicable", "inconclusive", "at the edge"):
        assert words in said
    assert "the one in use: 0.1" in said
    assert "limit with its interval" in said
    assert "stable up to 0.05" in said
    assert "any learning rate" in said
    assert "why c" in said  # the reason of the condition that does not apply
    upright = [line for line in axes.lines if list(line.get_xdata()) == [0.1, 0.1]]
    assert len(upright) == 1
    colors = {text.get_text().partition(":")[0]: to_hex(text.get_color()) for text in axes.texts}
    assert colors["violated"] == OUTCOME_COLORS["violated"].lower()
    assert colors["not applicable"] == OUTCOME_COLORS["not_applicable"].lower()
    # In grey the marks differ: full, crossed, square; what does not apply would be hollow.
    marks = {line.get_marker(): list(line.get_xdata()) for line in axes.lines}
    assert (marks["o"], marks["X"], marks["s"]) == ([0.2], [0.05], [0.1])
    ends = [list(line.get_xdata()) for line in axes.lines if line.get_linewidth() == 2.2]
    assert ends[:2] == [[0.19, 0.21], [0.04, 0.06]]
    # The interval of the batch sharpness is open above: an arrow at the edge.
    assert marks[">"] == [axes.get_xlim()[1]]


def test_stability_without_a_learning_rate_says_so():
    figure = stability.figures(build.stability(lr=None), CAPTION)["stability"]
    figure.canvas.draw()
    assert "pass --lr" in texts(figure)
    assert "in use" not in texts(figure)


def test_stability_without_any_number_is_drawn():
    plain = build.stability(lr=None)
    nothing = np.full(5, math.nan)
    conditions = replace(plain.conditions, max_lr=nothing, low=nothing, high=nothing)
    figure = stability.figures(replace(plain, conditions=conditions), CAPTION)["stability"]
    figure.canvas.draw()
    assert texts(figure).count("no limit known") == 5


def test_saliency_shows_images_maps_and_classes():
    figure = saliency.figures(build.saliency(), CAPTION)["saliency"]
    said = texts(figure)
    assert said.count("pred. 7") == 3
    assert "pred. 7, is 4" in said
    assert said.count("constant\nmap") == 2
    assert {"input", "overlay", "a", "b"} <= set(said.split("\n"))
    assert sum(len(axes.images) for axes in figure.axes) == 3 * 5
    assert "correlate at 0.5000 [0.4000, 0.6000]" in said


def test_saliency_stops_at_sixteen_images():
    figure = saliency.figures(build.saliency(count=20), CAPTION)["saliency"]
    assert texts(figure).count("pred. 7") == 16
    assert "16 of 20 images" in texts(figure)


def test_saliency_of_a_text_model_is_empty():
    assert saliency.figures(build.no_saliency(), CAPTION) == {}


def test_saliency_without_classes_or_combination():
    bare = build.saliency(predicted=None, targets=None, combined=None)
    assert "pred. 7" not in texts(saliency.figures(bare, CAPTION)["saliency"])


@pytest.mark.parametrize("width", [85.0, 180.0])
def test_saliencys_further_figures(width):
    result = build.saliency(**build.saliency_checks())
    with drawn_at(width):
        found = saliency.figures(result, CAPTION)
    assert list(found) == [
        "saliency",
        "saliency_checks",
        "saliency_classes",
        "saliency_pairs",
        "saliency_curvature",
        "saliency_samples",
    ]
    said = {name: texts(figure) for name, figure in found.items()}
    assert all(CAPTION in text.replace("\n", " ") for text in said.values())
    curves, weights = found["saliency_checks"].axes
    labels = build.lines(curves)
    np.testing.assert_array_equal(labels["taken away"].get_ydata(), result.curves.deletion)
    np.testing.assert_array_equal(labels["given"].get_ydata(), result.curves.insertion)
    beyond = build.lines(weights)["beyond the image's outlines"]
    np.testing.assert_array_equal(beyond.get_ydata(), result.randomization.beyond)
    assert [tick.get_text() for tick in weights.get_xticklabels()] == ["none", "…head", "…conv"]
    # One input and a map for each class, for each of three images; the explained one framed.
    cells = [axes for axes in found["saliency_classes"].axes if axes.images]
    assert len(cells) == 9
    assert sum(bool(axes.patches) for axes in cells) == 3
    np.testing.assert_array_equal(cells[2].images[0].get_array(), result.sheet.maps[0, 1])
    # Signed maps lie around zero, whatever their own range.
    signed = [
        axes.images[0]
        for axes in found["saliency_curvature"].axes
        if axes.images and axes.images[0].get_cmap().name == "RdBu_r"
    ]
    assert len(signed) == 6
    for image in signed:
        low, high = image.get_clim()
        assert low == -high == -float(np.abs(image.get_array()).max())
    assert "is 1" in said["saliency_samples"]
    assert "4, pred. 5" in said["saliency_samples"]
    assert "scaling\nsum" in said["saliency_pairs"]


def test_the_page_says_what_saliency_maps_are_worth():
    from lla_plots.words.saliency import sections

    result = build.saliency(**build.saliency_checks())
    first, worth, sharp = sections(result)
    assert [shown.name for shown in first.figures] == [
        "saliency",
        "saliency_classes",
        "saliency_pairs",
    ]
    assert "no more than maps of untrained networks have in common" in worth.lead
    assert "falls sooner than in a random order" in worth.lead
    assert "sharpest tenth of them has 22 %" in sharp.lead
    kept = build.saliency(
        **build.saliency_checks() | {"randomized_beyond": build.sampled(0.6, 0.1)}
    )
    assert "more than maps of untrained networks have in common" in sections(kept)[1].lead
    assert "no more" not in sections(kept)[1].lead
    assert len(sections(build.saliency())) == 1


def test_every_figure_carries_its_caption():
    for module in (spectrum, landscape, stability, saliency):
        result = getattr(build, module.__name__.rpartition(".")[2])()
        for figure in module.figures(result, CAPTION).values():
            assert CAPTION in texts(figure).replace("\n", " ")


def test_the_users_style_neither_matters_nor_changes():
    with mpl.rc_context({"font.size": 30.0, "axes.facecolor": "red"}):
        figure = spectrum.figures(build.spectrum(), CAPTION)["spectrum"]
        assert mpl.rcParams["font.size"] == 30.0
    assert to_hex(figure.axes[0].get_facecolor()) == "#ffffff"
    assert figure.axes[0].xaxis.label.get_fontsize() == 8.5


def test_a_dollar_in_a_caption_starts_no_formula():
    figure = stability.figures(build.stability(), "cost $x_{ and $y")["stability"]
    figure.canvas.draw()
    names = {"$x_{ and $y": build.saliency().maps["a"]}
    saliency.figures(build.saliency(maps=names), CAPTION)["saliency"].canvas.draw()
