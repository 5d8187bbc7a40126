"""Maps along eigenvectors and sharpness, against autograd's derivatives and a dense Hessian."""

import numpy as np
import pytest
import torch
from torch import nn

from lla.analyses.saliency import SaliencyConfig
from lla.analyses.saliency.curvature_maps import signed_maps, spread
from lla.analyses.saliency.norms import elementary_norms
from lla.analyses.saliency.per_sample import along, sharpness_gradient
from lla.analyses.saliency.run import run
from lla.analyses.spectrum import SpectrumConfig
from lla.analyses.workspace import Workspace
from lla.curvature import Hessian
from lla.problem import Batch, from_objects

TIGHT = {"rtol": 1e-10, "atol": 1e-12}


class Net(nn.Module):
    """A shared convolution, batch norm, groups and stride, tokens with layer norm."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.one = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.two = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False)
        self.down = nn.Conv2d(4, 6, 2, stride=2)
        self.tokens = nn.LayerNorm(6)
        self.mix = nn.Linear(6, 5)
        self.place = nn.Parameter(0.3 * torch.randn(16, 5))
        self.head = nn.Linear(5, 3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        h = torch.tanh(self.norm(self.one(x)))
        h = self.relu(self.two(torch.tanh(self.two(h))))
        tokens = self.tokens(self.down(h).flatten(2).transpose(1, 2))
        return self.head(torch.tanh(self.mix(tokens) + self.place).mean(1))


@pytest.fixture
def problem():
    torch.manual_seed(0)
    return from_objects(Net(), (torch.rand(5, 1, 8, 8), torch.arange(5) % 3), dtype="float64")


def vector_of(problem, seed=1):
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(problem.space.size, generator=generator, dtype=torch.float64)
    return v / v.norm()


def slope(problem, batch):
    theta = problem.theta.clone().requires_grad_(True)
    (found,) = torch.autograd.grad(problem.terms(theta, batch).total, theta)
    return found


def one_by_one(problem):
    return list(problem.data.whole.chunks(1))


def test_maps_add_up_to_each_layers_directional_derivative(problem):
    vectors = torch.stack([vector_of(problem, 1), vector_of(problem, 2)])
    found = signed_maps(problem, problem.data.whole, vectors)
    assert set(found.layers) == {"one", "norm", "two@1", "two@2", "down", "tokens", "mix"}
    slices = dict(problem.space.slices())
    for index, batch in enumerate(one_by_one(problem)):
        g = slope(problem, batch)
        for d, v in enumerate(vectors):
            sums = {name: float(maps[d, index].sum()) for name, maps in found.layers.items()}
            sums["two"] = sums.pop("two@1") + sums.pop("two@2")
            for name, total in sums.items():
                parts = [place for key, place in slices.items() if key.startswith(f"{name}.")]
                by_hand = sum(float(g[place] @ v[place]) for place in parts)
                assert total == pytest.approx(by_hand, rel=1e-10, abs=1e-13), name
    sums = sum(maps.sum((2, 3)) for maps in found.layers.values())
    torch.testing.assert_close(found.whole.sum((2, 3)), sums, **TIGHT)


def test_a_convolutions_map_is_the_papers_product(problem):
    """s_u = g_uᵀ V x_u, with x_u unfolded by hand."""
    v = vector_of(problem)
    module, images = problem.module, problem.data.inputs
    found = signed_maps(problem, problem.data.whole, v[None]).layers["one"][0]
    a = module.one(images).detach().requires_grad_(True)
    conv, module.one = module.one, nn.Identity()
    h = module(a)  # the same network behind the first convolution
    module.one = conv
    loss = nn.functional.cross_entropy(h, problem.data.targets, reduction="sum")
    (g,) = torch.autograd.grad(loss, a)
    named = problem.space.named(v)
    patches = nn.functional.unfold(images, 3, padding=1)
    moved = named["one.weight"].flatten(1) @ patches + named["one.bias"][:, None]
    by_hand = (g.flatten(2) * moved).sum(1).view(5, 8, 8)
    torch.testing.assert_close(found, by_hand, **TIGHT)


def test_spreading_keeps_sums():
    torch.manual_seed(0)
    maps = torch.rand(2, 3, 4).double()
    for size in ((6, 8), (7, 9), (2, 3), (3, 4)):
        found = spread(maps, size)
        assert found.shape == (2, *size)
        torch.testing.assert_close(found.sum((1, 2)), maps.sum((1, 2)), **TIGHT)
    torch.testing.assert_close(spread(maps, (6, 8))[:, ::2, ::2] * 4, maps, **TIGHT)


@pytest.mark.parametrize("together", [True, False])
def test_sharpness_of_each_sample(problem, together, monkeypatch):
    if not together:

        def refuse(*arguments, **more):
            raise RuntimeError("there is no rule for it")

        monkeypatch.setattr(torch.func, "vmap", refuse)
    v = vector_of(problem)
    batch = problem.data.whole
    first, second = along(problem, batch, v)
    gradient = sharpness_gradient(problem, batch, v)
    for index, one in enumerate(one_by_one(problem)):
        assert float(first[index]) == pytest.approx(float(slope(problem, one) @ v), rel=1e-10)
        product = Hessian(problem, [one])(v)
        assert float(second[index]) == pytest.approx(float(product @ v), rel=1e-9)
    # The derivative by a pixel, by central differences of vᵀHv.
    step, pixel = 1e-5, (2, 0, 3, 4)
    ends = []
    for sign in (1, -1):
        images = problem.data.inputs.clone()
        images[pixel] += sign * step
        moved = Batch(images[2:3], problem.data.targets[2:3])
        ends.append(float(Hessian(problem, [moved])(v) @ v))
    # Layer norm is among what is differentiated three times.
    difference = (ends[0] - ends[1]) / (2 * step)
    assert float(gradient[pixel]) == pytest.approx(difference, rel=1e-5, abs=1e-8)


def test_samples_are_ranked_and_their_mean_is_the_eigenvalue(problem):
    workspace = Workspace(configs={"spectrum": SpectrumConfig(steps=40)})
    off = {"meta": False, "randomize": 0, "curve_steps": 0, "noise": 0, "sheet": 0}
    result = run(problem, SaliencyConfig(curvature=2, images=3, **off), workspace)
    ranking, maps = result.ranking, result.curvature
    assert (np.diff(ranking.sharpness) <= 0).all()
    assert sorted(ranking.sample) == list(range(5))
    # (1/n) Σ vᵀH_i v = vᵀHv = λ_max, from products of the whole Hessian.
    assert result.mean_sharpness.value == pytest.approx(float(maps.eigenvalues[0]), rel=1e-6)
    assert result.mean_sharpness.low == result.mean_sharpness.high
    share = ranking.sharpness[0] / ranking.sharpness.sum()
    assert result.sharpest_share.value == pytest.approx(share)
    for row, index in enumerate(result.indices):
        place = list(ranking.sample).index(index)
        assert maps.sharpness[row] == pytest.approx(ranking.sharpness[place], rel=1e-9)
    # Nothing is lost: maps, and what acts at no place.
    whole = maps.maps.sum(axis=(2, 3)) + maps.elsewhere
    np.testing.assert_allclose(whole, maps.slopes, rtol=1e-10, atol=1e-13)
    assert maps.maps.shape == (2, 3, 8, 8)
    assert list(ranking.shown) == [0, 1, 3, 4]


def test_a_sample_of_the_samples_has_an_interval(problem):
    workspace = Workspace(configs={"spectrum": SpectrumConfig(steps=40)})
    off = {"meta": False, "randomize": 0, "curve_steps": 0, "noise": 0, "sheet": 0}
    result = run(problem, SaliencyConfig(curvature=1, ranked=3, **off), workspace)
    assert len(result.ranking.sample) == 3
    mean = result.mean_sharpness
    assert mean.low < mean.value < mean.high
    assert mean.method == "mean over 3 of 5 samples"


NORMS = {
    "layer": (lambda: nn.LayerNorm((4, 3)), (5, 4, 3)),
    "layer, bare": (lambda: nn.LayerNorm(3, elementwise_affine=False), (5, 4, 3)),
    "group": (lambda: nn.GroupNorm(2, 4), (5, 4, 3)),
    "rms": (lambda: nn.RMSNorm(3), (5, 4, 3)),
}


@pytest.mark.parametrize("kind", list(NORMS))
def test_elementary_norms_are_torchs(kind):
    make, shape = NORMS[kind]
    torch.manual_seed(0)
    layer, x = make().double(), torch.randn(shape).double()
    for part in layer.parameters():
        nn.init.normal_(part)
    with torch.no_grad():
        expected = layer(x)
        with elementary_norms():
            torch.testing.assert_close(layer(x), expected, **TIGHT)
        torch.testing.assert_close(layer(x), expected, rtol=0, atol=0)
