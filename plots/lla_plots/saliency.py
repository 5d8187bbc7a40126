"""Figure of the saliency maps: each image, the combined map over it, and each layer's map."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lla.analyses.saliency import SaliencyResult
from lla_plots.style import VERMILLION, new_figure, short, styled, symbols

__all__ = ["figures"]

_MOST_IMAGES = 8
_MOST_LAYERS = 5
_CELL = 1.15


@styled
def figures(result: SaliencyResult, caption: str) -> dict[str, Figure]:
    """Draw ``saliency``, of at most 8 images; nothing where there are no maps."""
    if result.images is None or not len(result.images) or not result.maps:
        return {}
    layers = list(result.maps)[-_MOST_LAYERS:]
    count = min(len(result.images), _MOST_IMAGES)
    # Two images side by side keep the figure wide rather than tall.
    abreast = 2 if len(layers) <= 3 and count > 1 else 1
    columns, rows = 2 + len(layers), -(-count // abreast)
    width = max(abreast * columns * _CELL + 0.3 * (abreast - 1) + 0.2, 4.2)
    figure = new_figure(width, rows * (_CELL + 0.22) + 0.75, caption)
    figure.suptitle("Where the network looks: NormGrad maps", x=0.012, ha="left", fontsize=10)
    blocks = figure.subfigures(1, abreast, wspace=0.04, squeeze=False)[0]
    for number, block in enumerate(blocks):
        indices = range(number, count, abreast)
        grid = block.subplots(rows, columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for row, index in enumerate(indices):
            _draw_image(grid[row], result, layers, index, first=row == 0)
    return {"saliency": figure}


def _draw_image(
    cells: np.ndarray, result: SaliencyResult, layers: list[str], index: int, *, first: bool
) -> None:
    assert result.images is not None
    picture = _shown(result.images[index])
    extent = (0.0, float(picture.shape[1]), float(picture.shape[0]), 0.0)
    cells[0].imshow(picture, cmap="gray", vmin=0, vmax=1, extent=extent)
    cells[0].set_title(*_classes(result, index), fontsize=7.5, loc="center")
    _color_classes(cells[0], result, index)
    cells[1].imshow(picture, cmap="gray", vmin=0, vmax=1, extent=extent)
    if result.combined is not None:
        cells[1].imshow(
            result.combined[index], cmap="inferno", vmin=0, vmax=1, alpha=0.65, extent=extent
        )
    if first:
        cells[1].set_title("combined", fontsize=7.5, loc="center")
    for axes, name in zip(cells[2:], layers, strict=True):
        layer = result.maps[name]
        axes.imshow(layer.normalized[index], cmap="inferno", vmin=0, vmax=1, extent=extent)
        if first:
            axes.set_title(symbols(short(name, 16)), fontsize=7.5, loc="center")
        if layer.degenerate[index]:
            _mark_degenerate(axes)


def _mark_degenerate(axes: Axes) -> None:
    axes.text(
        0.5, 0.5, "constant\nmap", transform=axes.transAxes, ha="center", va="center",
        fontsize=7, bbox={"fc": "white", "ec": VERMILLION, "pad": 2.0},
    )  # fmt: skip


def _classes(result: SaliencyResult, index: int) -> tuple[str]:
    if result.predicted is None:
        return ("input",)
    predicted = int(result.predicted[index])
    if result.targets is None:
        return (f"predicted {predicted}",)
    target = int(result.targets[index])
    return (f"predicted {predicted}" + ("" if predicted == target else f", is {target}"),)


def _color_classes(axes: Axes, result: SaliencyResult, index: int) -> None:
    if result.predicted is None or result.targets is None:
        return
    if int(result.predicted[index]) != int(result.targets[index]):
        axes.title.set_color(VERMILLION)


def _shown(image: np.ndarray) -> np.ndarray:
    """An image (channel, y, x) as matplotlib wants it: (y, x) or (y, x, 3), within [0, 1]."""
    values = np.asarray(image, dtype=np.float64)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    scaled = np.nan_to_num((values - low) / ((high - low) or 1.0))
    if scaled.shape[0] == 3:
        return np.asarray(np.moveaxis(scaled, 0, -1))
    return np.asarray(scaled.mean(axis=0))
