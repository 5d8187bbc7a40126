"""The page on sharpness: how much the loss rises around the weights, by each measure."""

from __future__ import annotations

from collections.abc import Sequence

from lla.analyses.sharpness import SharpnessResult
from lla.estimate import Estimate
from lla.numbers import interval, number
from lla_plots.parts import Cell, Section, Shown, Table
from lla_plots.phrases import told
from lla_plots.tables import metrics

__all__ = ["sections"]

_FAR = 2.0
_TITLES = {
    "sam": "SAM sharpness",
    "m_sharpness": "m-sharpness",
    "asam": "ASAM sharpness",
    "average": "average-case sharpness",
    "scaled_average": "average-case sharpness relative to |θ|",
    "fisher_rao": "squared Fisher–Rao norm",
    "relative_flatness": "relative flatness",
}


def sections(result: SharpnessResult) -> Sequence[Section]:
    """How much the loss rises around the weights."""
    lead = " ".join(part for part in (_worst(result), _average(result), _apart(result)) if part)
    return (
        Section(
            "rises",
            "How much does the loss rise around it?",
            f"worst rise found nearby {interval(result.sam)}" if result.sam.exists else "",
            lead,
            35,
            notes=(
                "Measures that rescaling of the weights changes (SAM, the average case) compare "
                "checkpoints of one training, not networks: the table says what leaves each "
                "unchanged.",
            ),
            figures=(Shown("sharpness", "Rises of the loss and their second-order forms", lead),),
            tables=(_table(result), metrics(result, "sharpness")),
        ),
    )


def _worst(result: SharpnessResult) -> str:
    if not result.sam.exists:
        return f"The worst rise nearby is not known: {result.sam.why}."
    words = (
        "The largest rise of the loss that ascent found within SAM's ball is "
        f"{told(result.sam)}: the true maximum is at least that."
    )
    if result.asam.exists:
        words += f" Relative to the size of each weight (ASAM) it is {told(result.asam)}."
    return words


def _average(result: SharpnessResult) -> str:
    if not result.average.exists:
        return ""
    words = f"Under Gaussian noise the loss rises by {told(result.average)} on average"
    if result.average_order2.exists:
        words += f", where the Hessian alone predicts {told(result.average_order2)}"
    return f"{words}."


def _apart(result: SharpnessResult) -> str:
    """Whether the loss is quadratic over the distances that the measures look at."""
    far = []
    for name in ("sam", "asam", "average", "scaled_average"):
        measured: Estimate = getattr(result, name)
        second: Estimate = getattr(result, f"{name}_order2")
        if not (measured.exists and second.exists and second.value > 0):
            continue
        times = measured.value / second.value
        # A gap within the intervals is none.
        apart = measured.low > second.high or measured.high < second.low
        if apart and (times > _FAR or times < 1 / _FAR):
            far.append(f"{_TITLES[name]} is {number(times, 2)} times its second-order form")
    if not far:
        return ""
    return f"The loss is not quadratic that far from the weights: {'; '.join(far)}."


def _table(result: SharpnessResult) -> Table:
    found = result.measures
    rows = tuple(
        (
            Cell(_TITLES.get(name, name), "", code=f"sharpness/{name}"),
            Cell(interval(getattr(result, name)), "number"),
            Cell(invariant, "about"),
            Cell(source, "about"),
        )
        for name, invariant, source in zip(found.names, found.invariant, found.source, strict=True)
    )
    head = ("measure", "value", "does not change under", "source")
    return Table(head, rows, "What each measure is")
