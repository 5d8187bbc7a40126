"""The page on saliency: what the network looked at."""

from __future__ import annotations

from collections.abc import Sequence

from lla.analyses.saliency import SaliencyResult
from lla.estimate import Estimate
from lla.numbers import interval
from lla_plots.parts import Section, Shown
from lla_plots.phrases import counted, told
from lla_plots.tables import metrics

__all__ = ["sections"]

_STRONG, _WEAK = 0.3, 0.7


def sections(result: SaliencyResult) -> Sequence[Section]:
    """Where the maps are bright, and how much they depend on the class."""
    sensitivity = result.class_sensitivity
    if not sensitivity.exists:
        why = sensitivity.why or "it is not known"
        answer, lead = f"not known: {why}", f"That cannot be told: {why}."
    else:
        answer = f"class sensitivity {interval(sensitivity)}"
        lead = (
            "The maps are bright where features of the image are strong and the network's answer "
            "depends on them. Maps for the most and the least likely class have a mean rank "
            f"correlation of {told(sensitivity)}: {_meaning(sensitivity)}."
        )
    shown: tuple[Shown, ...] = ()
    if result.images is not None:
        count = counted(len(result.images), "image")
        alt = f"Saliency maps of {count}: each image, the combined map over it, each layer's map."
        title = "NormGrad maps: each image, the combined map over it, and each layer's own"
        shown = (Shown("saliency", title, alt),)
    notes = ("There are no maps to show.",) if sensitivity.exists and not result.maps else ()
    return (
        Section(
            "saliency",
            "What did the network look at?",
            answer,
            lead,
            60,
            notes=notes,
            figures=shown,
            tables=(metrics(result, "saliency"),),
        ),
    )


def _meaning(sensitivity: Estimate) -> str:
    if sensitivity.low >= _WEAK:
        return (
            "they hardly depend on the class, so read them as where there is something to see, "
            "not as why the network chose its class"
        )
    if sensitivity.high <= _STRONG:
        return "they depend strongly on the class, so they tell it apart from the others"
    return "they depend on the class in part (1 would be not at all)"
