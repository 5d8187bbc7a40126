"""Where an image pushes along a direction of parameters: signed maps that add up exactly.

A layer's output moves by ẏ = ∂f(x; W)/∂W · V as its weights move along V, so that the loss moves by
vᵀ∇_W L = Σ_u g_uᵀ ẏ_u: for a convolution without bias g_uᵀ V x_u. The map s_u = g_uᵀ ẏ_u says where
in the image that comes from, with its sign, and nothing is lost: over locations and layers it adds
up to the directional derivative.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.func import functional_call

from lla.analyses.saliency.capture import Call, captured
from lla.analyses.saliency.layers import grids_of
from lla.analyses.saliency.tokens import Grid, spatial
from lla.problem import Batch, Problem

__all__ = ["SignedMaps", "signed_maps", "spread"]


@dataclass(frozen=True)
class SignedMaps:
    """Shares of the directional derivatives of each image's loss.

    Attributes:
        layers: s_u by layer, shape (directions, n, rows, columns).
        whole: All layers at the images' size, with the sums of each: (directions, n, H, W).
    """

    layers: dict[str, torch.Tensor]
    whole: torch.Tensor


def signed_maps(problem: Problem, batch: Batch, vectors: torch.Tensor) -> SignedMaps:
    """The maps of each direction, of all layers that lie over the image.

    Args:
        problem: Network, θ and loss.
        batch: n images with their targets.
        vectors: Directions in rows, shape (directions, P).
    """
    images = batch.inputs
    assert isinstance(images, torch.Tensor)
    slices = dict(problem.space.slices())
    names = {id(part): name for name, part in problem.module.named_parameters() if name in slices}
    owners = {
        owner
        for owner, part in problem.module.named_modules()
        if owner and any(id(one) in names for one in part.parameters(recurse=False))
    }
    inputs = images.detach().clone().requires_grad_(True)
    with captured(problem.module, owners, inputs=True) as seen, torch.enable_grad():
        terms = problem.objective.loss(problem.module, Batch(inputs.clone(), batch.targets))
        # The sum of the samples' own mean losses, each of which has the same weight.
        score = terms.total * len(images) / terms.weight
    calls = {name: call for name, call in seen.named().items() if call.input is not None}
    grids = grids_of(calls, images.shape, seen.shapes)
    slopes = torch.autograd.grad(score, [calls[name].output for name in grids], allow_unused=True)
    found: dict[str, torch.Tensor] = {}
    for (name, grid), slope in zip(grids.items(), slopes, strict=True):
        if slope is not None:
            parts = [_shares(problem, calls[name], slope, grid, names, v) for v in vectors]
            found[name] = torch.stack(parts)
    size = (int(images.shape[-2]), int(images.shape[-1]))
    whole = torch.zeros(
        (len(vectors), len(images), *size), dtype=images.dtype, device=images.device
    )
    for maps in found.values():
        whole += spread(maps, size)
    return SignedMaps(found, whole)


def _shares(
    problem: Problem,
    call: Call,
    slope: torch.Tensor,
    grid: Grid,
    names: dict[int, str],
    vector: torch.Tensor,
) -> torch.Tensor:
    """s_u = g_uᵀ ẏ_u of one call of a module along one direction, shape (n, rows, columns)."""
    directions = problem.space.named(vector.to(problem.theta))
    parts = call.module.named_parameters(recurse=False)
    own = {key: part for key, part in parts if id(part) in names}
    leaves = {key: part.detach().clone().requires_grad_(True) for key, part in own.items()}
    assert call.input is not None
    with problem.second_order(), torch.enable_grad():
        output = functional_call(call.module, leaves, (call.input.detach().clone(),))
        # ẏ = J V from two products with Jᵀ: the derivative by u of (Jᵀu)·V.
        u = torch.ones_like(output, requires_grad=True)
        slopes = torch.autograd.grad(output, list(leaves.values()), u, create_graph=True)
        pairs = zip(slopes, own.values(), strict=True)
        total = torch.stack([(one * directions[names[id(part)]]).sum() for one, part in pairs])
        (moved,) = torch.autograd.grad(total.sum(), u)
    return (spatial(slope, grid) * spatial(moved, grid)).sum(1)


def spread(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Maps (…, rows, columns) at an image's size, each cell spread evenly over its pixels.

    Unlike an interpolation this keeps the sum.
    """
    down = _overlaps(maps.shape[-2], size[0]).to(maps)
    across = _overlaps(maps.shape[-1], size[1]).to(maps)
    return down @ maps @ across.T


def _overlaps(cells: int, pixels: int) -> torch.Tensor:
    """The share of each cell that lies in each pixel, shape (pixels, cells), columns of sum 1."""
    edges = torch.arange(pixels + 1, dtype=torch.float64) / pixels
    ends = torch.arange(cells + 1, dtype=torch.float64) / cells
    low = torch.maximum(edges[:-1, None], ends[None, :-1])
    high = torch.minimum(edges[1:, None], ends[None, 1:])
    return (high - low).clamp(min=0) * cells
