"""From the settings to the result: which images, their maps, and what the maps are worth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from lla.analyses.saliency import PairMaps, SaliencyConfig, SaliencyMap, SaliencyResult, checks
from lla.analyses.saliency.capture import preserved
from lla.analyses.saliency.combine import normalized
from lla.analyses.saliency.explaining import Explainer, explainer_of
from lla.analyses.saliency.maps import Maps, Network, as_numpy
from lla.analyses.saliency.pictures import Chosen, choose
from lla.analyses.saliency.ranks import averaged, rank_correlations
from lla.analyses.saliency.sharpness import curvature_maps, eigenpairs, ranking
from lla.analyses.saliency.targets import class_targets, classes_to_explain, refuse_other_targets
from lla.analyses.workspace import Workspace
from lla.errors import ConfigurationError, some
from lla.estimate import Estimate
from lla.problem import Problem
from lla.problem.forward import outputs_if_any
from lla.problem.inputs import Inputs

__all__ = ["no_images", "norm_grad", "run"]


def run(problem: Problem, config: SaliencyConfig, workspace: Workspace) -> SaliencyResult:
    """Maps of some images, and the checks that the settings ask for.

    Each map is of one image: batch norm uses its running statistics, whatever the loss does.

    Raises:
        ConfigurationError: Images, layers or targets are asked for that there are not.
    """
    reason = no_images(problem.data.inputs)
    if not reason and config.curvature and problem.batch_norm == "batch":
        reason = (
            "maps along eigenvectors are of the analysed loss, in which batch norm normalizes by "
            "all samples together: leave --curvature out, or use --batch-norm running"
        )
    if reason:
        return _nothing(reason)
    unlike = problem.batch_norm == "batch"
    # The eigenvectors are those of the analysed loss: before batch norm is switched.
    pairs = eigenpairs(config.curvature, problem, workspace) if config.curvature else None
    with problem.running_statistics(), preserved(problem.module, problem.device):
        found = _of_images(problem, config, workspace, pairs)
    if not unlike or not found.maps:
        return found
    how = f"{found.class_sensitivity.method}, batch norm by running statistics"
    return replace(found, class_sensitivity=replace(found.class_sensitivity, method=how))


def norm_grad(
    explainer: Explainer, problem: Problem, images: torch.Tensor, classes: torch.Tensor
) -> Maps:
    """Raw maps of the checkpoint itself, by layer."""
    return explainer.maps(Network(problem.module), images, classes)


def _of_images(
    problem: Problem, config: SaliencyConfig, workspace: Workspace, pairs: Any
) -> SaliencyResult:
    """The maps of the chosen images, where a map can be of an image alone."""
    if problem.coupled_layers:
        return _nothing(
            f"{some(problem.coupled_layers)} keep no running statistics: "
            "a map would be of all images together"
        )
    chosen = choose(problem, config, workspace.seed)
    images, given = chosen.batch.inputs, class_targets(chosen.batch)
    assert isinstance(images, torch.Tensor)
    with torch.no_grad():
        logits = outputs_if_any(problem.module, chosen.batch)
    if logits is None or logits.ndim != 2 or logits.shape[1] < 2:
        return _nothing("the network gives no vector of class logits for an image")
    refuse_other_targets(problem, config.score)
    classes = classes_to_explain(config.target, logits, given)
    explainer = explainer_of(problem, config, workspace.tally("images"))
    maps = norm_grad(explainer, problem, images, classes)
    if not maps.raw:
        return _nothing("no layer keeps the image's two spatial axes")
    settled = explainer.at(tuple(maps.raw))
    plain = explainer.combined(maps, images.shape)
    shown = checks.Shown(problem, config, workspace, settled, images, classes, logits, plain)
    found = _checked(shown, maps, explainer)
    found |= _curved(problem, config, workspace, chosen, given, pairs)
    return SaliencyResult(
        **found,
        images=as_numpy(images),
        indices=as_numpy(chosen.positions),
        predicted=as_numpy(logits.argmax(1)),
        explained=as_numpy(classes),
        targets=None if given is None else as_numpy(given),
        combined=as_numpy(plain),
        weights=as_numpy(explainer.weights(maps)),
        maps={name: _saliency_map(raw) for name, raw in maps.raw.items()},
    )


def _checked(shown: checks.Shown, maps: Maps, explainer: Explainer) -> dict[str, Any]:
    """What each check says, by the result's fields."""
    network, images, logits = Network(shown.problem.module), shown.images, shown.logits
    most, least = logits.argmax(1), logits.argmin(1)
    full = replace(explainer, wanted=replace(explainer.wanted, layers=tuple(maps.raw)))
    alike = torch.equal(most, shown.classes)
    likely = maps if alike else full.maps(network, images, most)
    unlikely = full.maps(network, images, least)

    def joined(of: Maps, pair: Any = None) -> torch.Tensor:
        return full.combined(of, images.shape, pair)

    meta, meta_sensitivity, meta_agreement = checks.meta(shown)
    randomization, drawn_anew = checks.randomization(shown)
    curves, lower, higher = checks.deletion(shown)
    on_ink, uniform = checks.ink(shown)
    confidence = shown.workspace.confidence
    return {
        "class_sensitivity": averaged(
            rank_correlations(joined(likely), joined(unlikely)), confidence, "combined maps"
        ),
        "meta_class_sensitivity": meta_sensitivity,
        "meta_agreement": meta_agreement,
        **drawn_anew,
        "image_agreement": checks.blurred(shown),
        "deletion_gain": lower,
        "insertion_gain": higher,
        "noise_agreement": checks.noise(shown),
        "ink_share": on_ink,
        "ink_uniform": uniform,
        "degenerate": _degenerate(maps),
        "meta": None if meta is None else as_numpy(meta),
        "pairs": {
            f"{pair.virtual}_{pair.aggregation}": PairMaps(
                as_numpy(joined(maps, pair)),
                averaged(
                    rank_correlations(joined(likely, pair), joined(unlikely, pair)),
                    confidence,
                    "combined maps",
                ),
                averaged(rank_correlations(shown.plain, joined(maps, pair)), confidence, ""),
            )
            for pair in maps.more
        },
        "sheet": checks.sheet(shown),
        "randomization": randomization,
        "curves": curves,
    }


def _curved(
    problem: Problem,
    config: SaliencyConfig,
    workspace: Workspace,
    chosen: Chosen,
    given: torch.Tensor | None,
    pairs: Any,
) -> dict[str, Any]:
    """Curvature and saliency together, by the result's fields."""
    if pairs is None:
        off = Estimate.missing("it was not asked for: --curvature 1")
        return {"mean_sharpness": off, "sharpest_share": off, "curvature": None, "ranking": None}
    if not len(chosen.batch.targets) or not chosen.batch.targets.numel():
        raise ConfigurationError(
            "maps along eigenvectors are of each image's loss, and image files have no targets",
            "leave --curvature out, or choose images of the data",
        )
    maps = curvature_maps(problem, chosen.batch, pairs, at_once=config.at_once)
    table, mean, share = ranking(problem, pairs[2][0], config.ranked, workspace)
    return {
        "mean_sharpness": mean,
        "sharpest_share": share,
        "curvature": maps,
        "ranking": table,
    }


def _degenerate(maps: Maps) -> Estimate:
    odd = torch.stack([normalized(raw)[1] for raw in maps.raw.values()])
    count, whole = int(odd.sum()), odd.numel()
    return Estimate.exact(count / whole, method=f"{count} of {whole} maps of an image at a layer")


def no_images(inputs: Inputs) -> str:
    """Why the inputs are no images, or ""."""
    if not isinstance(inputs, torch.Tensor):
        return f"the inputs are not images: the network takes {len(inputs)} of them by " + (
            "name" if isinstance(inputs, dict) else "position"
        )
    if inputs.ndim != 4 or not inputs.is_floating_point():
        return f"the inputs are not images: their shape is {tuple(inputs.shape[1:])} per sample"
    return ""


_METRICS = (
    "class_sensitivity",
    "meta_class_sensitivity",
    "meta_agreement",
    "randomized",
    "randomized_beyond",
    "randomized_on_ink",
    "untrained_agreement",
    "image_agreement",
    "deletion_gain",
    "insertion_gain",
    "noise_agreement",
    "ink_share",
    "ink_uniform",
    "degenerate",
    "mean_sharpness",
    "sharpest_share",
)
_ARRAYS = ("images", "indices", "predicted", "explained", "targets", "combined", "weights", "meta")
_GROUPS = ("sheet", "randomization", "curves", "curvature", "ranking")


def _nothing(reason: str) -> SaliencyResult:
    found: dict[str, Any] = dict.fromkeys(_METRICS, Estimate.missing(reason))
    found |= dict.fromkeys((*_ARRAYS, *_GROUPS))
    return SaliencyResult(**found, maps={}, pairs={})


def _saliency_map(raw: torch.Tensor) -> SaliencyMap:
    scaled, constant = normalized(raw)
    return SaliencyMap(
        raw=as_numpy(raw), normalized=as_numpy(scaled), degenerate=as_numpy(constant)
    )
