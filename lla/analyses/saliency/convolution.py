"""What a location adds to a convolution's weight gradient, aggregated without ever being built.

At location u a convolution's weight gradient gets e_u = g_u ⊗ x_u: the output's gradient there
times the patch of the input that its kernel sees. All that is asked of e_u (its norm, its positive
part's norm, its sum, its extremes) factorizes into the same numbers of g_u and of x_u, and those of
a patch are sums and extremes over a window: O(C) numbers a location where e_u itself has k²C².
Virtual layers are convolutions too, of 1×1 or 3×3 with all channels or one as a group.
(Rebuffi et al. 2020, section 3 and table 1.)
"""

from __future__ import annotations

import torch

from lla.analyses.saliency.channels import over_channels
from lla.analyses.saliency.geometry import Geometry, windowed
from lla.analyses.saliency.memory import Arena, blocks
from lla.analyses.saliency.reduced import Reduced, Wanted, joined, merged, products, reduced

__all__ = ["contributions"]


def contributions(
    x: torch.Tensor,
    g: torch.Tensor,
    geometry: Geometry,
    wanted: frozenset[Wanted],
    arena: Arena | None = None,
    of_x: Reduced | None = None,
    of_g: Reduced | None = None,
) -> Reduced:
    """Sums, squares and extremes of e_u = g_u ⊗ x_u at each location u of the output.

    Args:
        x: The convolution's input, shape (n, C, H′, W′).
        g: The gradient by its output, shape (n, K, H, W).
        geometry: Of the convolution.
        wanted: What is asked.
        arena: Memory for intermediate values, nothing of which is in use.
        of_x: What is asked of all channels of the input, if it is known.
        of_g: The same of the gradient.

    Returns:
        Of shape (n, 1, H, W).
    """
    arena = arena or Arena()
    if geometry.groups == 1:
        of_x = over_channels(x, wanted, arena) if of_x is None else of_x
        of_g = over_channels(g, wanted, arena) if of_g is None else of_g
        arena.clear()
        return products(windowed(of_x, geometry, arena), of_g, arena)
    parts = []
    for images in blocks(len(x), g[0].numel(), g.device):
        found = None
        each = x[images].numel() // geometry.groups
        for groups in blocks(geometry.groups, each, x.device):
            arena.clear()
            block = _of_groups(x[images], g[images], geometry, wanted, groups, arena)
            found = block if found is None else merged(found, block)
        assert found is not None
        parts.append(found)
    return joined(parts)


def _of_groups(
    x: torch.Tensor,
    g: torch.Tensor,
    geometry: Geometry,
    wanted: frozenset[Wanted],
    groups: slice,
    arena: Arena,
) -> Reduced:
    """The contributions of some groups' weights."""
    each_x, each_g = x.shape[1] // geometry.groups, g.shape[1] // geometry.groups
    count = groups.stop - groups.start
    part = x[:, groups.start * each_x : groups.stop * each_x]
    if each_x == 1:  # nothing is reduced: one padding is less than five
        padded = reduced(geometry.padded(part), wanted, arena, count)
        of_x = windowed(padded, geometry, arena, padded=True)
    else:
        of_x = windowed(reduced(part, wanted, arena, count), geometry, arena)
    of_g = reduced(g[:, groups.start * each_g : groups.stop * each_g], wanted, arena, count)
    return products(of_x, of_g, arena)
