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


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_calls_are_taken_over_where_they_can_be(axes: int) -> None:
    """Else the comparison above would be of torch with itself."""
    x, kernel = torch.ones(2, 1, *[4] * axes), torch.ones(1, 1, *[3] * axes, requires_grad=True)
    with fast_convolutions():
        ours, torchs = CONVOLUTIONS[axes](x, kernel), CONVOLUTIONS[axes](x, kernel, padding="same")
    assert type(ours.grad_fn).__name__ == "_ConvolutionBackward"
    assert type(torchs.grad_fn).__name__ != "_ConvolutionBackward"


@pytest.mark.parametrize("frozen", ["first", "second"])
def test_frozen_kernels_have_no_slope_and_let_those_behind_them_through(frozen: str) -> None:
    """Gradients of a direction's product with those of the one kernel that is left."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"first": (3, 2, 3), "second": (2, 3, 3)}
    kernels = {
        name: torch.randn(*shape, generator=generator, dtype=torch.float64)
        for name, shape in shapes.items()
    }
    x = torch.randn(4, 2, 9, generator=generator, dtype=torch.float64)
    (free,) = [kernel for name, kernel in kernels.items() if name != frozen]
    free.requires_grad_(True)

    def total(kernel: torch.Tensor) -> torch.Tensor:
        made = {name: kernel if name != frozen else kernels[name] for name in kernels}
        hidden = torch.tanh(F.conv1d(x, made["first"]))
        return torch.tanh(F.conv1d(hidden, made["second"])).square().sum()

    expected = torch.autograd.functional.hessian(total, free)
    with fast_convolutions():
        found = torch.autograd.functional.hessian(total, free)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
