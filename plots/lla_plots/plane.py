"""What every figure of the loss landscape starts from: the plane, its scale, its checks."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import LogLocator, MaxNLocator

from lla.analyses.landscape import NOT_EVALUATED, NOT_FINITE, LandscapeResult, Surface
from lla.analyses.landscape.checks import CENTER_TOLERANCE, KINKS_SEEN
from lla.estimate import Estimate
from lla.numbers import interval, number
from lla_plots.style import log_worthy, root

__all__ = [
    "axis_labels",
    "center",
    "color_bar",
    "contour_levels",
    "length_unit",
    "loss_norm",
    "masked_loss",
    "surface_of",
    "warnings",
]

_UNIT = 1e-6  # by which the length of a unit vector may be off
_COSINE_TOLERANCE = 1e-3
_CURVATURE_TOLERANCE = 0.05


def surface_of(result: LandscapeResult) -> Surface:
    """The surface of a landscape over a plane.

    Raises:
        ValueError: The landscape is of lines.
    """
    if result.surface is None:
        raise ValueError("a landscape of lines has no surface")
    return result.surface


def masked_loss(result: LandscapeResult) -> np.ma.MaskedArray[Any, Any]:
    """The loss, shape (α, β) or (all lines' points,), with what is not finite masked."""
    if result.surface is None:
        profiles = result.profiles
        if profiles is None:
            return np.ma.masked_invalid(np.empty(0))
        # A line of fewer points than another ends in NaN.
        return np.ma.masked_invalid(profiles.loss[np.isfinite(profiles.distance)])
    loss = np.asarray(result.surface.loss, dtype=np.float64)
    bad = (np.asarray(result.surface.status) == NOT_FINITE) | ~np.isfinite(loss)
    return np.ma.masked_array(loss, mask=bad)


def axis_labels(result: LandscapeResult) -> tuple[str, str]:
    """What α and β are: the direction, its units, and its eigenvalue."""
    found = []
    for index, symbol in enumerate("αβ"):
        eigenvalue = _eigenvalue(result, index)
        known = f", λ = {eigenvalue}" if eigenvalue else ""
        unit = length_unit(result, index)
        found.append(f"{symbol}: {result.axes.names[index]} ({unit}){known}")
    return found[0], found[1]


def length_unit(result: LandscapeResult, index: int) -> str:
    """What a distance of 1 along a direction is."""
    norm = float(result.axes.norms[index])
    if np.isnan(norm):  # another program's direction
        return f"times ‖d{'₁₂'[index] if index < 2 else ''}‖"
    if not norm > 0 or abs(norm - 1) < _UNIT:
        return "parameter norm"
    return f"times ‖d‖ = {number(norm, 3)}"


def _eigenvalue(result: LandscapeResult, index: int) -> str:
    value = float(result.axes.eigenvalues[index])
    residual = float(result.axes.residuals[index])
    if not np.isfinite(value):
        return ""
    # A residual below the digits shown needs no mention.
    visible = np.isfinite(residual) and residual > 5e-4 * abs(value)
    return f"{number(value)} ± {number(residual, 2)}" if visible else number(value)


def warnings(result: LandscapeResult) -> tuple[str, ...]:
    """What a reader must know before trusting the picture, in words."""
    found = []
    loss = center(result)[2]
    error = result.center_error
    if not error.exists:
        found.append(f"the centre was not checked{f': {error.why}' if error.why else ''}")
    elif not error.value <= CENTER_TOLERANCE * max(1.0, abs(loss)):
        found.append(
            f"check failed: the centre is off by {number(error.value)} from the checkpoint's loss"
        )
    if result.cosine.exists and abs(result.cosine.value) > _COSINE_TOLERANCE:
        cosine = number(result.cosine.value, 2)
        # Eigenvectors are orthogonal; other directions need not be.
        broken = "check failed: " if np.isfinite(result.axes.eigenvalues).all() else ""
        found.append(f"{broken}the directions are not orthogonal, their cosine is {cosine}")
    curvatures = (result.curvature_alpha, result.curvature_beta)[: len(result.axes.names)]
    for index, measured in enumerate(curvatures):
        found += _curvature_check(result, index, measured)
    found += _holes(result)
    if result.checks.value == "failed" and not found:
        found.append(f"check failed: {result.checks.why}")
    return tuple(found)


def _holes(result: LandscapeResult) -> list[str]:
    """How many points have no loss, and why."""
    mask = np.ma.getmaskarray(masked_loss(result))
    where = " (hatched)" if result.surface else ""
    left_out = mask & False
    if result.surface is not None:
        left_out = mask & (np.asarray(result.surface.status) == NOT_EVALUATED)
    return [
        f"{int(count)} of {mask.size} points {words}{where}"
        for count, words in (
            ((mask & ~left_out).sum(), "are not finite"),
            (left_out.sum(), "were not evaluated"),
        )
        if count
    ]


def _curvature_check(result: LandscapeResult, index: int, measured: Estimate) -> list[str]:
    """Whether finite differences of the loss gave the eigenvalue, where they settled at all."""
    expected, residual = float(result.axes.eigenvalues[index]), result.axes.residuals[index]
    if not (measured.exists and measured.converged and np.isfinite(expected)):
        return []
    slack = float(np.nan_to_num(residual)) + _CURVATURE_TOLERANCE * abs(expected)
    if measured.low - slack <= expected <= measured.high + slack:
        return []
    return [
        f"check failed: along {'αβ'[index]} finite differences of the loss give a curvature of "
        f"{interval(measured)}, and the eigenvalue is {number(expected)}{_kinks(result, index)}"
    ]


def _kinks(result: LandscapeResult, index: int) -> str:
    """What of a curvature was found to be jumps of the slope."""
    axes = result.axes
    if axes.kinks is None or axes.kinks_error is None or not np.isfinite(axes.kinks[index]):
        return ""
    kinks, error = float(axes.kinks[index]), float(axes.kinks_error[index])
    if abs(kinks) <= KINKS_SEEN * error:
        return "; no kinks were found within the step"
    return f"; kinks, where the slope jumps, make up {number(kinks, 3)} ± {number(error, 1)}"


def center(result: LandscapeResult) -> tuple[int, int, float]:
    """Indices of the grid point nearest to the checkpoint, and the loss there."""
    if result.surface is None:
        distance, loss = (
            (result.profiles.distance, result.profiles.loss)
            if result.profiles
            else (np.zeros((1, 1)), np.full((1, 1), np.nan))
        )
        point = int(np.nanargmin(np.abs(distance[0])))
        return 0, point, float(loss[0, point])
    alpha = int(np.argmin(np.abs(result.surface.alpha)))
    beta = int(np.argmin(np.abs(result.surface.beta)))
    return alpha, beta, float(result.surface.loss[alpha, beta])


def loss_norm(loss: np.ma.MaskedArray[Any, Any]) -> Normalize:
    """The colour scale: logarithmic where the loss spans orders of magnitude."""
    kept = loss.compressed()
    if not kept.size:
        return Normalize(0.0, 1.0)
    low, high = float(kept.min()), float(kept.max())
    if log_worthy(kept):
        return LogNorm(low, high)
    return Normalize(low, high if high > low else low + 1.0)


def contour_levels(norm: Normalize, most: int) -> np.ndarray:
    """Round values of the loss for contours, at most about so many.

    Args:
        norm: The scale of the loss.
        most: How many.
    """
    low, high = float(norm.vmin or 0.0), float(norm.vmax or 1.0)
    if isinstance(norm, LogNorm):
        decades = np.log10(high / low)
        # As many round values in a decade as there is room for: 10; 3, 10; 2, 5, 10; or 1 to 9.
        choices = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))
        subs = choices[int(np.clip(round(most / decades) - 1, 0, len(choices) - 1))]
        found = LogLocator(subs=subs, numticks=10 * most).tick_values(low, high)
    else:
        found = MaxNLocator(most).tick_values(low, high)
    levels = np.asarray(found)
    return levels[(levels > low) & (levels < high)]


def color_bar(axes: Axes, mappable: ScalarMappable, label: str, **where: Any) -> Colorbar:
    """Give the figure a colour bar beside the axes."""
    bar = root(axes).colorbar(mappable, ax=axes, label=label, **where)
    bar.outline.set_visible(False)
    if isinstance(mappable.norm, LogNorm):
        low, high = float(mappable.norm.vmin or 1.0), float(mappable.norm.vmax or 1.0)
        bar.locator = LogLocator(subs=(1.0, 2.0, 5.0) if high < 500 * low else (1.0,), numticks=7)
        if high < 1e5 and low > 1e-5:
            bar.formatter = lambda x, _: number(x, 2)  # type: ignore[assignment]
        bar.update_ticks()
    return bar
