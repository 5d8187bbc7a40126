"""Figures of what saliency maps are worth: checks, contact sheets, curvature, sharp samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lla.analyses.saliency import (
    CurvatureMaps,
    Deletion,
    Randomization,
    Ranking,
    SaliencyResult,
)
from lla.estimate import Estimate
from lla.numbers import number
from lla_plots.grid import Cells, picture_of
from lla_plots.style import (
    BLUE,
    GREY,
    VERMILLION,
    legend_above,
    narrow,
    new_figure,
    page_width,
    size,
)
from lla_plots.text import fitted, symbols

__all__ = ["checks", "classes", "curvature", "pairs", "samples"]

_COLORMAP, _SIGNED = "inferno", "RdBu_r"
_MOST_ROWS, _MOST_PAIRS = 8, 10


def checks(result: SaliencyResult, caption: str) -> Figure | None:
    """The deletion and insertion curves, and maps as weights are drawn anew."""
    curves, randomization = result.curves, result.randomization
    count = (curves is not None) + (randomization is not None)
    if not count:
        return None
    title = "What the maps are worth"
    stacked = narrow() or count == 1
    height = 2.5 * (count if narrow() else 1) + 0.2
    figure = new_figure(page_width(), height, caption, title=title)
    panels = figure.subplots(count if stacked else 1, 1 if stacked else count, squeeze=False)
    left = list(panels.ravel())
    if curves is not None:
        _draw_curves(left.pop(0), curves)
    if randomization is not None:
        _draw_randomization(left.pop(0), randomization, result.untrained_agreement)
    return figure


def _draw_curves(axes: Axes, curves: Deletion) -> None:
    lines = (
        ("taken away", curves.deletion, (curves.deletion_low, curves.deletion_high), BLUE, "-"),
        ("given", curves.insertion, (curves.insertion_low, curves.insertion_high), VERMILLION, "-"),
        ("in a random order", curves.random_deletion, None, BLUE, ":"),
        ("", curves.random_insertion, None, VERMILLION, ":"),
    )
    for label, values, band, color, style in lines:
        axes.plot(curves.share, values, style, color=color, lw=1.4, label=label or "_")
        if band is not None:
            axes.fill_between(curves.share, *band, color=color, alpha=0.15, lw=0)
    axes.set_xlabel("share of pixels, the brightest of the map first")
    axes.set_ylabel("probability of the class")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    legend_above(axes, "Pixels taken away, or given")


def _draw_randomization(axes: Axes, found: Randomization, untrained: Estimate) -> None:
    places = np.arange(len(found.names))
    lines = (
        ("as they are", found.correlation, found.low, found.high, BLUE, "o-"),
        ("beyond the image's outlines", found.beyond, found.beyond_low, found.beyond_high,
         VERMILLION, "s--"),
    )  # fmt: skip
    for label, values, low, high, color, style in lines:
        axes.plot(places, values, style, color=color, lw=1.4, ms=4, label=label)
        axes.fill_between(places, low, high, color=color, alpha=0.15, lw=0)
    if untrained.exists:
        axes.axhline(untrained.value, color=GREY, ls=":", lw=1.4)
        axes.text(
            places[-1], untrained.value + 0.015, "untrained networks with each other", ha="right",
            va="bottom", fontsize=size("tiny"), color=GREY,
        )  # fmt: skip
    axes.axhline(0, color=GREY, lw=0.8, zorder=0)
    axes.set_ylim(min(-0.15, float(np.nanmin(found.beyond_low, initial=0.0))), 1.05)
    room = 0.8 * page_width() / (1 if narrow() else 2) / len(places)
    names = ["none", *(f"…{name}" for name in found.names[1:])]
    axes.set_xticks(places, [symbols(fitted(name, room, size("tiny"))) for name in names])
    axes.tick_params(axis="x", labelsize=size("tiny"))
    axes.set_xlabel("weights drawn anew, from the output down to")
    axes.set_ylabel("rank correlation of maps")
    legend_above(axes, "Maps without the trained weights")


def classes(result: SaliencyResult, caption: str) -> Figure | None:
    """A contact sheet: images below each other, the classes that are explained abreast."""
    sheet = result.sheet
    if sheet is None or result.images is None or not len(sheet.shown):
        return None
    rows, word = sheet.shown, "" if narrow() else "class "
    head = ["input", *(f"{word}{label}" for label in sheet.classes)]
    figure = new_figure(
        page_width(),
        Cells.height(len(rows), len(head), below=1),
        caption,
        title="The maps that each class would have",
    )
    cells = Cells(figure, len(rows), len(head), head)
    for row, place in enumerate(rows):
        picture = picture_of(result.images[place])
        cells.image(row, 0, picture, cmap="gray", vmin=0, vmax=1)
        for column, label in enumerate(sheet.classes):
            axes = cells.image(
                row, column + 1, sheet.maps[row, column], cmap=_COLORMAP, vmin=0, vmax=1
            )
            if result.explained is not None and result.explained[place] == label:
                cells.frame(axes)
    cells.explain(
        "columns: the class; maps from 0 (black) to 1; framed: the class of the other figures"
    )
    return figure


def pairs(result: SaliencyResult, caption: str) -> Figure | None:
    """Images below each other, maps of several pairs of phases abreast."""
    if result.images is None or result.combined is None or not result.pairs:
        return None
    rows = range(min(len(result.images), _MOST_ROWS if len(result.pairs) <= _MOST_PAIRS else 3))
    names = list(result.pairs)
    blocks = [names[k : k + _MOST_PAIRS] for k in range(0, len(names), _MOST_PAIRS)]
    width = min(_MOST_PAIRS, len(names))
    lines = len(rows) * len(blocks)
    figure = new_figure(
        page_width(),
        Cells.height(lines, width + 1, below=1, heads=2 * len(blocks)),
        caption,
        title="Virtual layers and aggregations",
    )
    top = 0.0
    for block in blocks:
        head = ["input", *map(_pair, block)]
        cells = Cells(figure, len(rows), width + 1, head, top=top, head_lines=2)
        top = cells.bottom
        for row in rows:
            cells.image(row, 0, picture_of(result.images[row]), cmap="gray", vmin=0, vmax=1)
            for column, name in enumerate(block):
                found = result.pairs[name].combined[row]
                cells.image(row, column + 1, found, cmap=_COLORMAP, vmin=0, vmax=1)
    cells.explain("virtual layer above, aggregation below; all maps from 0 (black) to 1")
    return figure


def _pair(name: str) -> str:
    """A pair's name in two lines that fit a cell."""
    virtual, _, aggregation = name.partition("_")
    return f"{virtual.replace('wise3x3', '. 3x3')}\n{aggregation.replace('positive', 'pos.')}"


def curvature(result: SaliencyResult, caption: str) -> Figure | None:
    """Signed maps along the first eigenvectors, and what makes an image's loss sharp."""
    found = result.curvature
    if found is None or result.images is None or not len(result.images):
        return None
    count = min(len(result.images), _MOST_ROWS)
    shown = min(len(found.eigenvalues), 3)
    head = ["input", *(f"along v{k + 1}" for k in range(shown)), "∂sharpness"]
    abreast = 1 if narrow() or count < 2 else 2
    rows = -(-count // abreast)
    title = f"Along the Hessian's eigenvectors (λ = {_values(found, shown)})"
    figure = new_figure(
        page_width(),
        Cells.height(rows, abreast * len(head), below=4 if narrow() else 2, words=1),
        caption,
        title=title,
    )
    cells = Cells(figure, rows, abreast * len(head), head * abreast, words=1)
    by_pixel = found.sharpness_maps.sum(axis=1)
    for place in range(count):
        block, row = divmod(place, rows)
        first = block * len(head)
        picture = picture_of(result.images[place])
        cells.image(row, first, picture, cmap="gray", vmin=0, vmax=1)
        for k in range(shown):
            axes = _signed(cells, row, first + k + 1, found.maps[k, place])
            cells.words(axes, number(float(found.slopes[k, place]), 3))
        axes = _signed(cells, row, first + shown + 1, by_pixel[place])
        cells.words(axes, number(float(found.sharpness[place]), 3))
    cells.explain(
        "below: vᵀ∇L of the image's loss, and its sharpness vᵀHv along v1. Red raises the loss "
        "along v, blue lowers it, each map on its own symmetric scale; ∂sharpness: which pixels, "
        "made brighter, raise that sharpness (red)"
    )
    return figure


def _values(found: CurvatureMaps, shown: int) -> str:
    return ", ".join(number(float(value), 3) for value in found.eigenvalues[:shown])


def _signed(cells: Cells, row: int, column: int, values: np.ndarray) -> Axes:
    most = float(np.abs(values).max()) or 1.0
    return cells.image(row, column, values, cmap=_SIGNED, vmin=-most, vmax=most)


def samples(result: SaliencyResult, caption: str) -> Figure | None:
    """The sharpest and the flattest samples."""
    found = result.ranking
    if found is None or not len(found.shown):
        return None
    half = len(found.shown) // 2
    title = f"The sharpest and the flattest of {number(len(found.sample))} samples"
    figure = new_figure(
        page_width(), Cells.height(2, half + 1, below=1, words=2, heads=0), caption, title=title
    )
    cells = Cells(figure, 2, half + 1, [], words=2)
    for row, (name, places) in enumerate(
        (("sharpest", range(half)), ("flattest", range(half, len(found.shown))))
    ):
        axes = cells.image(row, 0, np.ones((1, 1)), cmap="gray", vmin=0, vmax=1)
        axes.text(0.5, 0.5, name, transform=axes.transAxes, ha="center", va="center",
                  fontsize=size("tiny"))  # fmt: skip
        for column, place in enumerate(places):
            axes = cells.image(
                row, column + 1, picture_of(found.images[place]), cmap="gray", vmin=0, vmax=1
            )
            cells.words(axes, "\n".join(_sample(found, place)))
    cells.explain("vᵀHv of each sample's own loss, v the eigenvector of λ_max; class, prediction")
    return figure


def _sample(found: Ranking, place: int) -> Sequence[str]:
    value = number(float(found.sharpness[found.shown[place]]), 3)
    predicted = int(found.predicted[place])
    if found.targets is None:
        return value, f"pred. {predicted}"
    target = int(found.targets[place])
    return value, f"is {target}" if target == predicted else f"{target}, pred. {predicted}"
