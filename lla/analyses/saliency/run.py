"""NormGrad with a virtual 1×1 convolution: ‖a_u‖‖g_u‖ at each location u.

A virtual identity 1×1 convolution after a layer has the weight gradient Σ_u g_u a_uᵀ; the norm of
location u's contribution is ‖g_u‖‖a_u‖ (Rebuffi et al. 2020, section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.stats import spearmanr
from torch.nn import functional as F

from lla.analyses.saliency import SaliencyConfig, SaliencyMap, SaliencyResult
from lla.analyses.saliency.capture import Grid, captured, grid_of, spatial
from lla.analyses.workspace import Workspace
from lla.errors import ConfigurationError, nearest
from lla.estimate import Estimate, mean_of
from lla.problem import Batch, Problem
from lla.problem.batch_norm import some
from lla.problem.forward import outputs_if_any, outputs_of
from lla.problem.inputs import Inputs
from lla.seeding import permutation

__all__ = ["norm_grad", "run"]

Maps = dict[str, torch.Tensor]


def run(problem: Problem, config: SaliencyConfig, workspace: Workspace) -> SaliencyResult:
    """Maps for the predicted class of some images, at one layer of each resolution.

    Each is of one image: batch norm uses its running statistics, whatever the loss does.
    """
    count = min(config.images, len(problem.data))
    chosen = permutation(len(problem.data), workspace.seed, "saliency")[:count].sort().values
    batch = problem.data.select(chosen)
    unlike = problem.batch_norm == "batch"
    with problem.running_statistics():
        found = _of_images(problem, config, workspace, batch, chosen)
    if not unlike or not found.maps:
        return found
    how = f"{found.class_sensitivity.method}, batch norm by running statistics"
    return replace(found, class_sensitivity=replace(found.class_sensitivity, method=how))


def _of_images(
    problem: Problem,
    config: SaliencyConfig,
    workspace: Workspace,
    batch: Batch,
    chosen: torch.Tensor,
) -> SaliencyResult:
    """The maps of the chosen images, where a map can be of an image alone."""
    images, reason = batch.inputs, _no_images(batch.inputs)
    if reason or not isinstance(images, torch.Tensor):
        return _nothing(reason)
    if problem.coupled_layers:
        return _nothing(
            f"{some(problem.coupled_layers)} keep no running statistics: "
            "a map would be of all images together"
        )
    with torch.no_grad():
        logits = outputs_if_any(problem.module, batch)
    if logits is None or logits.ndim != 2 or logits.shape[1] < 2:
        return _nothing("the network gives no vector of class logits for an image")
    predicted, unlikely = logits.argmax(1), logits.argmin(1)
    maps = norm_grad(problem, images, predicted, config.layers)
    if not maps:
        return _nothing("no layer keeps the image's two spatial axes")
    workspace.tally("images")(batch.samples)
    others = norm_grad(problem, images, unlikely, tuple(maps))
    size = images.shape[-2:]
    combined = _combined(maps, size)
    positions = chosen if problem.data.indices is None else problem.data.indices[chosen]
    return SaliencyResult(
        class_sensitivity=_sensitivity(combined, _combined(others, size), workspace.confidence),
        images=_numpy(images),
        indices=_numpy(positions),
        predicted=_numpy(predicted),
        targets=_numpy(batch.targets) if batch.targets.ndim == 1 else None,
        combined=_numpy(combined),
        maps={name: _saliency_map(raw) for name, raw in maps.items()},
    )


def norm_grad(
    problem: Problem, images: torch.Tensor, classes: torch.Tensor, layers: Sequence[str] = ()
) -> Maps:
    """Raw NormGrad maps of the logit of one class per image.

    Args:
        problem: The network.
        images: Shape (n, C, H, W).
        classes: Class whose logit is explained, shape (n,).
        layers: Layers by name; if empty, the last layer of each resolution that the logits
            depend on.

    Returns:
        Maps of shape (n, rows, columns) by layer, in the order of the forward pass.

    Raises:
        ConfigurationError: A named layer does not exist or has no spatial output.
    """
    inputs = images.detach().clone().requires_grad_(True)
    with captured(problem.module) as outputs:
        logits = outputs_of(problem.module, Batch(inputs, classes))
    grids = {name: grid_of(output, images.shape) for name, output in outputs.items()}
    spatial_names = [name for name, grid in grids.items() if grid is not None]
    for name in layers:
        if name not in spatial_names:
            raise ConfigurationError(
                f"there is no layer '{name}' with a spatial output{nearest(name, spatial_names)}",
                f"choose among: {', '.join(spatial_names) or 'there is none'}",
            )
    names = list(layers) or spatial_names
    if not names:
        return {}
    target = logits.gather(1, classes[:, None]).sum()
    slopes = torch.autograd.grad(target, [outputs[name] for name in names], allow_unused=True)
    maps: Maps = {}
    kept_grids: dict[str, Grid] = {}
    for name, slope in zip(names, slopes, strict=True):
        grid = grids[name]
        if slope is None or grid is None:
            continue
        activation = spatial(outputs[name].detach(), grid)
        maps[name] = activation.norm(dim=1) * spatial(slope, grid).norm(dim=1)
        kept_grids[name] = grid
    return maps if layers else _last_of_each_resolution(maps, kept_grids)


def _last_of_each_resolution(maps: Maps, grids: dict[str, Grid]) -> Maps:
    """Of all maps, the last one of each resolution that is not zero everywhere."""
    last: dict[tuple[int, int], str] = {}
    for name, raw in maps.items():
        if bool(raw.any()):
            last[grids[name].rows, grids[name].columns] = name
    chosen = set(last.values())
    return {name: raw for name, raw in maps.items() if name in chosen}


def _no_images(inputs: Inputs) -> str:
    if not isinstance(inputs, torch.Tensor):
        return f"the inputs are not images: the network takes {len(inputs)} of them by " + (
            "name" if isinstance(inputs, dict) else "position"
        )
    if inputs.ndim != 4 or not inputs.is_floating_point():
        return f"the inputs are not images: their shape is {tuple(inputs.shape[1:])} per sample"
    return ""


def _nothing(reason: str) -> SaliencyResult:
    return SaliencyResult(
        class_sensitivity=Estimate.missing(reason),
        images=None,
        indices=None,
        predicted=None,
        targets=None,
        combined=None,
        maps={},
    )


def _normalized(raw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each map scaled to [0, 1], and which maps are constant; those become 0."""
    low = raw.amin(dim=(1, 2), keepdim=True)
    span = raw.amax(dim=(1, 2), keepdim=True) - low
    constant = span == 0
    scaled = torch.where(constant, torch.zeros_like(raw), (raw - low) / (span + constant))
    return scaled, constant.flatten()


def _saliency_map(raw: torch.Tensor) -> SaliencyMap:
    scaled, constant = _normalized(raw)
    return SaliencyMap(raw=_numpy(raw), normalized=_numpy(scaled), degenerate=_numpy(constant))


def _combined(maps: Maps, size: torch.Size) -> torch.Tensor:
    """Geometric mean of the normalized maps, resized bilinearly to the images: (n, H, W)."""
    resized = [
        F.interpolate(
            _normalized(raw)[0][:, None], size=tuple(size), mode="bilinear", align_corners=False
        )[:, 0]
        for raw in maps.values()
    ]
    return torch.stack(resized).prod(dim=0) ** (1 / len(resized))


def _sensitivity(most: torch.Tensor, least: torch.Tensor, confidence: float) -> Estimate:
    """Mean Spearman correlation of the two classes' maps over the images where it is defined."""
    found = []
    for one, other in zip(_numpy(most), _numpy(least), strict=True):
        if np.ptp(one) > 0 and np.ptp(other) > 0:
            found.append(float(spearmanr(one.ravel(), other.ravel()).statistic))
    if len(found) < 2:
        return Estimate.missing("fewer than two images have maps that vary")
    return mean_of(
        found, confidence, method=f"mean over {len(found)} of {len(most)} images, combined maps"
    )


def _numpy(values: torch.Tensor) -> np.ndarray:
    array: np.ndarray = values.detach().cpu().numpy()
    return array
