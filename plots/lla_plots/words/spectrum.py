"""The page on the spectrum: how sharp, and which layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lla.analyses.spectrum import Layers, SpectrumResult
from lla.estimate import Estimate
from lla.numbers import interval, number
from lla_plots import interactive
from lla_plots.parts import Cell, Section, Shown, Table
from lla_plots.phrases import listed, percent, told
from lla_plots.tables import metrics

__all__ = ["sections"]

_SHORT_STEP = 0.01
_MOST_LAYERS = 40
_ENOUGH = 0.8


def sections(result: SpectrumResult) -> Sequence[Section]:
    """How sharp it is, and, where the trace is known by layer, which layers carry it."""
    found = (_sharpness(result),)
    known = np.isfinite(result.layers.trace).any()
    return (*found, _layers(result.layers)) if known else found


def _sharpness(result: SpectrumResult) -> Section:
    matrix = "loss" if result.operator.value == "hessian" else result.operator.why
    return Section(
        "sharpness",
        "How sharp is it?",
        f"λ_max = {interval(result.lambda_max)}",
        " ".join((*_steepest(result, matrix), *_opposite(result, matrix), *_breadth(result))),
        10,
        notes=_unconverged(result),
        figures=(_density(result),),
        tables=(_eigenvalues(result), metrics(result, "hessian")),
    )


def _steepest(result: SpectrumResult, matrix: str) -> Sequence[str]:
    largest = result.lambda_max
    if not largest.exists:
        return (f"That is not known: {largest.why or 'there is no largest eigenvalue'}.",)
    said = f"Along its sharpest direction the {matrix} has curvature λ_max = {told(largest)}."
    if largest.value <= 0:
        return (said,)
    rise = number(largest.value * _SHORT_STEP**2 / 2, 2)
    return (
        said,
        f"A step of length {_SHORT_STEP} that way raises the loss by about {rise} through "
        "curvature alone (½·λ_max·length²).",
    )


def _opposite(result: SpectrumResult, matrix: str) -> Sequence[str]:
    smallest = result.lambda_min
    if not smallest.exists:
        return ()
    if smallest.high < 0:
        said = "Some direction bends down, so this is not a minimum in every direction: λ_min = "
    elif smallest.low >= 0:
        said = "No direction bends down: λ_min = "
    else:
        said = "Whether any direction bends down is not decided: λ_min = "
    return (f"{said}{told(smallest)}.",)


def _breadth(result: SpectrumResult) -> Sequence[str]:
    rank = result.effective_rank
    if not rank.exists:
        return ()
    return (f"The curvature is spread as if over {told(rank)} equally curved directions.",)


def _unconverged(result: SpectrumResult) -> tuple[str, ...]:
    if result.lambda_max.exists and not result.lambda_max.converged:
        return ("λ_max has not converged: the iteration was stopped before its interval closed.",)
    return ()


def _density(result: SpectrumResult) -> Shown:
    values = result.eigenvalues
    alt = (
        f"Density of the eigenvalues on a logarithmic scale: a bulk near 0 and {len(values)} "
        f"eigenvalues found one by one, the largest {number(float(np.max(values)))}, "
        f"the smallest {number(float(np.min(values)))}."
        if len(values)
        else "Density of the eigenvalues on a logarithmic scale."
    )
    title = "How the eigenvalues are spread: their density, and the extreme ones one by one"
    return Shown("spectrum", title, alt, interactive.spectrum(result))


def _eigenvalues(result: SpectrumResult) -> Table:
    rounding = _rounding(result)
    values, residuals = result.eigenvalues.tolist(), result.residuals.tolist()
    found = zip(values, residuals, result.converged, strict=True)
    rows = tuple(
        (
            Cell(number(rank)),
            Cell(interval(Estimate(value, value - error, value + error)), "number"),
            Cell("yes" if converged else "no", "" if converged else "warn"),
        )
        for rank, (value, residual, converged) in enumerate(found, 1)
        for error in (residual + rounding,)
    )
    head = ("rank", "eigenvalue, give or take residual and rounding", "converged")
    return Table(head, rows, "Eigenvalues found one by one, from the largest")


def _rounding(result: SpectrumResult) -> float:
    """How far rounding may move any eigenvalue: what the extreme ones allow beside residuals."""
    if not len(result.residuals):
        return 0.0
    ends = ((result.lambda_max, result.residuals[0]), (result.lambda_min, result.residuals[-1]))
    return max(
        0.0,
        *((end.high - end.low) / 2 - float(residual) for end, residual in ends if end.exists),
    )


def _layers(layers: Layers) -> Section:
    order = [int(i) for i in np.argsort(-np.nan_to_num(layers.trace, nan=-np.inf))]
    answer, lead = _carriers(layers, order)
    kept = order[:_MOST_LAYERS]
    caption = "Layers from the largest trace"
    if len(kept) < len(order):
        caption += f": the first {len(kept)} of {len(order)}"
    head = ("layer", "parameters", "trace", "share of the whole", "largest eigenvalue of its block")
    table = Table(head, tuple(_layer_row(layers, i) for i in kept), caption)
    shown = Shown("layers", "Trace of the Hessian by layer, with its interval", lead)
    return Section(
        "layers",
        "Which layers carry the curvature?",
        answer,
        lead,
        40,
        figures=(shown,),
        tables=(table,),
    )


def _carriers(layers: Layers, order: Sequence[int]) -> tuple[str, str]:
    """The layer with most of the trace, and the few that together have most of it."""
    first = order[0]
    share = float(layers.share[first])
    trace = interval(_trace(layers, first))
    name = layers.names[first]
    if not np.isfinite(share):
        return f"{name}: trace {trace}", f"Layer {name} has the largest trace, {trace}."
    answer = f"{name}: {percent(share)} of the trace"
    lead = f"Layer {name} carries {percent(share)} of the trace: {trace}."
    shares = np.nan_to_num(layers.share[np.array(order)])
    few = int(np.searchsorted(np.cumsum(shares), _ENOUGH)) + 1
    if 1 < few <= 5 and few < len(order):
        several = listed([layers.names[i] for i in order[:few]])
        lead += f" Together {several} carry {percent(float(shares[:few].sum()))}."
    peak = layers.lambda_max
    if np.isfinite(peak).any():
        sharpest = int(np.nanargmax(peak))
        lead += (
            f" The sharpest on its own is layer {layers.names[sharpest]}, whose block's largest "
            f"eigenvalue is {interval(_peak(layers, sharpest))}."
        )
    return answer, lead


def _layer_row(layers: Layers, index: int) -> tuple[Cell, ...]:
    share = float(layers.share[index])
    return (
        Cell(layers.names[index], "code"),
        Cell(number(int(layers.parameters[index])), "number"),
        Cell(interval(_trace(layers, index)), "number"),
        Cell(f"{100 * share:.1f} %" if np.isfinite(share) else "—", "number"),
        Cell(interval(_peak(layers, index)), "number"),
    )


def _trace(layers: Layers, index: int) -> Estimate:
    return _estimate(layers.trace, layers.low, layers.high, index)


def _peak(layers: Layers, index: int) -> Estimate:
    return _estimate(layers.lambda_max, layers.lambda_max_low, layers.lambda_max_high, index)


def _estimate(value: np.ndarray, low: np.ndarray, high: np.ndarray, index: int) -> Estimate:
    return Estimate(float(value[index]), float(low[index]), float(high[index]))
