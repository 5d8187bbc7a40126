"""Small pictures of figures as they are meant to look, and how far a figure is from its own.

``make golden`` (``python -m tests.plots.golden``) draws them anew: look at each before committing.
"""

from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from lla_plots import courses, summary
from lla_plots.draw import draw, render
from lla_plots.style import drawn_at
from matplotlib.text import Text
from PIL import Image

from tests.plots import build, build_courses

FOLDER = Path(__file__).parent / "golden"
DPI = 72
# Another minor version of matplotlib has letters of another size, and the rest moves with them.
DRAWN_WITH = "3.11"
COLUMNS = ("spectrum", "layers", "stability", "alignment", "alignment_domains")
# Pixels that a mark may move by.
REACH = 1
# Of 255: what differs by less, after a blur of 3 by 3 pixels, looks the same.
VISIBLE = 24.0
# Side of a square, in pixels, and how many pixels in any such square may differ.
SQUARE = 12
TOLERANCE = 8


def report():
    return build.report(landscape=build.landscape(hole=True), align=build.alignment())


def checked():
    return build.saliency(**build.saliency_checks())


def watched():
    return build.stability(series=build.series())


# Figures that only some results have: the picture's name, the figure's, the result, and mm.
SOME = {
    "landscape_marks": ("landscape", build.wells, 180.0),
    "landscape_margin": ("landscape_margin", build.wells, 180.0),
    "landscape_lines": ("landscape_lines", build.lines_of_four, 180.0),
    "landscape_lines_column": ("landscape_lines", build.lines_of_four, 85.0),
    "landscape_lines_margin": ("landscape_margin", build.lines_of_four, 180.0),
    "landscape_path": ("landscape_path", build.way, 180.0),
    "landscape_panel": ("landscape_panel", build.beside, 180.0),
    "landscape_band": ("landscape_band", build.beside, 180.0),
    "saliency_checks": ("saliency_checks", checked, 180.0),
    "saliency_checks_column": ("saliency_checks", checked, 85.0),
    "saliency_classes": ("saliency_classes", checked, 180.0),
    "saliency_pairs": ("saliency_pairs", checked, 180.0),
    "saliency_curvature": ("saliency_curvature", checked, 180.0),
    "saliency_samples": ("saliency_samples", checked, 180.0),
    "stability_series": ("stability_series", watched, 180.0),
}

OF_BATCH = "courses"  # no figure of a report


@cache
def names():
    """Name of each golden picture, and the figure and the width that it is of."""
    wide = {name: (name, 180.0) for name in _drawn(report, "", 180.0)}
    narrow = {f"{name}_column": (name, 85.0) for name in COLUMNS}
    some = {name: (of, width) for name, (of, _, width) in SOME.items()}
    return {**wide, **narrow, **some, OF_BATCH: (OF_BATCH, 180.0)}


@cache
def _drawn(make, analysis, width):
    """All figures of a result, or of the report: one of them alone takes as long."""
    made = build.report(**{analysis: make()}) if analysis else make()
    return draw(made, (analysis,) if analysis else (), width)


@cache
def _summary():
    return summary.figure(build.report(landscape=build.landscape(hole=True)))


def figure(name):
    """The figure of a golden picture, drawn anew."""
    of, width = names()[name]
    if of == "summary":
        return _summary()
    if name == OF_BATCH:
        with drawn_at(width):
            return courses.figure(*build_courses.drawn())
    if name in SOME:
        return _drawn(SOME[name][1], of.partition("_")[0], width)[of]
    return _drawn(report, "", width)[of]


def picture(figure):
    """A figure's pixels without its letters, shape (y, x, 3).

    Letters take their room but are not seen: how they are rasterized differs between machines,
    and other tests read what they say.
    """
    figure.canvas.draw()
    for text in figure.findobj(Text):
        text.set_alpha(0.0)
    with Image.open(BytesIO(render(figure, dpi=DPI))) as image:
        return np.asarray(image.convert("RGB"), dtype=np.float64)


def golden(name):
    with Image.open(FOLDER / f"{name}.png") as image:
        return np.asarray(image.convert("RGB"), dtype=np.float64)


def distance(one, other):
    """How many pixels differ in the square where most do, from 0 to ``SQUARE``².

    Local, since what a figure lacks may be small; either way round, since nothing may be missing
    and nothing new. Pictures of different size have nothing in common.
    """
    if one.shape != other.shape:
        return SQUARE**2
    a, b = _blurred(one), _blurred(other)
    if np.abs(a - b).max() <= VISIBLE:  # alike in place: no need to look around
        return 0
    return max(_most(_missing(a, b)), _most(_missing(b, a)))


def _missing(shown, other):
    """Where a picture is unlike all pixels around in the other."""
    height, width = shown.shape[:2]
    around = np.pad(other, ((REACH, REACH), (REACH, REACH), (0, 0)), mode="edge")
    least = np.full((height, width), np.inf)
    for y in range(2 * REACH + 1):
        for x in range(2 * REACH + 1):
            moved = around[y : y + height, x : x + width]
            np.minimum(least, np.abs(shown - moved).max(axis=2), out=least)
    return least > VISIBLE


def _most(different):
    sums = np.pad(different.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    s = SQUARE
    return int((sums[s:, s:] - sums[:-s, s:] - sums[s:, :-s] + sums[:-s, :-s]).max())


def _blurred(picture):
    padded = np.pad(picture.astype(np.float32), ((1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = picture.shape[:2]
    return sum(padded[y : y + height, x : x + width] for y in range(3) for x in range(3)) / 9


def main():
    FOLDER.mkdir(exist_ok=True)
    for name in names():
        pixels = picture(figure(name)).astype(np.uint8)
        Image.fromarray(pixels).save(FOLDER / f"{name}.png", optimize=True)
        print(FOLDER / f"{name}.png")


if __name__ == "__main__":
    main()
