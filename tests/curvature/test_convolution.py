"""Second derivatives of convolutions against torch's own, whatever their shape."""

import pytest
import torch
from torch.nn import functional as F

from lla.curvature.convolution import fast_convolutions

SHAPES = [
    (2, {}),
    (2, {"stride": 2, "padding": 1}),
    (2, {"stride": (1, 2), "padding": (2, 0), "dilation": (2, 1)}),
    (2, {"groups": 2, "padding": 1}),
    (2, {"padding": "same"}),
    (2, {"stride": [2]}),
    (1, {"stride": 2, "groups": 2}),
    (3, {"padding": 1}),
]
CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def second_derivatives(axes: int, options: dict[str, object], *, bias: bool, of_input: bool):
    """Gradients, and the derivatives of their product with a direction, of a small network."""
    generator = torch.Generator().manual_seed(0)
    groups = int(options.get("groups", 1))

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, first = drawn(3, 4, *[7] * axes), drawn(6, 4 // groups, *[3] * axes)
    second, offset = drawn(2, 6, *[1] * axes), drawn(6)
    leaves = [first, second, *([offset] if bias else []), *([x] if of_input else [])]
    for leaf in leaves:
        leaf.requires_grad_(True)
    convolve = CONVOLUTIONS[axes]
    hidden = torch.tanh(convolve(x, first, offset if bias else None, **options))
    total = convolve(hidden, second).pow(3).sum()
    slopes = torch.autograd.grad(total, leaves, create_graph=True)
    along = [drawn(*leaf.shape) for leaf in leaves]
    value = sum((slope * way).sum() for slope, way in zip(slopes, along, strict=True))
    return [*slopes, *torch.autograd.grad(value, leaves)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("of_input", [True, False])
@pytest.mark.parametrize(("axes", "options"), SHAPES, ids=str)
def test_they_are_torchs(axes: int, options: dict, bias: bool, of_input: bool) -> None:
    expected = second_derivatives(axes, options, bias=bias, of_input=of_input)
    with fast_convolutions():
        found = second_derivatives(axes, options, bias=bias, of_input=of_input)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_modules_and_single_images_go_through() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular").double()
    images = torch.randn(2, 5, 5, dtype=torch.float64)
    expected = layer(images), layer(images[None])
    with fast_convolutions():
        torch.testing.assert_close((layer(images), layer(images[None])), expected)
