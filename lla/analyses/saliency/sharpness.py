"""Curvature and saliency together: signed maps along eigenvectors, and which samples are sharp."""

from __future__ import annotations

import numpy as np
import torch

from lla.analyses.saliency import CurvatureMaps, LayerCurvature, Ranking
from lla.analyses.saliency.curvature_maps import signed_maps
from lla.analyses.saliency.maps import as_numpy
from lla.analyses.saliency.per_sample import along, sharpness_gradient
from lla.analyses.spectral import spectral
from lla.analyses.workspace import Workspace
from lla.errors import ConfigurationError
from lla.estimate import Estimate, mean_of
from lla.problem import Batch, Problem
from lla.problem.forward import outputs_of
from lla.seeding import permutation

__all__ = ["curvature_maps", "eigenpairs", "ranking"]

_SHOWN = 8
_CHUNK = 64

Pairs = tuple[np.ndarray, np.ndarray, torch.Tensor]


def eigenpairs(count: int, problem: Problem, workspace: Workspace) -> Pairs:
    """The eigenvalues, residuals and unit eigenvectors (rows) of the Hessian's largest eigenvalues.

    Raises:
        ConfigurationError: More are asked for than were searched.
    """
    if count == 1:
        ends = workspace.get(spectral("hessian").ends, problem)
        return ends.values[:1], ends.residuals[:1], ends.vectors[:1]
    pairs = workspace.get(spectral("hessian").spectrum, problem).pairs
    if count > len(pairs.values):
        raise ConfigurationError(
            f"maps along {count} eigenvectors are asked for, and {len(pairs.values)} are searched",
            f"search for more: --set spectrum.largest={count}",
        )
    return pairs.values[:count], pairs.residuals[:count], pairs.vectors[:count]


def curvature_maps(
    problem: Problem, batch: Batch, pairs: Pairs, *, at_once: int = _CHUNK
) -> CurvatureMaps:
    """Maps along eigenvectors, of the loss of each image with its own target.

    Args:
        problem: Network, θ and loss.
        batch: n images with their targets.
        pairs: From :func:`eigenpairs`.
        at_once: Images in one pass.
    """
    values, residuals, vectors = pairs
    parts, slopes, curved, sharp = [], [], [], []
    for part in batch.chunks(at_once):
        parts.append(signed_maps(problem, part, vectors))
        found = [along(problem, part, vector) for vector in vectors]
        slopes.append(torch.stack([one[0] for one in found]))
        curved.append(found[0][1])
        sharp.append(sharpness_gradient(problem, part, vectors[0]))
    maps = torch.cat([part.whole for part in parts], dim=1)
    slope = torch.cat(slopes, dim=1)
    layers = {
        name: LayerCurvature(as_numpy(torch.cat([part.layers[name] for part in parts], dim=1)))
        for name in parts[0].layers
    }
    return CurvatureMaps(
        eigenvalues=np.asarray(values),
        residuals=np.asarray(residuals),
        maps=as_numpy(maps),
        slopes=as_numpy(slope),
        elsewhere=as_numpy(slope - maps.sum(dim=(2, 3))),
        sharpness=as_numpy(torch.cat(curved)),
        sharpness_maps=as_numpy(torch.cat(sharp)),
        layers=layers,
    )


def ranking(
    problem: Problem, vector: torch.Tensor, count: int, workspace: Workspace
) -> tuple[Ranking, Estimate, Estimate]:
    """Rank samples by vᵀH_iv; the mean, and the share of the sharpest tenth.

    Args:
        problem: Network, θ, data and loss.
        vector: v, the eigenvector of λ_max, shape (P,).
        count: Samples, drawn by the seed; 0: all.
        workspace: Of the run.
    """
    whole = len(problem.data)
    chosen = torch.arange(whole)
    if count and count < whole:
        chosen = permutation(whole, workspace.seed, "saliency ranking")[:count].sort().values
    team = problem.team
    # Rounds, because all ranks have to be asked before one may stop.
    found = []
    for start in range(0, len(chosen), _CHUNK * team.size):
        places = chosen[start : start + _CHUNK * team.size]
        mine = problem.data.select(places[team.share(len(places))])
        with team.timed("images"):
            own = along(problem, mine, vector)[1] if mine.samples else problem.theta[:0]
        found.append(team.joined(own, len(places)))
        workspace.tally("images")(len(places))
    sharpness = torch.cat(found).double().cpu()
    order = sharpness.argsort(descending=True, stable=True)
    ranked = sharpness[order]
    half = min(_SHOWN, len(order) // 2)
    places = torch.cat([torch.arange(half), torch.arange(len(order) - half, len(order))])
    seen = problem.data.select(chosen[order[places]])
    with torch.no_grad():
        predicted = outputs_of(problem.module, seen).argmax(1)
    positions = chosen if problem.data.indices is None else problem.data.indices.cpu()[chosen]
    assert isinstance(seen.inputs, torch.Tensor)
    group = Ranking(
        sample=as_numpy(positions[order]),
        sharpness=as_numpy(ranked),
        shown=as_numpy(places),
        images=as_numpy(seen.inputs),
        targets=as_numpy(seen.targets) if seen.targets.ndim == 1 else None,
        predicted=as_numpy(predicted),
    )
    return group, _mean(sharpness, whole, workspace.confidence), _share(ranked)


def _mean(sharpness: torch.Tensor, whole: int, confidence: float) -> Estimate:
    """The mean over all analysed samples."""
    values = sharpness.numpy()
    if len(values) == whole:
        method = f"mean over all {whole} samples"
        return Estimate.exact(float(values.mean()), method=method, units="loss")
    if len(values) < 2:
        return Estimate.missing("fewer than two samples are ranked", units="loss")
    method = f"mean over {len(values)} of {whole} samples"
    return mean_of(values, confidence, method=method, units="loss")


def _share(ranked: torch.Tensor) -> Estimate:
    total = float(ranked.sum())
    tenth = -(-len(ranked) // 10)
    if total <= 0:
        return Estimate.missing("the samples' curvatures do not add up to a positive one")
    share = float(ranked[:tenth].sum()) / total
    return Estimate.exact(share, method=f"of the {len(ranked)} ranked samples")
