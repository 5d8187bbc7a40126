"""Hard cases are drawn within the figure's edges, at both widths, without a warning."""

from types import SimpleNamespace

import numpy as np
import pytest
from lla_plots.draw import draw
from matplotlib.text import Text

from tests.plots import hard

SLACK = 2.0  # pixels at 100 per inch


@pytest.mark.parametrize("width", [180.0, 85.0])
@pytest.mark.parametrize("case", list(hard.CASES))
def test_nothing_leaves_the_figure_and_the_digest_is_in_it(case, width):
    for name, figure in draw(hard.report(case), list(hard.CASES[case]), width).items():
        assert figure.get_figheight() <= 297 / 25.4, name
        # However long the checkpoint's name is, the digest and the seed are there.
        (footer,) = [text for text in figure.texts if text.get_gid() == "footer"]
        assert "sha256 0123456789ab" in footer.get_text()
        assert "seed 0 · float32" in footer.get_text()
        figure.canvas.draw()
        renderer = figure.canvas.get_renderer()
        edges = figure.bbox.padded(SLACK)
        seen = [*figure.texts, *figure.legends, *(text for a in figure.axes for text in a.texts)]
        for item in seen:
            if isinstance(item, Text) and not (item.get_visible() and item.get_text().strip()):
                continue
            box = item.get_window_extent(renderer)
            inside = edges.x0 <= box.x0 <= box.x1 <= edges.x1 and edges.y0 <= box.y0 <= box.y1
            assert inside, (name, item, box)
        for axes in figure.axes:
            box = axes.get_tightbbox(renderer)
            if box is not None and axes.name != "3d":
                assert edges.x0 <= box.x0, (name, box)
                assert box.x1 <= edges.x1, (name, box)
                assert edges.y0 <= box.y0, (name, box)


def test_a_surface_with_holes_is_drawn_whatever_its_memory_held_before(monkeypatch):
    """mplot3d pads polygons with uninitialized memory, which may be anything."""

    numpy = SimpleNamespace(**{**vars(np), "empty": lambda shape: np.full(shape, 1e308)})
    monkeypatch.setattr("mpl_toolkits.mplot3d.art3d.np", numpy)
    cases = [name for name in hard.CASES if "holes" in name]
    assert cases
    for name in cases:
        for figure in draw(hard.report(name), list(hard.CASES[name]), 85.0).values():
            figure.canvas.draw()
