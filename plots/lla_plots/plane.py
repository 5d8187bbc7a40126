"""What every figure of the loss landscape starts from: the plane, its scale, its checks."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize

from lla.analyses.landscape import LandscapeResult
from lla.numbers import number
from lla_plots.style import log_worthy

__all__ = ["axis_labels", "center", "color_bar", "loss_norm", "masked_loss", "warnings"]

_NOT_FINITE = 2
_CENTER_TOLERANCE = 1e-6


def masked_loss(result: LandscapeResult) -> np.ma.MaskedArray[Any, Any]:
    """The loss, shape (α, β), with the points that are not finite masked."""
    loss = np.asarray(result.surface.loss, dtype=np.float64)
    bad = (np.asarray(result.surface.status) == _NOT_FINITE) | ~np.isfinite(loss)
    return np.ma.masked_array(loss, mask=bad)


def axis_labels(result: LandscapeResult) -> tuple[str, str]:
    """What α and β are: the direction and its eigenvalue."""
    found = []
    for index, symbol in enumerate("αβ"):
        name, value = result.axes.names[index], float(result.axes.eigenvalues[index])
        eigenvalue = f", λ = {number(value)}" if np.isfinite(value) else ""
        found.append(f"{symbol}: {name}{eigenvalue}")
    return found[0], found[1]


def warnings(result: LandscapeResult) -> tuple[str, ...]:
    """What a reader must know before trusting the picture, in words."""
    found = []
    loss = center(result)[2]
    error = result.center_error
    if not error.exists:
        found.append(f"the centre was not checked{f': {error.why}' if error.why else ''}")
    elif error.value > _CENTER_TOLERANCE * max(1.0, abs(loss)):
        found.append(
            f"check failed: the centre is off by {number(error.value)} from the checkpoint's loss"
        )
    hidden = int(np.ma.getmaskarray(masked_loss(result)).sum())
    if hidden:
        found.append(f"{hidden} of {result.surface.loss.size} points are not finite (grey)")
    return tuple(found)


def center(result: LandscapeResult) -> tuple[int, int, float]:
    """Indices of the grid point nearest to the checkpoint, and the loss there."""
    alpha = int(np.argmin(np.abs(result.surface.alpha)))
    beta = int(np.argmin(np.abs(result.surface.beta)))
    return alpha, beta, float(result.surface.loss[alpha, beta])


def loss_norm(loss: np.ma.MaskedArray[Any, Any]) -> Normalize:
    """The colour scale: logarithmic where the loss spans orders of magnitude."""
    kept = loss.compressed()
    low, high = float(kept.min()), float(kept.max())
    if log_worthy(kept):
        return LogNorm(low, high)
    return Normalize(low, high if high > low else low + 1.0)


def color_bar(axes: Axes, mappable: ScalarMappable, label: str, **where: float) -> None:
    """Give the figure a colour bar beside the axes."""
    figure = axes.get_figure(root=True)
    if figure is not None:
        bar = figure.colorbar(mappable, ax=axes, label=label, **where)  # type: ignore[arg-type]
        bar.outline.set_visible(False)
