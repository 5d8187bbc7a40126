"""Figure of the saliency maps: each image, the combined map over it, and each layer's map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from lla.analyses.saliency import SaliencyResult
from lla.numbers import interval
from lla_plots import saliency_checks
from lla_plots.grid import picture_of
from lla_plots.style import VERMILLION, new_figure, page_width, room_of, size, styled
from lla_plots.text import fitted, symbols, wrapped

__all__ = ["figures"]

_MOST_IMAGES = 16
_MOST_LAYERS = 5
_TALLEST = 8.6
_LARGEST_CELL = 1.1
_SMALLEST_CELL = 0.28
_GAP, _APART = 0.06, 0.2
_BAR = 0.7
_COLORMAP = "inferno"


@dataclass(frozen=True)
class _Layout:
    """How many images stand side by side, in how many rows of cells, how large, in inches."""

    abreast: int
    rows: int
    columns: int
    cell: float

    @property
    def shown(self) -> int:
        return self.abreast * self.rows

    @property
    def width(self) -> float:
        """Of one block of images below each other."""
        return self.columns * (self.cell + _GAP)


_FURTHER = {
    "saliency_checks": saliency_checks.checks,
    "saliency_classes": saliency_checks.classes,
    "saliency_pairs": saliency_checks.pairs,
    "saliency_curvature": saliency_checks.curvature,
    "saliency_samples": saliency_checks.samples,
}


@styled
def figures(result: SaliencyResult, caption: str) -> dict[str, Figure]:
    """Draw ``saliency``, of at most 16 images, and what checks and curvature there are."""
    if result.images is None or not len(result.images) or not result.maps:
        return {}
    found = {"saliency": _overlays(result, caption)}
    for name, draw in _FURTHER.items():
        figure = draw(result, caption)
        if figure is not None:
            found[name] = figure
    return found


def _overlays(result: SaliencyResult, caption: str) -> Figure:
    assert result.images is not None
    layers = list(result.maps)[-_MOST_LAYERS:]
    layout = _layout(min(len(result.images), _MOST_IMAGES), 2 + len(layers))
    shown = min(layout.shown, len(result.images))
    title = "Where the network looks: saliency maps"
    if shown < len(result.images):
        title += f" of {shown} of {len(result.images)} images"
    line = _line()
    top = 2 * line + 0.04
    words = _explanation(result)
    height = top + layout.rows * (layout.cell + line + _GAP) + len(words) * line + 0.16
    figure = new_figure(page_width(), height, caption, title=title)
    bottom, ceiling = room_of(figure)
    ceiling -= top
    width, total = (float(x) for x in figure.get_size_inches())

    def cell_at(x: float, y: float) -> Axes:
        box = (x / width, y / total, layout.cell / width, layout.cell / total)
        axes = figure.add_axes(box)
        axes.set_axis_off()
        return axes

    for index in range(shown):
        block, row = divmod(index, layout.rows)
        x = 0.09 + block * (layout.width + _APART)
        y = ceiling - layout.cell - row * (layout.cell + line + _GAP)
        cells = [cell_at(x + k * (layout.cell + _GAP), y) for k in range(layout.columns)]
        _draw_image(cells, result, layers, index, layout.cell)
        if row == 0:
            _name_columns(cells, layers, layout.cell)
    _explain(figure, words, bottom)
    return figure


def _layout(count: int, columns: int) -> _Layout:
    """The arrangement with the largest cells that fit the page, of fewer images if they must."""
    room = page_width() - 0.18
    line = _line()
    best = _Layout(1, 1, columns, 0.0)
    for abreast in range(1, 5):
        rows = -(-count // abreast)
        wide = (room - (abreast - 1) * _APART) / abreast / columns - _GAP
        tallest = min(_TALLEST, 1.7 * page_width())
        cell = min(wide, tallest / rows - line - _GAP, _LARGEST_CELL)
        if cell > best.cell + 1e-9:
            best = _Layout(abreast, rows, columns, cell)
    if best.cell < _SMALLEST_CELL and count > 1:
        return _layout(count - 1, columns)
    return best


def _draw_image(
    cells: list[Axes], result: SaliencyResult, layers: list[str], index: int, cell: float
) -> None:
    assert result.images is not None
    picture = picture_of(result.images[index])
    extent = (0.0, float(picture.shape[1]), float(picture.shape[0]), 0.0)
    for axes in cells[:2]:
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1, extent=extent)
    if result.combined is not None:
        seen = np.nan_to_num(result.combined[index])
        # Where the map is low the image is to be seen, where it is high the map.
        cells[1].imshow(
            seen,
            cmap=_COLORMAP,
            vmin=0,
            vmax=1,
            alpha=0.25 + 0.6 * np.clip(seen, 0, 1),
            extent=extent,
        )
    words, wrong = _classes(result, index)
    if result.explained is not None and result.predicted is not None:
        other = int(result.explained[index])
        words += f", expl. {other}" * (other != int(result.predicted[index]))
    cells[0].set_title(
        words, fontsize=size("tiny"), pad=1.5, color=VERMILLION if wrong else "black"
    )
    for axes, name in zip(cells[2:], layers, strict=True):
        layer = result.maps[name]
        axes.imshow(layer.normalized[index], cmap=_COLORMAP, vmin=0, vmax=1, extent=extent)
        if layer.degenerate[index]:
            _mark_degenerate(axes, cell)


def _name_columns(cells: list[Axes], layers: list[str], cell: float) -> None:
    names = ["input", "overlay", *layers]
    lift = 1.3 * size("tiny") + 3
    for axes, name in zip(cells, names, strict=True):
        words = symbols(fitted(name, 0.9 * cell, size("tiny")))
        axes.annotate(
            words, (0.5, 1), xycoords="axes fraction", xytext=(0, lift), ha="center", va="bottom",
            textcoords="offset points", fontsize=size("tiny"), fontweight="bold",
        )  # fmt: skip


def _mark_degenerate(axes: Axes, cell: float) -> None:
    words = "constant\nmap" if cell > 0.55 else "const."
    axes.text(
        0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center",
        fontsize=size("tiny"), bbox={"fc": "white", "ec": VERMILLION, "pad": 1.5},
    )  # fmt: skip


def _explanation(result: SaliencyResult) -> list[str]:
    """What stands below the images: what the maps are, how much they depend on the class."""
    words = [
        "maps: each scaled to its own range; overlay: the layers combined, over the input",
        "pred.: the predicted class; expl.: the class that is explained, where it is another",
    ]
    if result.class_sensitivity.exists:
        sure = interval(result.class_sensitivity)
        words.append(f"maps of the most and the least likely class correlate at {sure}")
    room = page_width() - _BAR - 0.4
    return [line for text in words for line in wrapped(text, room, size("tiny"))]


def _explain(figure: Figure, lines: list[str], bottom: float) -> None:
    width, height = (float(x) for x in figure.get_size_inches())
    top = bottom + len(lines) * _line() + 0.04
    box = (0.12 / width, (top - 0.11) / height, _BAR / width, 0.08 / height)
    bar = figure.add_axes(box)
    figure.colorbar(
        ScalarMappable(Normalize(0, 1), _COLORMAP), cax=bar, orientation="horizontal", ticks=(0, 1)
    )
    bar.tick_params(labelsize=size("tiny"), length=2, pad=1)
    figure.text(
        (_BAR + 0.3) / width, top / height, symbols("\n".join(lines)), fontsize=size("tiny"),
        va="top", linespacing=1.25,
    )  # fmt: skip


def _line() -> float:
    return 1.3 * size("tiny") / 72


def _classes(result: SaliencyResult, index: int) -> tuple[str, bool]:
    """What stands above an image, and whether the prediction is wrong."""
    if result.predicted is None:
        return "", False
    predicted = int(result.predicted[index])
    target = predicted if result.targets is None else int(result.targets[index])
    wrong = predicted != target
    return (f"pred. {predicted}, is {target}" if wrong else f"pred. {predicted}"), wrong
