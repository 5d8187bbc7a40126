"""The loss on a plane as colours or as contours, with what is marked on it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

from lla.analyses.landscape import NOT_EVALUATED, LandscapeResult
from lla.numbers import number
from lla_plots.plane import (
    axis_labels,
    color_bar,
    contour_levels,
    loss_norm,
    masked_loss,
    surface_of,
)
from lla_plots.style import (
    GREEN,
    VERMILLION,
    narrow,
    size,
)
from lla_plots.text import symbols

__all__ = ["TRAJECTORY", "draw_contours", "draw_map", "legend_of"]

_TRAJECTORY: dict[str, Any] = {
    "color": "#E69F00", "lw": 1.4, "marker": "o", "ms": 3.5, "mec": "black", "mew": 0.5
}  # fmt: skip
TRAJECTORY = "trajectory"  # the id of its line
_MINIMUM: dict[str, Any] = {
    "marker": "v", "ms": 6, "mfc": "white", "mec": "black", "mew": 0.9, "ls": "none"
}  # fmt: skip
_SADDLE: dict[str, Any] = {"marker": "x", "ms": 6, "color": "black", "mew": 1.4, "ls": "none"}
_HOLES: dict[str, Any] = {"fc": "#E4E4E4", "ec": "#8A8A8A", "hatch": "xxx", "lw": 0.0}
# Share of the plane, around its middle, in which contours are labelled.
_LABELLED = 0.9


def draw_map(axes: Axes, result: LandscapeResult, norm: Normalize | None = None) -> None:
    """Draw the loss as colours with contours, and mark the checkpoint.

    Args:
        axes: Where to; its figure gets a colour bar.
        result: What to draw.
        norm: The colours' scale; by default that of the loss.
    """
    loss = masked_loss(result)
    norm = norm or loss_norm(loss)
    alpha, beta = surface_of(result).alpha, surface_of(result).beta
    _hatch_holes(axes)
    mesh = axes.pcolormesh(alpha, beta, loss.T, norm=norm, shading="nearest", rasterized=True)
    if _slopes(loss):
        levels = contour_levels(norm, 14)
        axes.contour(alpha, beta, loss.T, levels=levels, colors="white", linewidths=0.6, alpha=0.75)
    _mark_checkpoint(axes, result)
    if loss.count():
        color_bar(axes, mesh, "loss")


def draw_contours(axes: Axes, result: LandscapeResult) -> None:
    """Labelled lines on white, thicker every other: what a photocopy keeps."""
    loss = masked_loss(result)
    norm = loss_norm(loss)
    alpha, beta = surface_of(result).alpha, surface_of(result).beta
    # Only the points that are not finite are hatched, a cell each.
    holes = np.ma.masked_array(loss.filled(0.0), mask=np.ma.getmaskarray(loss))
    _hatch_holes(axes)
    axes.pcolormesh(
        alpha, beta, 0 * holes.T, cmap="Greys", vmin=0, vmax=1, shading="nearest", rasterized=True
    )
    if _slopes(loss):
        levels = contour_levels(norm, 9 if narrow() else 14)
        widths = np.where(np.arange(len(levels)) % 2, 0.6, 1.1).tolist()
        lines = axes.contour(
            alpha, beta, loss.T, levels=levels, norm=norm, cmap="viridis", linewidths=widths
        )
        labels = axes.clabel(lines, inline=False, fontsize=size("tiny"), fmt=_level)
        _label_lines(labels, alpha, beta)
    radius = result.quadratic_radius
    if radius.exists and np.isfinite(radius.value):
        turn = np.linspace(0, 2 * np.pi, 361)
        axes.plot(
            radius.value * np.cos(turn), radius.value * np.sin(turn), "--", color=GREEN, lw=1.3
        )
    _mark_checkpoint(axes, result)


def _level(level: float) -> str:
    return number(level, 3)


def _label_lines(labels: Iterable[Text], x: np.ndarray, y: np.ndarray) -> None:
    """Make the contours' labels legible; those at the edge would reach beyond it."""
    for label in labels:
        places = np.array(label.get_position())
        along = (places - (x.min(), y.min())) / (np.ptp(x), np.ptp(y))
        label.set(color="black", bbox={"fc": "white", "ec": "none", "pad": 0.4})
        label.set_visible(bool((np.abs(along - 0.5) < _LABELLED / 2).all()))


def _slopes(loss: np.ma.MaskedArray[Any, Any]) -> bool:
    """Whether there is anything to draw contours of."""
    return bool(loss.count() > 1 and min(loss.shape) > 1 and loss.min() < loss.max())


def _hatch_holes(axes: Axes) -> None:
    axes.patch.set(**_HOLES)


def _mark_checkpoint(axes: Axes, result: LandscapeResult) -> None:
    alpha, beta = surface_of(result).alpha, surface_of(result).beta
    _mark_trajectory(axes, result)
    _mark_topology(axes, result)
    axes.plot(0, 0, "*", ms=12, mfc=VERMILLION, mec="white", mew=0.9, label="checkpoint", ls="none")
    axes.set_xlim(float(alpha[0]), float(alpha[-1]))
    axes.set_ylim(float(beta[0]), float(beta[-1]))
    x_label, y_label = (symbols(label).replace(", λ", ",\nλ") for label in axis_labels(result))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)


def _mark_trajectory(axes: Axes, result: LandscapeResult) -> None:
    if result.trajectory is not None:
        axes.plot(*result.trajectory.coordinates.T, gid=TRAJECTORY, **_TRAJECTORY)


def _mark_topology(axes: Axes, result: LandscapeResult) -> None:
    """Minima within the plane and the saddles between them, where there is more than one."""
    found, inside = result.topology, _inside(result)
    if found is not None and inside.sum() > 1:
        axes.plot(found.alpha[inside], found.beta[inside], gid="minima", **_MINIMUM)
        axes.plot(found.saddle_alpha[inside], found.saddle_beta[inside], gid="saddles", **_SADDLE)


def _inside(result: LandscapeResult) -> np.ndarray:
    """Which minima are not at the plane's edge, where the loss may go on falling."""
    found = result.topology
    if found is None:
        return np.zeros(0, dtype=bool)
    surface = surface_of(result)
    inside: np.ndarray = np.ones(len(found.loss), dtype=bool)
    for places, axis in ((found.alpha, surface.alpha), (found.beta, surface.beta)):
        inside &= (places > axis[0]) & (places < axis[-1])
    return inside


def _marks(result: LandscapeResult) -> list[Line2D | Patch]:
    found: list[Line2D | Patch] = []
    if result.trajectory is not None:
        away = float(result.trajectory.distance.max())
        words = f"{len(result.trajectory.names)} checkpoints"
        # What another tool projected is not told.
        words += f", up to {number(away, 2)} off the plane" if np.isfinite(away) else ""
        found.append(Line2D([], [], label=words, **_TRAJECTORY))
    minima = int(_inside(result).sum())
    if minima > 1:
        found.append(Line2D([], [], label=f"{minima} minima", **_MINIMUM))
        found.append(Line2D([], [], label="saddles between them", **_SADDLE))
    return found


def legend_of(result: LandscapeResult, *, radius: bool = False) -> list[Line2D | Patch]:
    """What a map's marks mean; with ``radius``, that of the second-order model too."""
    found: list[Line2D | Patch] = [
        Line2D([], [], marker="*", ms=9, mfc=VERMILLION, mec="white", ls="none", label="checkpoint")
    ]
    limit = result.quadratic_radius
    if radius and limit.exists and np.isfinite(limit.value):
        words = f"quadratic model holds within {number(limit.low, 3)}"
        found.append(Line2D([], [], ls="--", color=GREEN, label=words))
    if np.ma.getmaskarray(masked_loss(result)).any():
        missing = (surface_of(result).status == NOT_EVALUATED).any()
        found.append(Patch(**_HOLES, label="no loss" if missing else "loss not finite"))
    return [*found, *_marks(result)]
