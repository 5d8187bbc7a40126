"""Figures of the loss landscape: heat map, contours, surface, cuts with the quadratic model."""

from __future__ import annotations

from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lla.analyses.landscape import LandscapeResult
from lla_plots.cuts import draw_cuts
from lla_plots.lines import draw_band, draw_lines, draw_panel, draw_path
from lla_plots.maps import draw_contours, draw_map, legend_of
from lla_plots.metrics import draw_metrics
from lla_plots.plane import (
    loss_norm,
    masked_loss,
    warnings,
)
from lla_plots.style import (
    narrow,
    new_figure,
    page_width,
    styled,
)
from lla_plots.surface import draw_surface

__all__ = ["draw_contour", "figures"]

_HEIGHT = {False: 4.6, True: 3.0}


@styled
def figures(result: LandscapeResult, caption: str) -> dict[str, Figure]:
    """Draw ``landscape``, ``landscape_contour``, ``surface`` and ``landscape_cuts``.

    Where no point is finite, only ``landscape``, which says so. Beside them ``landscape_lines``,
    ``landscape_path``, ``landscape_panel``, ``landscape_band``, and ``landscape_`` with the name of
    each further metric, where there are such.
    """
    drawn = {}
    if result.profiles is not None:
        drawn["landscape_lines"] = draw_lines(result, caption)
    if result.path is not None:
        drawn["landscape_path"] = draw_path(result, caption)
    drawn.update(draw_metrics(result, caption))
    if result.surface is None:
        return drawn
    if result.panel:
        drawn["landscape_panel"] = draw_panel(result, caption)
    if result.band is not None:
        drawn["landscape_band"] = draw_band(result, caption)
    drawn["landscape"] = _map(result, caption)
    if masked_loss(result).count():
        drawn["landscape_contour"] = draw_contour(result, caption)
        drawn["surface"] = draw_surface(result, caption)
        drawn["landscape_cuts"] = draw_cuts(result, caption)
    return drawn


def _map(result: LandscapeResult, caption: str) -> Figure:
    figure = _new(result, caption, "Loss around the checkpoint: heat map", legend_of(result))
    draw_map(figure.subplots(), result)
    return figure


def draw_contour(result: LandscapeResult, caption: str) -> Figure:
    """Draw labelled contours on white."""
    legend = legend_of(result, radius=True)
    figure = _new(result, caption, "Loss around the checkpoint: contours", legend)
    draw_contours(figure.subplots(), result)
    return figure


def _new(result: LandscapeResult, caption: str, title: str, legend: list[Line2D | Patch]) -> Figure:
    scale = ", logarithmic scale" if isinstance(loss_norm(masked_loss(result)), LogNorm) else ""
    return new_figure(
        page_width(), _HEIGHT[narrow()], caption, title=title + scale, notes=warnings(result),
        legend=legend,
    )  # fmt: skip
