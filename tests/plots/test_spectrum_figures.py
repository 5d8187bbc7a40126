import math
from dataclasses import replace

import numpy as np
import pytest
from lla_plots import spectrum
from matplotlib.colors import to_hex

from lla.analyses.spectrum import Layers
from lla.estimate import Estimate, Label
from tests.plots import build
from tests.plots.build import CAPTION, lines, texts


def test_spectrum_names_its_ends_and_tells_open_eigenvalues():
    figure = spectrum.figures(build.spectrum(), CAPTION)["spectrum"]
    said = texts(figure)
    assert "= 10.00 [9.99, 10.01]" in said
    assert "= -1.000 [-1.010, -0.990]" in said
    assert "eigenvalue of the Hessian (loss units)" in said
    assert "1 eigenvalue has not converged (hollow)" in said
    marks = {bars.get_label(): bars for bars in figure.axes[0].containers}
    assert list(marks["eigenvalue ± residual"].lines[0].get_xdata()) == [10.0, -1.0]
    hollow, _, (residual,) = marks["not converged ± residual"].lines
    assert list(hollow.get_xdata()) == [4.0]
    assert to_hex(hollow.get_markerfacecolor()) == "#ffffff"
    assert residual.get_segments()[0][:, 0].tolist() == [3.5, 4.5]
    assert figure.axes[0].get_yscale() == "log"


def test_density_and_band_are_the_reports_own():
    result = build.spectrum()
    axes = spectrum.figures(result, CAPTION)["spectrum"].axes[0]
    density, floor = result.density, axes.get_ylim()[0]
    curve = lines(axes)["density, mean over probes"]
    seen = density.density > floor
    assert curve.get_xdata() == pytest.approx(density.eigenvalue)
    assert curve.get_ydata()[seen] == pytest.approx(density.density[seen])
    (band,) = [item for item in axes.collections if item.get_label().startswith("interval of")]
    peak = int(np.argmax(density.density))
    at_peak = band.get_paths()[0].vertices
    at_peak = at_peak[np.isclose(at_peak[:, 0], density.eigenvalue[peak]), 1]
    assert at_peak.min() == pytest.approx(density.low[peak])
    assert at_peak.max() == pytest.approx(density.high[peak])


def test_the_matrix_is_named_that_was_analysed():
    fisher = build.spectrum(operator=Label("ggn", "generalized Gauss–Newton matrix"))
    said = "".join(map(texts, spectrum.figures(fisher, CAPTION).values()))
    assert "eigenvalue of the generalized Gauss–Newton matrix" in said
    assert "Hessian" not in said


@pytest.mark.parametrize(("largest", "decades"), [(10.0, 3), (1e4, 6)])
def test_the_bulks_axis_goes_down_until_mass_is_outside_of_its_middle(largest, decades):
    plain = build.spectrum()
    nodes = np.array([[-0.5, 0.02, 3.0, largest]] * 2)
    density = replace(plain.density, nodes=nodes, weights=np.array([[0.1, 0.8, 0.005, 0.001]] * 2))
    if largest == 1e4:
        density = replace(density, weights=np.array([[0.0, 0.999, 0.0005, 0.0005]] * 2))
    result = replace(
        plain,
        density=density,
        eigenvalues=np.array([largest]),
        residuals=np.zeros(1),
        converged=np.ones(1, dtype=bool),
    )
    bulk = spectrum.figures(result, CAPTION)["spectrum"].axes[1]
    threshold = bulk.xaxis.get_transform().linthresh
    assert threshold == pytest.approx(largest * 10.0**-decades, rel=1e-6)


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
    figure = spectrum.figures(build.spectrum(), CAPTION)["layers"]
    traces, largest = figure.axes
    assert [bar.get_width() for bar in traces.patches] == [12.0, 5.0]
    assert {"70.6 %", "29.4 %"} <= {text.get_text() for text in traces.texts}
    assert [label.get_text() for label in traces.get_yticklabels()] == ["first", "second"]
    segments = [line.tolist() for line in traces.collections[0].get_segments()]
    assert segments == [[[11.0, 0.0], [13.0, 0.0]], [[4.5, 1.0], [5.5, 1.0]]]
    assert list(largest.lines[-2].get_xdata()) == [8.0, 3.0]
    bounds = [line[:, 0].tolist() for line in largest.collections[0].get_segments()]
    assert bounds == [[7.5, 8.5], [2.5, 3.5]]
    assert "interval, or bounds" in texts(figure)
    assert all("(loss units)" in axes.get_xlabel() for axes in figure.axes)


def test_a_layers_interval_that_leaves_the_axis_ends_in_an_arrow():
    layers = replace(build.spectrum().layers, high=np.array([13.0, 1e6]))
    traces = spectrum.figures(build.spectrum(layers=layers), CAPTION)["layers"].axes[0]
    (arrow,) = [line for line in traces.lines if line.get_marker() == ">"]
    assert list(arrow.get_ydata()) == [1]
    assert arrow.get_xdata()[0] == traces.get_xlim()[1] < 100


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
    assert len(axes.patches) == 30
    assert "20 with the smallest traces left out" in texts(axes.figure)
    assert axes.get_yticklabels()[0].get_text() == "layer20"
