"""A drawn figure recoloured for dark paper."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

from lla_plots.style import RC

__all__ = ["PAPER", "darken"]

PAPER = "#15181c"
_PAPER_LIGHTNESS, _INK_LIGHTNESS = 0.095, 0.9
_TEXT_LIGHTNESS, _COLOR_LIGHTNESS = 0.62, 0.52
_GREY, _TINT, _MOST_SATURATED = 0.04, 0.8, 0.75


def darken(figure: Figure) -> None:
    """Recolour a figure: white becomes dark, black becomes light, colours keep their hue.

    What lies on an image or a colour map is left as it is, since its colours were chosen for that.
    """
    artists = list(_recoloured(figure))
    texts = {artist: artist.get_color() for artist in artists if isinstance(artist, Text)}
    for axes in figure.findobj(Axes):
        if isinstance(axes, Axes):
            # For ticks that the next drawing adds as well.
            ink, rule = _dark("black"), _dark(RC["grid.color"])
            axes.tick_params(which="both", color=ink, labelcolor=ink, grid_color=rule)
    for text, color in texts.items():
        text.set_color(color)
    for artist in artists:
        _recolour(artist)
    figure.set_facecolor(PAPER)


def _recoloured(figure: Figure) -> Iterator[Artist]:
    kept: set[Artist] = set()
    for axes in figure.findobj(Axes):
        if not isinstance(axes, Axes):
            continue
        for axis in (axes.xaxis, axes.yaxis):
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                kept.update((tick.tick1line, tick.tick2line, tick.gridline))
        if _is_map(axes):
            for child in (*axes.lines, *axes.collections, *axes.texts, *axes.patches):
                kept.update(child.findobj())
            legend = axes.get_legend()
            if legend is not None:
                kept.update(legend.findobj())
    for artist in figure.findobj():
        if artist not in kept:
            yield artist


def _is_map(axes: Axes) -> bool:
    """Whether the axes show an image, a colour map or a surface."""
    return bool(axes.images) or any(
        collection.get_array() is not None or hasattr(axes, "zaxis")
        for collection in axes.collections
    )


def _recolour(artist: Artist) -> None:
    if isinstance(artist, AxesImage):
        return
    if isinstance(artist, Text):
        artist.set_color(_dark(artist.get_color(), least=_TEXT_LIGHTNESS))
        box = artist.get_bbox_patch()
        if box is not None:
            _recolour(box)
    elif isinstance(artist, Line2D):
        artist.set_markerfacecolor(_dark(artist.get_markerfacecolor()))
        artist.set_markeredgecolor(_dark(artist.get_markeredgecolor()))
        artist.set_color(_dark(artist.get_color()))
    elif isinstance(artist, Patch):
        face, edge = artist.get_facecolor(), artist.get_edgecolor()
        artist.set_facecolor(_dark(face))
        artist.set_edgecolor(_dark(edge))
    elif isinstance(artist, Collection) and artist.get_array() is None:
        artist.set_facecolor([_dark(color) for color in artist.get_facecolor()])
        artist.set_edgecolor([_dark(color) for color in artist.get_edgecolor()])


def _dark(color: Any, least: float = 0.0) -> Any:
    """The colour on dark paper that does what this one does on white, no darker than ``least``."""
    if isinstance(color, str) and color.lower() in ("none", "auto"):
        return color
    red, green, blue, alpha = to_rgba(color)
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    mirrored = max(least, _INK_LIGHTNESS - lightness * (_INK_LIGHTNESS - _PAPER_LIGHTNESS))
    if lightness == 1.0 and not least:
        return (*to_rgba(PAPER)[:3], alpha)
    if max(red, green, blue) - min(red, green, blue) < _GREY:
        found = (mirrored, mirrored + 0.012 * lightness, mirrored + 0.025 * lightness)
        # The paper itself is a little blue.
        return (*np.clip(found, 0, 1).tolist(), alpha)
    if lightness > _TINT:
        return (*colorsys.hls_to_rgb(hue, mirrored, saturation), alpha)
    lightness = max(lightness, least, _COLOR_LIGHTNESS)
    return (*colorsys.hls_to_rgb(hue, lightness, min(saturation, _MOST_SATURATED)), alpha)
