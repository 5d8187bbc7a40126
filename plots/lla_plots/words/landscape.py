"""The page on the landscape: what the loss looks like around the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lla.analyses.landscape import LandscapeResult, Profiles, Surface
from lla.analyses.landscape.checks import CENTER_TOLERANCE, KINKS_SEEN
from lla.numbers import interval, number
from lla_plots import interactive
from lla_plots.metrics import figure_name
from lla_plots.parts import Action, Section, Shown
from lla_plots.phrases import capital, listed, told
from lla_plots.plane import center, masked_loss, warnings
from lla_plots.tables import metrics

__all__ = ["sections", "steps"]

_QUESTION = "What does the loss look like around it?"


def sections(result: LandscapeResult) -> Sequence[Section]:
    """The loss around the weights, in words and figures."""
    if result.surface is None:
        return (_lines(result),)
    return (_plane(result, result.surface),)


def _lines(result: LandscapeResult) -> Section:
    """The loss along lines."""
    loss = masked_loss(result)
    names = "; ".join(result.axes.names)
    lead = f"This is the loss along lines through the weights: {names}. It goes from "
    lead += f"{number(float(loss.min()))} to {number(float(loss.max()))}. {_checks(result)}"
    shown = [Shown("landscape_lines", "Loss along each line", lead)]
    if result.barrier.exists:
        lead += " On the straight way to the other checkpoint the loss rises above the higher end "
        lead += f"by {told(result.barrier)}."
    if result.path is not None:
        lead += f" On the curve that was trained it rises by {told(result.curve_barrier)}."
        shown.append(Shown("landscape_path", "Ways to the other checkpoint", lead))
    shown += _beside(result)
    return Section(
        "landscape", _QUESTION, "", lead, 50,
        notes=tuple(capital(f"{warning}.") for warning in warnings(result)),
        figures=tuple(shown),
        tables=(metrics(result, "landscape"),),
    )  # fmt: skip


def _checks(result: LandscapeResult) -> str:
    found = result.checks
    if found.value == "passed":
        return "Its centre and its curvatures are what the checkpoint and the Hessian say."
    why = f": {found.why}" if found.why else ""
    return f"Its checks are {found.value}{why}."


def _measured(held: Surface | Profiles | None) -> tuple[str, ...]:
    """The further metrics that have a value anywhere."""
    if held is None or held.metrics is None or held.metric_values is None:
        return ()
    pairs = zip(held.metrics, held.metric_values, strict=True)
    return tuple(name for name, values in pairs if np.isfinite(values).any())


def _beside(result: LandscapeResult) -> tuple[Shown, ...]:
    """Figures that only some landscapes have."""
    found = []
    if result.panel:
        found.append(Shown("landscape_panel", "The same loss on other planes", ""))
    if result.band is not None:
        found.append(Shown("landscape_band", "Mean and quantiles over repeated planes", ""))
    held = result.surface if result.surface is not None else result.profiles
    names = _measured(held)
    found += [Shown(figure_name(name), f"{name}, from the same passes", "") for name in names]
    return tuple(found)


def _plane(result: LandscapeResult, surface: Surface) -> Section:
    """The loss over the plane as surface, map and cuts."""
    alpha, beta, loss = center(result)
    across = " and the ".join(result.axes.names)
    lead = f"This is the loss over the plane through the weights along the {across}."
    lead += f" From {number(loss)} at the weights it goes to {_ends(surface.loss[:, beta])}"
    lead += f" at distance {_reach(surface.alpha)} along the first, and to "
    lead += f"{_ends(surface.loss[alpha, :])} at {_reach(surface.beta)} along the second."
    radius = result.quadratic_radius
    answer = ""
    if radius.exists:
        open_end = not np.isfinite(radius.high)
        lead += " The quadratic model, on which λ_max and the stability conditions rest, holds "
        lead += (
            f"in the whole plane, at least up to a distance of {number(radius.value)}."
            if open_end
            else f"up to a distance of {told(radius)}."
        )
        answer = (
            f"quadratic up to {number(radius.value)} at least"
            if open_end
            else f"quadratic up to a distance of {interval(radius)}"
        )
    low, high = masked_loss(result).min(), masked_loss(result).max()
    lead += f" {_checks(result)}"
    seen = f"Loss from {number(float(low))} to {number(float(high))}. {lead}"
    return Section(
        "landscape",
        _QUESTION,
        answer,
        lead,
        50,
        notes=tuple(capital(f"{warning}.") for warning in warnings(result)),
        figures=(
            Shown(
                "surface",
                "Loss over the plane, as a surface",
                seen,
                interactive.surface(result),
            ),
            Shown("landscape", "The same as a map, from above", seen),
            Shown("landscape_contour", "The same as contours, each with its loss", seen),
            Shown("landscape_cuts", "Cuts through the weights, with the quadratic model", lead),
            *_beside(result),
        ),
        tables=(metrics(result, "landscape"),),
    )


def _ends(values: np.ndarray) -> str:
    """The loss at both ends of a cut."""
    first, last = (number(float(values[place])) for place in (0, -1))
    return first if first == last else f"{first} and {last}"


def _reach(positions: np.ndarray) -> str:
    """Both ends of an axis."""
    first, last = float(positions[0]), float(positions[-1])
    return (
        f"±{number(last, 3)}"
        if np.isclose(-first, last)
        else f"{number(first, 3)} and {number(last, 3)}"
    )


def _kinked(result: LandscapeResult, index: int) -> bool:
    """Whether kinks were found along an axis, which no precision makes smooth."""
    kinks, error = result.axes.kinks, result.axes.kinks_error
    if kinks is None or error is None or index >= len(kinks):
        return False
    return bool(abs(kinks[index]) > KINKS_SEEN * error[index])


def steps(result: LandscapeResult) -> Iterator[Action]:
    """What to do about rounding and points without a loss."""
    double = {"dtype": "float64"}
    rough = [
        f"landscape/{name}"
        for index, (name, found) in enumerate(
            (
                ("curvature_alpha", result.curvature_alpha),
                ("curvature_beta", result.curvature_beta),
            )
        )
        if found.exists and not found.converged and not _kinked(result, index)
    ]
    if rough:
        words = f"{listed(rough)} could not be told from rounding. Repeat in double precision."
        yield Action(words, "landscape", double)
    error, scale = result.center_error, max(1.0, abs(center(result)[2]))
    if error.exists and error.value > CENTER_TOLERANCE * scale:
        words = "The landscape's centre is not the checkpoint's loss. Repeat in double precision."
        yield Action(words, "landscape", double)
    holes = result.non_finite
    if holes.exists and holes.value > 0:
        words = (
            f"The loss is not finite at {number(holes.value)} points. Look closer to the centre."
        )
        yield Action(words, "landscape", {"rise": "0.1"})
