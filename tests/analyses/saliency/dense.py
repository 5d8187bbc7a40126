"""Contributions written down in full, in float64: what no closed form is allowed to do."""

import torch
from torch.nn import functional as F


def unfolded(x, kernel, stride=1, padding=0, dilation=1):
    """Patches of (n, C, H, W): (n, C, k, L), L locations of the output."""
    patches = F.unfold(x, kernel, dilation=dilation, padding=padding, stride=stride)
    return patches.unflatten(1, (x.shape[1], -1))


def contributions(virtual, a, g):
    """Every e_u of a virtual layer: shape (n, size of e, H·W)."""
    flat = g.flatten(2)
    if virtual == "bias":
        return flat
    if virtual == "scaling":
        return (a * g).flatten(2)
    if virtual == "depthwise3x3":
        return (unfolded(a, 3, padding=1) * flat[:, :, None]).flatten(1, 2)
    patches = unfolded(a, 1) if virtual == "conv1x1" else unfolded(a, 3, padding=1)
    return torch.einsum("nol,nckl->nockl", flat, patches).flatten(1, 3)


def of_convolution(x, g, conv):
    """Every e_u of a real convolution, group by group: (n, weights, locations)."""
    if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        wide = conv._reversed_padding_repeated_twice
        mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
        x, padding = F.pad(x, wide, mode=mode), 0
    else:
        padding = conv.padding
    patches = unfolded(x, conv.kernel_size, conv.stride, padding, conv.dilation)
    flat = g.flatten(2)
    shares = [
        torch.einsum("nol,nckl->nockl", one, other).flatten(1, 3)
        for one, other in zip(
            flat.chunk(conv.groups, 1), patches.chunk(conv.groups, 1), strict=True
        )
    ]
    return torch.cat(shares, 1)


def aggregated(e, aggregation):
    """A number for each location: (n, L)."""
    return {
        "norm": lambda: e.norm(dim=1),
        "positive_norm": lambda: e.clamp(min=0).norm(dim=1),
        "sum": lambda: e.sum(1),
        "max": lambda: e.amax(1),
        "max_abs": lambda: e.abs().amax(1),
    }[aggregation]()
