"""Figures look as they did when somebody last looked at them: ``make golden`` draws them anew."""

import matplotlib
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection, QuadMesh
from matplotlib.contour import ContourSet
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon, Rectangle

from tests.plots import golden

drawn_alike = pytest.mark.skipif(
    not matplotlib.__version__.startswith(golden.DRAWN_WITH),
    reason=f"the pictures were drawn with matplotlib {golden.DRAWN_WITH}",
)


@drawn_alike
@pytest.mark.parametrize("name", list(golden.names()))
def test_a_figure_looks_as_it_did(name):
    distance = golden.distance(golden.picture(golden.figure(name)), golden.golden(name))
    assert distance <= golden.TOLERANCE, f"look at it, and then: make golden ({distance} pixels)"


def test_the_pictures_are_those_of_the_figures_and_small():
    files = {path.stem: path.stat().st_size for path in golden.FOLDER.glob("*.png")}
    assert files.keys() == golden.names().keys()
    assert sum(files.values()) < 500_000


def first(kind, panel=0, label=""):
    """How to find an artist of a kind in a panel of a figure."""

    def find(figure):
        found = figure.axes[panel].findobj(
            lambda artist: isinstance(artist, kind) and str(artist.get_label()).startswith(label)
        )
        return found[0]

    return find


def by_id(name):
    """How to find an artist of the first panel by its id."""

    def find(figure):
        return next(line for line in figure.axes[0].lines if line.get_gid() == name)

    return find


MISSING = {
    "spectrum-band": ("spectrum", first(PolyCollection, 0, "interval")),
    "spectrum-density": ("spectrum", first(Line2D, 0, "density")),
    "spectrum-residual": ("spectrum", lambda figure: figure.axes[0].containers[1].lines[2][0]),
    "spectrum-bulk-bar": ("spectrum", lambda figure: figure.axes[1].patches[0]),
    "spectrum-bulk-range": ("spectrum", first(LineCollection, 1)),
    "spectrum-legend": ("spectrum", lambda figure: figure.axes[0].get_legend()),
    "spectrum-column-band": ("spectrum_column", first(PolyCollection, 0, "interval")),
    "layers-bar": ("layers", first(Rectangle)),
    "layers-interval": ("layers", first(LineCollection)),
    "layers-largest": ("layers", lambda figure: figure.axes[1].lines[-2]),
    "layers-legend": ("layers", lambda figure: figure.legends[0]),
    "stability-stable": ("stability", first(PolyCollection)),
    "stability-rate": ("stability", lambda figure: figure.axes[0].lines[-1]),
    "stability-interval": ("stability", lambda figure: figure.axes[0].lines[1]),
    "landscape-mesh": ("landscape", first(QuadMesh)),
    "landscape-contours": ("landscape", first(ContourSet)),
    "landscape-checkpoint": ("landscape", first(Line2D, 0, "checkpoint")),
    "landscape-holes": ("landscape", lambda figure: figure.axes[0].patch),
    "contour-lines": ("landscape_contour", first(ContourSet)),
    "contour-radius": ("landscape_contour", lambda figure: figure.axes[0].lines[0]),
    "surface-sheet": ("surface", lambda figure: figure.axes[0].collections[-1]),
    "cuts-loss": ("landscape_cuts", first(Line2D, 0, "loss")),
    "cuts-model": ("landscape_cuts", first(Line2D, 1, "quadratic")),
    "cuts-radius": ("landscape_cuts", first((Rectangle, Polygon), 0, "model")),
    "cuts-legend": ("landscape_cuts", lambda figure: figure.legends[0]),
    "marks-way": ("landscape_marks", by_id("trajectory")),
    "marks-minima": ("landscape_marks", by_id("minima")),
    "marks-saddle": ("landscape_marks", by_id("saddles")),
    "lines-loss": ("landscape_lines", lambda figure: figure.axes[0].lines[0]),
    "lines-model": ("landscape_lines", lambda figure: figure.axes[1].lines[1]),
    "lines-further-data": ("landscape_lines_column", lambda figure: figure.axes[3].lines[2]),
    "lines-metric": ("landscape_lines_margin", lambda figure: figure.axes[2].lines[0]),
    "metric-mesh": ("landscape_margin", first(QuadMesh)),
    "path-line": ("landscape_path", lambda figure: figure.axes[0].lines[0]),
    "path-curve": ("landscape_path", lambda figure: figure.axes[0].lines[1]),
    "panel-plane": ("landscape_panel", first(QuadMesh, 1)),
    "panel-contours": ("landscape_panel", first(ContourSet, 2)),
    "band-quantile": ("landscape_band", first(QuadMesh, 2)),
    "alignment-matrix": ("alignment", lambda figure: figure.axes[0].images[0]),
    "alignment-noise": ("alignment", lambda figure: figure.axes[0].lines[-1]),
    "alignment-column-matrix": ("alignment_column", lambda figure: figure.axes[1].images[0]),
    "domains-points": ("alignment_domains", lambda figure: figure.axes[0].lines[-1]),
    "domains-interval": ("alignment_domains", first(LineCollection, 1)),
    "reliability-bars": ("reliability", lambda figure: figure.axes[0].containers[1][-1]),
    "reliability-diagonal": ("reliability", lambda figure: figure.axes[0].lines[0]),
    "saliency-overlay": ("saliency", lambda figure: figure.axes[1].images[1]),
    "checks-curve": ("saliency_checks", first(Line2D, 0, "given")),
    "checks-band": ("saliency_checks", first(PolyCollection, 1)),
    "checks-column-weights": ("saliency_checks_column", lambda figure: figure.axes[1].lines[1]),
    "classes-frame": ("saliency_classes", lambda figure: figure.axes[2].patches[0]),
    "pairs-map": ("saliency_pairs", lambda figure: figure.axes[1].images[0]),
    "curvature-map": ("saliency_curvature", lambda figure: figure.axes[1].images[0]),
    "samples-image": ("saliency_samples", lambda figure: figure.axes[1].images[0]),
    "series-rate": ("stability_series", lambda figure: figure.axes[0].lines[-1]),
    "series-loss": ("stability_series", lambda figure: figure.axes[1].lines[0]),
    "summary-density": ("summary", first(Axes)),
}


@pytest.mark.long
@drawn_alike
@pytest.mark.parametrize("what", list(MISSING))
def test_a_figure_that_lacks_something_is_told(what):
    name, find = MISSING[what]
    figure = golden.figure(name)
    lost = find(figure)
    lost.set_visible(False)
    try:
        assert golden.distance(golden.picture(figure), golden.golden(name)) > golden.TOLERANCE
    finally:
        lost.set_visible(True)
