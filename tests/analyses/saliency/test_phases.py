"""Closed forms against contributions written down in full, and against real layers' gradients."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lla.analyses.saliency import memory
from lla.analyses.saliency.geometry import geometry_of
from lla.analyses.saliency.names import AGGREGATIONS, METHODS, Pair, all_pairs, parse_pair
from lla.analyses.saliency.phases import Layer, grad_cam, phase_maps
from tests.analyses.saliency import dense

KINDS = {"rtol": 1e-12, "atol": 1e-12}


def values(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def sample():
    """Activation and gradient; one image's are of one sign, so that extremes meet the padding."""
    a, g = values(3, 4, 5, 6), values(3, 4, 5, 6, seed=1)
    a[1], a[2] = a[1].abs() + 0.1, -a[2].abs() - 0.1
    g[1, :, :, 2:] = g[1, :, :, 2:].abs()
    return a, g


@pytest.mark.parametrize("block", [1 << 16, 90, 7])  # all at once; of channels; of one
@pytest.mark.parametrize("pair", all_pairs(), ids=str)
def test_dense_against_closed_form(pair, block, monkeypatch):
    monkeypatch.setattr(memory, "_BLOCK", block)
    a, g = sample()
    found = phase_maps(Layer(a, g), [pair])[pair]
    expected = dense.aggregated(dense.contributions(pair.virtual, a, g), pair.aggregation)
    torch.testing.assert_close(found.flatten(1), expected, **KINDS)


def test_all_pairs_at_once_are_those_alone():
    a, g = sample()
    together = phase_maps(Layer(a, g), all_pairs())
    for pair in all_pairs():
        torch.testing.assert_close(together[pair], phase_maps(Layer(a, g), [pair])[pair], **KINDS)


def test_layers_of_other_shapes_leave_nothing_in_memory():
    """The rows of one memory are laid out for one shape after another, and again for the first."""
    arena, (a, g) = memory.Arena(), sample()
    small = Layer(a[..., :4], g[..., :4])
    first = phase_maps(Layer(a, g), all_pairs(), arena)
    other = phase_maps(small, all_pairs(), arena)
    again = phase_maps(Layer(a, g), all_pairs(), arena)
    alone = phase_maps(small, all_pairs())
    for pair in all_pairs():
        assert torch.equal(again[pair], first[pair]), pair
        assert torch.equal(other[pair], alone[pair]), pair


CONVOLUTIONS = {
    "plain": {"kernel_size": 3},
    "1x1, stride": {"kernel_size": 1, "stride": 2},
    "1x1, padding": {"kernel_size": 1, "padding": 1},
    "padding": {"kernel_size": 3, "padding": 1},
    "stride": {"kernel_size": 3, "stride": 2, "padding": 1},
    "oblong": {"kernel_size": (3, 2), "stride": (1, 2), "padding": (0, 1)},
    "dilation": {"kernel_size": 3, "dilation": 2, "padding": 2},
    "dilation and stride": {"kernel_size": 2, "dilation": (1, 3), "stride": (2, 1)},
    "groups": {"kernel_size": 3, "groups": 2, "padding": 1},
    "depthwise": {"kernel_size": 3, "groups": 4, "stride": 2},
    "same": {"kernel_size": (2, 3), "padding": "same", "dilation": 3},
    "valid": {"kernel_size": 2, "padding": "valid"},
    "reflect": {"kernel_size": 3, "padding": 2, "padding_mode": "reflect"},
    "circular": {"kernel_size": 3, "padding": (1, 2), "padding_mode": "circular"},
    "replicate": {"kernel_size": 3, "padding": 1, "padding_mode": "replicate", "groups": 2},
}


def convolution_of(name):
    torch.manual_seed(0)
    return nn.Conv2d(4, 8, bias=False, **CONVOLUTIONS[name]).double()


@pytest.mark.filterwarnings("ignore:Using padding=.same.:UserWarning")
@pytest.mark.parametrize("name", list(CONVOLUTIONS))
def test_a_real_convolution(name):
    conv, x = convolution_of(name), values(3, 4, 9, 8)
    x[1] = x[1].abs()
    y = conv(x)
    g = values(*y.shape, seed=1)
    e = dense.of_convolution(x, g, conv)
    # The contributions themselves: they add up to what autograd says.
    (slope,) = torch.autograd.grad((y * g).sum(), conv.weight)
    torch.testing.assert_close(e.sum((0, 2)), slope.flatten(), **KINDS)
    layer = Layer(y.detach(), g, x, geometry_of(conv))
    maps = phase_maps(layer, [Pair("real", one) for one in AGGREGATIONS])
    for one in AGGREGATIONS:
        expected = dense.aggregated(e, one)
        torch.testing.assert_close(maps[Pair("real", one)].flatten(1), expected, **KINDS)
    # Location by location, Σ_u sum(e_u) is the gradient's own sum.
    torch.testing.assert_close(maps[Pair("real", "sum")].sum(), slope.sum(), **KINDS)


TRANSPOSED = {
    "plain": {"kernel_size": 3},
    "1x1": {"kernel_size": 1},
    "1x1, stride": {"kernel_size": 1, "stride": 2},
    "stride": {"kernel_size": 2, "stride": 2},
    "padding": {"kernel_size": 3, "stride": 2, "padding": 1},
    "output padding": {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
    "cut deep": {"kernel_size": 2, "stride": 3, "padding": 2, "output_padding": (2, 1)},
    "oblong": {"kernel_size": (3, 2), "stride": (1, 3), "padding": (2, 0)},
    "dilation": {"kernel_size": 3, "dilation": 2, "stride": 2, "padding": 1},
    "groups": {"kernel_size": 3, "groups": 2, "stride": 2, "output_padding": 1},
    "depthwise": {"kernel_size": 4, "groups": 4, "stride": 2, "padding": 1},
}


@pytest.mark.parametrize("name", list(TRANSPOSED))
def test_a_real_transposed_convolution(name):
    torch.manual_seed(0)
    conv = nn.ConvTranspose2d(4, 8, bias=False, **TRANSPOSED[name]).double()
    x = values(2, 4, 4, 3)
    x[1] = x[1].abs()
    y = conv(x)
    e_u, g = each_location(conv, y, values(*y.shape, seed=1))
    layer = Layer(y.detach(), g, x, geometry_of(conv))
    maps = phase_maps(layer, [Pair("real", one) for one in AGGREGATIONS])
    for one in AGGREGATIONS:
        torch.testing.assert_close(
            maps[Pair("real", one)].flatten(1), dense.aggregated(e_u, one), **KINDS
        )


def each_location(conv, y, g):
    """What each location adds to the weight gradient, by autograd: (n, weights, locations)."""
    n, places = len(y), y[0, 0].numel()
    shares = torch.stack(
        [
            torch.autograd.grad((y[k] * g[k]).sum(0).flatten()[u], conv.weight, retain_graph=True)[
                0
            ].flatten()
            for k in range(n)
            for u in range(places)
        ]
    )
    return shares.view(n, places, -1).transpose(1, 2), g


def test_a_transposed_convolution_told_its_size():
    """The output's size is an argument of the call, and no output padding of the layer."""
    torch.manual_seed(0)
    conv = nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, bias=False).double()
    x = values(2, 4, 4, 3)
    y = conv(x, output_size=(8, 5))
    e_u, g = each_location(conv, y, values(*y.shape, seed=1))
    layer = Layer(y.detach(), g, x, geometry_of(conv))
    found = phase_maps(layer, [Pair("real", "norm")])[Pair("real", "norm")]
    torch.testing.assert_close(found.flatten(1), dense.aggregated(e_u, "norm"), **KINDS)


@pytest.mark.parametrize("count", [3, 1])
def test_channels_last_changes_nothing(count):
    """Values as they lie in memory, image by image and block by block."""
    conv, x = convolution_of("stride"), values(count, 4, 9, 8)
    y = conv(x).detach()
    layer = Layer(y, values(*y.shape, seed=1), x, geometry_of(conv))
    last = [part.to(memory_format=torch.channels_last) for part in (y, layer.gradient, x)]
    assert not last[0].is_contiguous()
    found = phase_maps(Layer(*last, layer.geometry), all_pairs(real=True))
    for pair, expected in phase_maps(layer, all_pairs(real=True)).items():
        torch.testing.assert_close(found[pair], expected, **KINDS)


def test_a_linear_layer_over_tokens():
    x, linear = values(2, 6, 5), nn.Linear(5, 3).double()
    g = values(2, 6, 3, seed=1)
    folded = [part.transpose(1, 2).reshape(2, -1, 2, 3) for part in (x, g)]
    layer = Layer(folded[1], folded[1], folded[0], geometry_of(linear))
    found = phase_maps(layer, [Pair("real", "norm")])[Pair("real", "norm")]
    expected = torch.einsum("ntk,ntc->ntkc", g, x).flatten(2).norm(dim=2)
    torch.testing.assert_close(found.flatten(1), expected, **KINDS)


class Identity(nn.Module):
    """The identity as a real layer of each virtual kind."""

    def __init__(self, kind, channels):
        super().__init__()
        self.kind, eye = kind, torch.eye(channels, dtype=torch.float64)
        middle = F.pad(eye[:, :, None, None], (1, 1, 1, 1))
        start = {
            "bias": torch.zeros(channels, dtype=torch.float64),
            "scaling": torch.ones(channels, dtype=torch.float64),
            "conv1x1": eye[:, :, None, None],
            "conv3x3": middle,
            "depthwise3x3": middle.diagonal(dim1=0, dim2=1).permute(2, 0, 1)[:, None],
        }[kind]
        self.weight = nn.Parameter(start.clone())

    def forward(self, x):
        if self.kind == "bias":
            return x + self.weight[:, None, None]
        if self.kind == "scaling":
            return x * self.weight[:, None, None]
        groups = x.shape[1] if self.kind == "depthwise3x3" else 1
        return F.conv2d(x, self.weight, padding=self.weight.shape[-1] // 2, groups=groups)


@pytest.mark.parametrize("virtual", ["bias", "scaling", "conv1x1", "conv3x3", "depthwise3x3"])
def test_a_real_identity_layer_through_autograd(virtual):
    """Σ_u e_u is the weight gradient of a real identity, and each e_u what its location adds."""
    torch.manual_seed(0)
    below = nn.Conv2d(1, 3, 3).double()
    above = nn.Sequential(nn.Tanh(), nn.Conv2d(3, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(18, 1))
    above, identity, image = above.double(), Identity(virtual, 3), values(1, 1, 6, 6)
    activation = below(image).detach().requires_grad_(True)
    torch.testing.assert_close(identity(activation), activation)
    (g,) = torch.autograd.grad(above(activation).sum(), activation)
    pairs = [Pair(virtual, one) for one in AGGREGATIONS]
    maps = phase_maps(Layer(activation.detach(), g), pairs)

    shares = []
    for u in range(16):
        mask = torch.zeros(16, dtype=torch.float64)
        mask[u] = 1
        mask = mask.view(4, 4)
        through = identity(activation) * mask + activation * (1 - mask)
        (share,) = torch.autograd.grad(above(through).sum(), identity.weight)
        shares.append(share.flatten())
    e = torch.stack(shares, 1)[None]
    (whole,) = torch.autograd.grad(above(identity(activation)).sum(), identity.weight)
    torch.testing.assert_close(e.sum((0, 2)), whole.flatten(), **KINDS)
    for pair in pairs:
        torch.testing.assert_close(
            maps[pair].flatten(1), dense.aggregated(e, pair.aggregation), **KINDS
        )


def test_methods_by_their_own_formulas():
    a, g = sample()
    layer = Layer(a, g)

    def of(name):
        return phase_maps(layer, [METHODS[name].pair])[METHODS[name].pair]

    torch.testing.assert_close(of("gradient"), g.abs().amax(1))
    torch.testing.assert_close(of("linear"), torch.einsum("nchw,nchw->nhw", a, g), **KINDS)
    torch.testing.assert_close(of("normgrad"), a.norm(dim=1) * g.norm(dim=1), **KINDS)
    expected = (g.mean((2, 3))[:, :, None, None] * a).sum(1).relu()
    torch.testing.assert_close(grad_cam(layer), expected, **KINDS)
    # Where the gradient is the same everywhere, Grad-CAM is the positive part of the linear map.
    flat = Layer(a, g.mean((2, 3), keepdim=True).expand_as(g).clone())
    pair = METHODS["linear"].pair
    torch.testing.assert_close(grad_cam(flat), phase_maps(flat, [pair])[pair].relu(), **KINDS)


@pytest.mark.parametrize("pair", [p for p in all_pairs() if p.aggregation != "sum"], ids=str)
def test_tiny_gradients_do_not_vanish_in_float32(pair):
    a, g = (part.float() for part in sample())
    plain = phase_maps(Layer(a, g), [pair])[pair]
    small = phase_maps(Layer(a, g * 1e-25), [pair])[pair]
    torch.testing.assert_close(small * 1e25, plain)
    weak = phase_maps(Layer(a * 1e-25, g), [pair])[pair]
    torch.testing.assert_close(weak * (1 if pair.virtual == "bias" else 1e25), plain)


def test_zero_and_infinite_gradients():
    a, g = sample()
    g[0], g[1, 0, 0, 0] = 0.0, torch.inf
    maps = phase_maps(Layer(a, g), all_pairs())
    assert all(bool((one[0] == 0).all()) for one in maps.values())
    assert bool(maps[Pair("conv1x1", "norm")][1, 0, 0].isinf())
    assert bool(maps[Pair("conv1x1", "norm")][2].isfinite().all())


def test_no_tensor_of_squared_channels_is_made():
    """At C = 2048 on 7×7 an image's e_u of conv3x3 take 7.4 GB; all pairs take a few copies."""
    a = torch.randn(1, 2048, 7, 7)
    largest = 0

    class Watched(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            made = func(*args, **(kwargs or {}))
            if isinstance(made, torch.Tensor):
                largest = max(largest, made.numel())
            return made

    with Watched():
        phase_maps(Layer(a, a), all_pairs())
    assert largest <= 16 * a.numel()  # rows of one memory


def test_pairs_by_name():
    assert parse_pair("conv3x3/max") == Pair("conv3x3", "max")
    with pytest.raises(ValueError, match="no pair of a virtual layer"):
        parse_pair("conv3x3")
    with pytest.raises(ValueError, match="no convolution"):
        phase_maps(Layer(*sample()), [Pair("real", "norm")])
