import math
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from lla_plots import landscape, saliency, spectrum, stability
from lla_plots.style import OUTCOME_COLORS
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_hex

from lla.analyses.spectrum import Layers
from lla.estimate import Estimate
from tests.plots import build
from tests.plots.build import CAPTION, texts


def lines(axes):
    return {line.get_label(): line for line in axes.lines}


def test_spectrum_names_its_ends_and_tells_open_eigenvalues():
    figure = spectrum.figures(build.spectrum(), CAPTION)["spectrum"]
    said = texts(figure)
    assert "= 10.00 [9.99, 10.01]" in said
    assert "= -1.000 [-1.010, -0.990]" in said
    assert "eigenvalue of the Hessian (loss units)" in said
    drawn = lines(figure.axes[0])
    assert list(drawn["eigenvalue, residual converged"].get_xdata()) == [10.0, -1.0]
    hollow = drawn["eigenvalue, residual not converged"]
    assert list(hollow.get_xdata()) == [4.0]
    assert to_hex(hollow.get_markerfacecolor()) == "#ffffff"
    assert figure.axes[0].get_yscale() == "log"


def test_the_bulk_shows_the_shares_of_the_quadrature():
    bulk = spectrum.figures(build.spectrum(), CAPTION)["spectrum"].axes[1]
    assert bulk.get_xscale() == "symlog"
    floor = bulk.get_ylim()[0]
    shares = {bar.get_x(): bar.get_height() + floor for bar in bulk.patches}
    assert sum(shares.values()) == pytest.approx(1.0, abs=1e-6)
    assert shares[-0.01] == pytest.approx(0.825)


def test_a_spectrum_without_curvature_is_drawn():
    flat = build.spectrum()
    density = flat.density
    density = replace(density, density=0 * density.density, nodes=0 * density.nodes)
    missing = Estimate.missing("the Hessian is zero")
    result = replace(flat, density=density, eigenvalues=np.zeros(3), lambda_min=missing)
    figure = spectrum.figures(result, CAPTION)["spectrum"]
    figure.canvas.draw()
    assert "no curvature" in texts(figure)


def test_layers_have_bars_shares_and_intervals():
    axes = spectrum.figures(build.spectrum(), CAPTION)["layers"].axes[0]
    assert [bar.get_width() for bar in axes.patches] == [12.0, 5.0]
    assert {"70.6 %", "29.4 %"} <= {text.get_text() for text in axes.texts}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "second"]


def test_layers_without_ends_or_values_are_drawn():
    nan, inf = math.nan, math.inf
    layers = Layers(
        ("a", "b"), np.array([1, 1]), np.array([1.0, nan]), np.array([-inf, nan]),
        np.array([inf, nan]), np.array([nan, nan]), *[np.array([1.0, nan])] * 3,
    )  # fmt: skip
    figure = spectrum.figures(build.spectrum(layers=layers), CAPTION)["layers"]
    figure.canvas.draw()
    assert "not known" in texts(figure)


def test_many_layers_leave_out_the_smallest():
    count = 50
    trace = np.arange(1.0, count + 1)
    names = tuple(f"layer{i}" for i in range(count))
    layers = Layers(
        names, np.ones(count), trace, trace, trace, trace / trace.sum(), trace, trace, trace
    )
    axes = spectrum.figures(build.spectrum(layers=layers), CAPTION)["layers"].axes[0]
    assert len(axes.patches) == 40
    assert "the 10 smallest left out" in axes.get_title(loc="left")
    assert axes.get_yticklabels()[0].get_text() == "layer10"


def test_the_landscape_marks_the_checkpoint_and_masks_holes():
    figure = landscape.figures(build.landscape(hole=True), CAPTION)["landscape"]
    axes = figure.axes[0]
    (mesh,) = [item for item in axes.collections if isinstance(item, QuadMesh)]
    assert np.ma.getmaskarray(mesh.get_array()).sum() == 2
    assert np.argwhere(np.ma.getmaskarray(mesh.get_array())).tolist() == [[1, 0], [2, 0]]
    assert (lines(axes)["checkpoint"].get_xdata()[0], lines(axes)["checkpoint"].get_ydata()[0]) == (
        0,
        0,
    )
    assert "λ = 10" in axes.get_xlabel()
    assert "λ = -1" in axes.get_ylabel()
    said = texts(figure)
    assert "2 of 63 points are not finite" in said
    assert "loss" in said.split("\n")


@pytest.mark.parametrize("name", ["landscape", "surface", "landscape_cuts"])
def test_a_failed_check_is_said_in_each_figure(name):
    wrong = build.landscape(center_error=build.exact(0.5))
    assert "check failed" in texts(landscape.figures(wrong, CAPTION)[name])
    right = build.landscape(center_error=build.exact(1e-7))
    assert "check failed" not in texts(landscape.figures(right, CAPTION)[name])


def test_the_surface_lies_over_the_whole_plane():
    figure = landscape.figures(build.landscape(), CAPTION)["surface"]
    axes = figure.axes[0]
    low, high = axes.get_zlim()
    assert axes.name == "3d"
    assert axes.collections
    for ends, span in ((axes.get_xlim(), 0.5), (axes.get_ylim(), 1.0)):
        assert ends[0] <= -span
        assert ends[1] >= span
    # The loss spans orders of magnitude: its logarithm is drawn, the contours well below it.
    assert low < math.log10(0.01) - 0.5
    assert high >= math.log10(4.26)
    assert "logarithmic" in texts(figure)


def test_cuts_show_loss_model_and_radius():
    figure = landscape.figures(build.landscape(), CAPTION)["landscape_cuts"]
    for axes, count in zip(figure.axes, (7, 9), strict=True):
        drawn = lines(axes)
        assert len(drawn["loss"].get_xdata()) == count
        assert axes.patches[0].get_width() == pytest.approx(0.5)
    model = lines(figure.axes[1])["quadratic model"]
    assert model.get_ydata()[0] == pytest.approx(0.01 - 0.5)
    assert "model holds to 0.25" in [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("radius", [Estimate.missing("no"), Estimate(math.inf, 0.1, math.inf)])
def test_cuts_without_a_radius_shade_nothing(radius):
    figure = landscape.figures(build.landscape(quadratic_radius=radius), CAPTION)["landscape_cuts"]
    assert not figure.axes[0].patches


def test_no_finite_point_gives_no_figures():
    plain = build.landscape()
    surface = replace(plain.surface, loss=plain.surface.loss * np.nan)
    assert landscape.figures(replace(plain, surface=surface), CAPTION) == {}


def test_a_constant_loss_is_drawn():
    plain = build.landscape()
    surface = replace(plain.surface, loss=plain.surface.loss * 0 + 2.0)
    for figure in landscape.figures(replace(plain, surface=surface), CAPTION).values():
        figure.canvas.draw()


def test_stability_shows_limits_rate_and_verdicts():
    figure = stability.figures(build.stability(), CAPTION)["stability"]
    figure.canvas.draw()
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    said = texts(figure)
    for words in ("consistent", "violated", "not applicable", "inconclusive", "at the edge"):
        assert words in said
    assert "in use: 0.1" in said
    assert "stable up to 0.05" in said
    assert "any learning rate" in said
    assert "why c" in said  # the reason of the condition that does not apply
    upright = [line for line in axes.lines if list(line.get_xdata()) == [0.1, 0.1]]
    assert len(upright) == 1
    colors = {text.get_text().strip(): to_hex(text.get_color()) for text in axes.texts}
    assert colors["violated"] == OUTCOME_COLORS["violated"].lower()
    assert colors["not applicable"] == OUTCOME_COLORS["not_applicable"].lower()


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
    assert said.count("predicted 7") == 3
    assert "predicted 7, is 4" in said
    assert said.count("constant\nmap") == 2
    assert {"combined", "a", "b"} <= set(said.split("\n"))
    shown = sum(len(axes.images) for part in figure.subfigs for axes in part.axes)
    assert shown == 3 * 5


def test_saliency_stops_at_eight_images():
    figure = saliency.figures(build.saliency(count=12), CAPTION)["saliency"]
    assert texts(figure).count("predicted 7") == 8


def test_saliency_of_a_text_model_is_empty():
    assert saliency.figures(build.no_saliency(), CAPTION) == {}


def test_saliency_without_classes_or_combination():
    bare = build.saliency(predicted=None, targets=None, combined=None)
    assert "input" in texts(saliency.figures(bare, CAPTION)["saliency"])


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
    assert figure.axes[0].xaxis.label.get_fontsize() == 9.0


def test_a_dollar_in_a_caption_starts_no_formula():
    figure = stability.figures(build.stability(), "cost $x_{ and $y")["stability"]
    figure.canvas.draw()
    names = {"$x_{ and $y": build.saliency().maps["a"]}
    saliency.figures(build.saliency(maps=names), CAPTION)["saliency"].canvas.draw()
