"""The figures of a page as images that lie in it, for light and for dark paper."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageColor

from lla.analyses.analysis import Analysis, imported
from lla_plots.dark import PAPER, darken
from lla_plots.style import PALETTE, styled

__all__ = ["Picture", "Still", "drawn", "still", "thumbnail"]

_DPI = 120
_THUMBNAIL = 260


@dataclass(frozen=True)
class Still:
    """An image in a page.

    Attributes:
        url: Its content as a data URL.
        width: In pixels.
        height: In pixels.
    """

    url: str
    width: int
    height: int


@dataclass(frozen=True)
class Picture:
    """A figure on the page.

    Attributes:
        name: Its name.
        title: What it shows.
        alt: What a reader who does not see it should know.
        light: The image on white paper.
        dark: The image on dark paper.
        plot: Data for plotly.js, or None.
    """

    name: str
    title: str
    alt: str
    light: Still
    dark: Still
    plot: Mapping[str, Any] | None = None

    @property
    def solid(self) -> bool:
        """Whether it is drawn in three dimensions, to be turned."""
        return bool(self.plot and "scene" in self.plot["layout"])


def drawn(analysis: Analysis, result: Any, caption: str) -> dict[str, Figure]:
    """The figures of an analysis by name; none where it declares none."""
    found: dict[str, Figure] = {}
    if analysis.figures:
        found = imported(analysis.figures)(result, caption)
    return found


def still(figure: Figure) -> tuple[Still, Still]:
    """The figure as an image on white and one on dark paper; the figure is dark after that."""
    light = _image(figure)
    # What is recoloured stays where it is, and is not laid out again.
    figure.set_layout_engine("none")
    darken(figure)
    return _as_still(light, ()), _as_still(_image(figure), (PAPER,))


def thumbnail(image: Still) -> Still:
    """The image in small."""
    with Image.open(BytesIO(base64.b64decode(image.url.partition(",")[2]))) as content:
        picture = content.convert("RGB")
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return _as_still(picture, ())


@styled
def _image(figure: Figure) -> Image.Image:
    figure.set_dpi(_DPI)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _as_still(picture: Image.Image, fixed: tuple[str, ...]) -> Still:
    """A PNG with a palette, a third of the size of one without."""
    stream = BytesIO()
    _with_palette(picture, fixed).save(stream, "png", optimize=True)
    content = base64.b64encode(stream.getvalue()).decode()
    return Still("data:image/png;base64," + content, picture.width, picture.height)


def _with_palette(picture: Image.Image, more: tuple[str, ...]) -> Image.Image:
    """The picture in 256 colours: the frequent ones, and those of marks of a few pixels."""
    fixed = [ImageColor.getrgb(color)[:3] for color in (*PALETTE, *more)]
    frequent = picture.quantize(256 - len(fixed)).getpalette() or []
    palette = np.concatenate((fixed, np.reshape(frequent, (-1, 3))))[:256].astype(np.int32)
    pixels = np.asarray(picture, dtype=np.int32)
    codes, places = np.unique(pixels @ np.array([1 << 16, 1 << 8, 1]), return_inverse=True)
    colors = np.stack((codes >> 16, codes >> 8 & 255, codes & 255), axis=1)
    nearest = [((palette - color) ** 2).sum(axis=1).argmin() for color in colors]
    found = Image.fromarray(np.array(nearest, dtype=np.uint8)[places.reshape(pixels.shape[:2])])
    found.putpalette(palette.astype(np.uint8).tobytes())
    return found
