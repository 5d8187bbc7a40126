"""Figures of reports over each other: what they draw is what the reports hold."""

from dataclasses import replace

import numpy as np
import pytest
from lla_plots.compare import figures

import lla
from tests.comparing.test_comparison import report, sharper
from tests.plots import build
from tests.plots.build import texts


def drawn(*others, first=None):
    reference = first or report()
    return figures([lla.compare(reference, other) for other in others])


def test_one_figure_for_what_both_have() -> None:
    assert set(drawn(report("b.pt"))) == {"changes", "spectra", "layers", "cuts"}
    assert set(drawn(report("b.pt", landscape=None))) == {"changes", "spectra", "layers"}
    assert "spectra" not in drawn(report("b.pt", spectrum=None))
    bare = dict.fromkeys(("spectrum", "stability", "landscape", "saliency"))
    assert set(drawn(report("b.pt", **bare), first=report(**bare))) <= {"changes"}


def test_spectra_have_one_smoothing_and_keep_their_mass() -> None:
    """Each curve integrates to 1, whatever its own report's smoothing was."""
    density = build.spectrum().density
    other = build.spectrum(density=replace(density, width=build.exact(0.001)))
    figure = drawn(report("b.pt", spectrum=other))["spectra"]
    above = figure.axes[0]
    curves = [line for line in above.lines if len(line.get_xdata()) > 100]
    assert len(curves) == 2
    for curve in curves:
        x, y = curve.get_data()
        assert np.trapezoid(y, x) == pytest.approx(1.0, abs=1e-3)
        # The node at 10 has 3 % of the weight, mean over probes.
        near = np.abs(x - 10) < 1
        assert np.trapezoid(y[near], x[near]) == pytest.approx(0.03, rel=1e-2)
    assert np.array_equal(curves[0].get_ydata(), curves[1].get_ydata())
    assert curves[0].get_linestyle() != curves[1].get_linestyle()
    lanes = [set(line.get_xdata()) for line in figure.axes[1].lines]
    assert {10.0, -1.0} in lanes  # converged
    assert {4.0} in lanes  # not converged, drawn hollow


def test_layers_are_matched_by_name() -> None:
    layers = replace(build.spectrum().layers, names=("second", "third"))
    figure = drawn(report("b.pt", spectrum=build.spectrum(layers=layers)))["layers"]
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["first", "second", "third"]
    bars = {(round(bar.get_y() + bar.get_height() / 2), bar.get_width()) for bar in axes.patches}
    assert bars == {(0, 12.0), (1, 5.0), (1, 12.0), (2, 5.0)}


def test_changes_are_multiples_of_the_reference() -> None:
    figure = drawn(report("b.pt", spectrum=sharper(5)))["changes"]
    (axes,) = figure.axes
    names = [text.get_text() for text in axes.get_yticklabels()]
    row = names.index("hessian/lambda_max")
    (dot,) = [
        line
        for line in axes.lines
        if len(line.get_ydata()) == 1 and line.get_ydata()[0] == row and line.get_marker() == "o"
    ]
    assert dot.get_xdata()[0] == pytest.approx(1.5)
    assert dot.get_markerfacecolor() != "white"
    assert "hessian/lambda_min" not in names  # negative: no multiple to draw
    assert "a.h5" in texts(figure)


def test_the_footer_says_which_checkpoints_and_what_they_share() -> None:
    for figure in drawn(report("b.pt", seed=7)).values():
        text = " ".join(texts(figure).split())
        assert "a.h5: seed 0" in text
        assert "b.h5: seed 7" in text
        assert text.count("0123456789ab") == 1


def test_many_reports_are_a_sequence_of_colours() -> None:
    others = [report(f"e{index}.pt", spectrum=sharper(index)) for index in range(9)]
    figure = drawn(*others)["spectra"]
    curves = [line for line in figure.axes[0].lines if len(line.get_xdata()) > 100]
    assert len({line.get_color() for line in curves}) == 10
