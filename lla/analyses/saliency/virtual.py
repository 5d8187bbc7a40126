"""What the contributions to a virtual layer's weights add up to, for all such layers at once.

Phase 1 and the sums of phase 2 (Rebuffi et al. 2020, section 3 and table 1). What several virtual
layers need of activation and gradient is computed once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch

from lla.analyses.saliency.channels import sums_of
from lla.analyses.saliency.geometry import Geometry, windowed
from lla.analyses.saliency.memory import Arena
from lla.analyses.saliency.names import Virtual
from lla.analyses.saliency.reduced import Reduced, Wanted, products
from lla.analyses.saliency.rows import Asked

__all__ = ["Sums", "virtual_sums"]

_THREE = Geometry((3, 3), padding=(1, 1, 1, 1))

Sums = dict[Virtual | Literal["a", "g"], Reduced]


def virtual_sums(
    a: torch.Tensor,
    g: torch.Tensor,
    wanted: Mapping[Virtual, frozenset[Wanted]],
    arena: Arena,
) -> Sums:
    """Sums, squares and extremes of the contributions e_u of virtual layers.

    Args:
        a: The activation, shape (n, C, H, W).
        g: The gradient, of the same shape.
        wanted: What is asked of each virtual layer; of "real", only what is of the gradient.
        arena: Memory for intermediate values, nothing of which is in use.

    Returns:
        Of shape (n, 1, H, W) by virtual layer; under "a" and "g" those over the channels of both,
        their extremes among them.
    """
    nothing: frozenset[Wanted] = frozenset()
    alone: tuple[Virtual, ...] = ("bias", "real", "conv1x1", "conv3x3")
    each: frozenset[Wanted] = frozenset({"extremes"})
    each = each.union(*(wanted.get(name, nothing) for name in alone))
    both = bool(wanted.keys() - {"bias", "real"})
    asked = Asked(each, both, wanted.get("scaling", nothing), wanted.get("depthwise3x3", nothing))
    made = sums_of(g, a if both else None, asked, arena)
    found: Sums = {"g": made["g"], "scaling": made["scaling"], "depthwise3x3": made["depthwise"]}
    arena.clear()
    if both:
        found["a"] = made["a"]
    if "bias" in wanted:  # e_u = g_u
        found["bias"] = found["g"]
    if "conv1x1" in wanted:  # e_u = g_u a_uᵀ
        found["conv1x1"] = products(found["a"], found["g"], arena)
    if "conv3x3" in wanted:
        found["conv3x3"] = products(windowed(found["a"], _THREE, arena), found["g"], arena)
    return found
