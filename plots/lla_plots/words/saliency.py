"""The page on saliency: what the network looked at, what the maps are worth, what is sharp."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lla.analyses.saliency import SaliencyResult
from lla.estimate import Estimate
from lla.numbers import interval, number
from lla_plots.parts import Section, Shown
from lla_plots.phrases import counted, percent, told
from lla_plots.tables import metrics

__all__ = ["sections"]

_STRONG, _WEAK = 0.3, 0.7
_DESTROYED = 0.2


def sections(result: SaliencyResult) -> Sequence[Section]:
    """Where the maps are bright, what they are worth, and which samples are sharp."""
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
    notes = ("There are no maps to show.",) if sensitivity.exists and not result.maps else ()
    first = Section(
        "saliency",
        "What did the network look at?",
        answer,
        lead,
        60,
        notes=(*notes, *_constant(result)),
        figures=tuple(_figures(result)),
        tables=(metrics(result, "saliency"),),
    )
    return tuple(
        section for section in (first, _worth(result), _sharpness(result)) if section is not None
    )


def _figures(result: SaliencyResult) -> Iterator[Shown]:
    if result.images is None:
        return
    count = counted(len(result.images), "image")
    yield Shown(
        "saliency",
        "Saliency maps: each image, the combined map over it, and each layer's own",
        f"Saliency maps of {count}: each image, the combined map over it, each layer's map.",
    )
    if result.sheet is not None:
        yield Shown(
            "saliency_classes",
            "The maps that each class would have",
            f"Contact sheet: {counted(len(result.sheet.shown), 'image')} by "
            f"{counted(len(result.sheet.classes), 'class', 'classes')} that are explained.",
        )
    if result.pairs:
        yield Shown(
            "saliency_pairs",
            "Other virtual layers and aggregations, from the same passes",
            f"Combined maps of {counted(len(result.pairs), 'pair')} of phases.",
        )


def _constant(result: SaliencyResult) -> Iterator[str]:
    """Why layers have constant maps."""
    names = [name for name, layer in result.maps.items() if len(layer.degenerate)]
    constant = [name for name in names if result.maps[name].degenerate.all()]
    if constant:
        yield (
            f"All maps of {', '.join(constant)} are constant: what is aggregated there is the same "
            "at every location, as the gradient is before average pooling. They are left out of "
            "the combined map; an aggregation of activations too (scaling, conv1x1) says more."
        )


def _worth(result: SaliencyResult) -> Section | None:
    beyond, gain = result.randomized_beyond, result.deletion_gain
    if result.randomization is None and result.curves is None:
        return None
    said = []
    if beyond.exists:
        raw = result.randomized
        verdict = (
            "no more than maps of untrained networks have in common"
            if beyond.value < _DESTROYED
            else "more than maps of untrained networks have in common"
        )
        said.append(
            f"With all weights drawn anew, maps have a rank correlation of {told(raw)} with the "
            f"network's own; beyond the outlines that every untrained network shows it is "
            f"{told(beyond)}: {verdict}."
        )
        if raw.exists and raw.value >= _DESTROYED:
            said.append(
                "The first is so large because magnitudes follow what is in the image, whatever "
                "the weights are: maps of untrained networks have "
                f"{told(result.untrained_agreement)} with each other, and a blur of the image has "
                f"{told(result.image_agreement)} with the network's own."
            )
    if gain.exists:
        better = (
            "sooner" if gain.low > 0 else "later" if gain.high < 0 else "no sooner and no later"
        )
        said.append(
            f"As the brightest pixels are taken away, the class' probability falls {better} than "
            f"in a random order (area between the curves {told(gain)}); as they are given, it "
            f"rises by {told(result.insertion_gain)} more."
        )
    if result.noise_agreement.exists:
        said.append(
            f"Under noise on the weights maps keep a rank correlation of "
            f"{told(result.noise_agreement)}."
        )
    if result.ink_share.exists:
        said.append(
            f"{percent(result.ink_share.value)} of the maps' mass lies on ink, where a uniform map "
            f"has {percent(result.ink_uniform.value)}."
        )
    answer = "not known"
    if beyond.exists:
        answer = f"without the trained weights {interval(beyond)} is left of them"
    elif gain.exists:
        answer = f"deletion beats a random order by {interval(gain)}"
    alt = "Deletion and insertion curves, and rank correlations as weights are drawn anew."
    title = "Deletion, insertion, and maps of networks whose weights are drawn anew"
    return Section(
        "saliency-checks",
        "Can the saliency maps be trusted?",
        answer,
        " ".join(said),
        61,
        figures=(Shown("saliency_checks", title, alt),),
    )


def _sharpness(result: SaliencyResult) -> Section | None:
    if result.ranking is None or result.curvature is None:
        return None
    mean, share = result.mean_sharpness, result.sharpest_share
    value = number(float(result.curvature.eigenvalues[0]))
    lead = (
        f"Along the eigenvector of λ_max = {value} the {number(len(result.ranking.sample))} ranked "
        f"samples' own losses have a mean curvature of {told(mean)}."
    )
    if share.exists:
        lead += f" The sharpest tenth of them has {percent(share.value)} of its sum."
    figures = (
        Shown(
            "saliency_curvature",
            "Where images push along the eigenvectors, and which pixels make their loss sharp",
            "Signed maps of each image along eigenvectors of the Hessian.",
        ),
        Shown("saliency_samples", "The sharpest and the flattest samples", "Samples by sharpness."),
    )
    answer = f"the sharpest tenth has {percent(share.value)}" if share.exists else "ranked"
    return Section(
        "saliency-sharpness",
        "Which samples make the loss sharp, and where?",
        answer,
        lead,
        62,
        figures=figures,
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
