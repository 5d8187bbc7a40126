import math
from dataclasses import replace

import numpy as np
import pytest
from lla_plots import landscape, plane
from matplotlib.collections import QuadMesh
from matplotlib.contour import ContourSet

from lla.estimate import Estimate
from tests.plots import build
from tests.plots.build import CAPTION, lines, texts


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
    assert "loss not finite" in said
    assert "loss" in said.split("\n")
    assert axes.patch.get_hatch()


def test_contours_lie_where_the_loss_has_their_level():
    figure = landscape.figures(build.landscape(), CAPTION)["landscape_contour"]
    (contours,) = figure.axes[0].findobj(ContourSet)
    assert len(contours.levels) >= 5
    # On the axis β = 0 the loss is 0.01 + 5 α²; the grid's steps of 1/6 bend the lines.
    for level, path in zip(contours.levels, contours.get_paths(), strict=True):
        crossing = path.vertices[np.abs(path.vertices[:, 1]) < 1e-9, 0]
        for alpha in crossing:
            assert 0.01 + 5 * alpha**2 == pytest.approx(level, abs=0.15)
    assert "quadratic model holds within 0.24" in texts(figure)


@pytest.mark.parametrize("name", ["landscape", "landscape_contour", "surface", "landscape_cuts"])
def test_a_failed_check_is_said_in_each_figure(name):
    wrong = build.landscape(center_error=build.exact(0.5))
    assert "check failed" in texts(landscape.figures(wrong, CAPTION)[name])
    right = build.landscape(center_error=build.exact(1e-7))
    assert "check failed" not in texts(landscape.figures(right, CAPTION)[name])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"center_error": Estimate.missing("no")}, "the centre was not checked: no"),
        ({"cosine": build.exact(0.2)}, "check failed: the directions are not orthogonal"),
        ({"curvature_alpha": build.certified(12.0)}, "check failed: along α"),
        ({"curvature_beta": build.certified(-1.2)}, "check failed: along β"),
        ({"curvature_alpha": build.certified(10.4)}, ""),
        ({"curvature_beta": build.sampled(5.0, converged=False)}, ""),
    ],
)
def test_each_check_is_said_where_it_failed(change, words):
    told = plane.warnings(build.landscape(**change))
    assert [line.startswith(words) for line in told] == [True] * bool(words)


def test_a_curvature_that_was_not_checked_is_said_beside_the_cuts():
    rough = build.landscape(curvature_beta=build.sampled(5.0, converged=False))
    said = texts(landscape.figures(rough, CAPTION)["landscape_cuts"]).replace("\n", " ")
    assert "the curvature along β was not checked" in said


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
        assert "(parameter norm)" in axes.get_xlabel()
        # Within the radius' lower end the model holds; up to its upper end it may.
        spans = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches]
        assert spans == [
            pytest.approx(ends) for ends in ((-0.24, 0.24), (-0.26, -0.24), (0.24, 0.26))
        ]
    model = lines(figure.axes[1])["quadratic model"]
    assert model.get_ydata()[0] == pytest.approx(0.01 - 0.5)
    # Within 0.24 lie α = ±1/6 and 0, where the model is exact.
    assert "model holds within 0.24 (off by ≤ 0)" in texts(figure)


def test_cuts_are_linear_until_the_loss_spans_three_decades():
    figure = landscape.figures(build.landscape(), CAPTION)["landscape_cuts"]
    assert figure.axes[0].get_yscale() == "linear"
    plain = build.landscape()
    steep = replace(plain.surface, loss=plain.surface.loss**3)
    figure = landscape.figures(replace(plain, surface=steep), CAPTION)["landscape_cuts"]
    assert figure.axes[0].get_yscale() == "log"


def test_a_radius_that_is_a_lower_bound_says_so():
    bound = build.landscape(quadratic_radius=Estimate(0.5, 0.5, math.inf, math.nan))
    figure = landscape.figures(bound, CAPTION)["landscape_cuts"]
    assert "model holds within at least 0.5" in texts(figure)
    assert len(figure.axes[0].patches) == 1


def test_cuts_without_a_radius_shade_nothing():
    missing = build.landscape(quadratic_radius=Estimate.missing("no"))
    assert not landscape.figures(missing, CAPTION)["landscape_cuts"].axes[0].patches


def test_a_plane_without_a_finite_point_is_hatched_and_says_so():
    plain = build.landscape()
    surface = replace(plain.surface, loss=plain.surface.loss * np.nan)
    (figure,) = landscape.figures(replace(plain, surface=surface), CAPTION).values()
    figure.canvas.draw()
    assert "63 of 63 points are not finite" in texts(figure)


def test_a_constant_loss_is_drawn():
    plain = build.landscape()
    surface = replace(plain.surface, loss=plain.surface.loss * 0 + 2.0)
    for figure in landscape.figures(replace(plain, surface=surface), CAPTION).values():
        figure.canvas.draw()
