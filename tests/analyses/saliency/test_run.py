"""NormGrad against a real identity convolution, closed forms and hand-made networks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional as F

from lla.analyses.saliency import SaliencyConfig
from lla.analyses.saliency.maps import Network, Wanted, layer_maps
from lla.analyses.saliency.run import run
from lla.analyses.saliency.targets import Score
from lla.analyses.saliency.tokens import grid_of, spatial
from lla.analyses.saliency.usable import check
from lla.analyses.workspace import Workspace
from lla.api import analyze
from lla.errors import ConfigurationError
from lla.problem import Problem, from_objects


def norm_grad(problem, images, classes, layers=()):
    score = Score("logit", problem.objective.loss)
    wanted = Wanted(layers=tuple(layers))
    return layer_maps(Network(problem.module), images, classes, score, wanted).raw


def convnet() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )


@pytest.fixture
def problem() -> Problem:
    torch.manual_seed(0)
    data = (torch.rand(5, 1, 8, 8), torch.randint(0, 3, (5,)))
    return from_objects(convnet(), data, dtype="float64")


def test_contributions_add_up_to_an_identity_convolutions_gradient(problem: Problem) -> None:
    """The map is the norm of each location's share in the weight gradient of a real layer."""
    images, classes = problem.data.inputs[:1], torch.tensor([1])
    maps = norm_grad(problem, images, classes, ["3"])

    identity = nn.Conv2d(6, 6, 1, bias=False).double()
    with torch.no_grad():
        identity.weight.copy_(torch.eye(6)[:, :, None, None])
    layers = list(problem.module.children())
    network = nn.Sequential(*layers[:4], identity, *layers[4:])
    shares = []
    for row in range(4):
        for column in range(4):
            activation = network[:4](images)
            mask = torch.zeros(4, 4, dtype=torch.float64)
            mask[row, column] = 1
            through = identity(activation) * mask + activation * (1 - mask)
            logit = network[5:](through)[0, 1]
            (share,) = torch.autograd.grad(logit, identity.weight)
            shares.append(share)
            assert float(maps["3"][0, row, column]) == pytest.approx(float(share.norm()), rel=1e-10)
    logit = network(images)[0, 1]
    (whole,) = torch.autograd.grad(logit, identity.weight)
    torch.testing.assert_close(sum(shares), whole)


def test_global_average_pooling_in_closed_form() -> None:
    """GAP + linear head: m_u = ‖w_c‖‖x_u‖/HW, so the class does not matter."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    data = (torch.rand(6, 1, 8, 8), torch.randint(0, 3, (6,)))
    problem = from_objects(module, data, dtype="float64")
    classes = torch.tensor([0, 1, 2, 0, 1, 2])
    raw = norm_grad(problem, problem.data.inputs, classes, ["0"])["0"]
    with torch.no_grad():
        activation = problem.module[0](problem.data.inputs)
    weight = problem.module[3].weight.detach()[classes]
    expected = activation.norm(dim=1) * weight.norm(dim=1)[:, None, None] / 36
    torch.testing.assert_close(raw, expected)
    report = analyze(module, data, only=["saliency"])
    assert report.metrics["saliency/class_sensitivity"].value == pytest.approx(1.0)


def test_in_place_relu_and_hooks_leave_no_trace(problem: Problem) -> None:
    images = problem.data.inputs
    before = problem.module(images)
    maps = norm_grad(problem, images, torch.zeros(5, dtype=torch.int64), ["0"])
    with torch.no_grad():
        activation = problem.module[0](images)
    # The convolution's own output, before the in-place ReLU overwrites it.
    ratio = maps["0"] / activation.norm(dim=1)
    assert bool((activation < 0).any())
    assert bool(ratio.isfinite().all())
    assert not any(part._forward_hooks for part in problem.module.modules())
    assert torch.equal(before, problem.module(images))
    assert all(parameter.grad is None for parameter in problem.module.parameters())


def test_hooks_are_removed_after_an_error(problem: Problem) -> None:
    with pytest.raises(RuntimeError):
        norm_grad(problem, torch.rand(2, 3, 8, 8, dtype=torch.float64), torch.tensor([0, 1]))
    assert not any(part._forward_hooks for part in problem.module.modules())


def test_the_last_layer_of_each_resolution_is_chosen(problem: Problem) -> None:
    maps = norm_grad(problem, problem.data.inputs, torch.zeros(5, dtype=torch.int64))
    assert {name: tuple(raw.shape[1:]) for name, raw in maps.items()} == {"1": (8, 8), "4": (4, 4)}


def test_an_unknown_layer_is_told_with_the_nearest(problem: Problem) -> None:
    with pytest.raises(ConfigurationError, match="no layer '33'"):
        norm_grad(problem, problem.data.inputs, torch.zeros(5, dtype=torch.int64), ["33"])


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"layers": "33"}, "no layer '33'"),
        ({"indices": "2,5"}, "no image at position 5"),
        ({"classes": "7"}, "no analysed image is of class 7"),
        ({"target": "3"}, "there is no class 3"),
        ({"files": "cat.jpg"}, "image files"),
    ],
)
def test_what_is_named_wrongly_is_told_before_anything_runs(
    problem: Problem, keys: dict[str, str], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        check(problem, SaliencyConfig(**keys), {})


def test_what_can_be_used_passes_the_look_beforehand(problem: Problem) -> None:
    for keys in ({}, {"layers": "3,input"}, {"indices": "4"}, {"target": "true"}, {"target": "2"}):
        check(problem, SaliencyConfig(**keys), {})
    # Where there are no images, the analysis itself says so.
    table = from_objects(nn.Linear(4, 3), (torch.rand(5, 4), torch.randint(0, 3, (5,))))
    check(table, SaliencyConfig(layers="33"), {})


@pytest.mark.parametrize(
    ("shape", "image", "grid"),
    [
        ((2, 17, 8), (2, 1, 8, 8), (4, 4, 1)),
        ((2, 16, 8), (2, 1, 8, 8), (4, 4, 0)),
        ((2, 8, 8), (2, 1, 8, 4), (4, 2, 0)),
        ((2, 9, 8), (2, 1, 8, 4), (4, 2, 1)),
        ((2, 5, 4, 5), (2, 1, 8, 8), (4, 5, 0)),
    ],
)
def test_grids(shape: tuple[int, ...], image: tuple[int, ...], grid: tuple[int, int, int]) -> None:
    found = grid_of(torch.zeros(shape), torch.Size(image))
    assert found is not None
    assert (found.rows, found.columns, found.skipped) == grid


@pytest.mark.parametrize(
    "shape", [(2, 7, 8), (2, 8), (2, 6, 1, 1), (2, 8, 8, 5), (5, 16, 3), (5, 4, 4, 4)]
)
def test_no_grid(shape: tuple[int, ...]) -> None:
    assert grid_of(torch.zeros(shape), torch.Size((2, 1, 8, 8))) is None


def test_stored_maps_and_degenerate_ones() -> None:
    torch.manual_seed(0)
    images = torch.rand(6, 1, 8, 8)
    images[0] = 0.0
    module = nn.Sequential(nn.Conv2d(1, 3, 1, bias=False), nn.Flatten(), nn.Linear(192, 2))
    report = analyze(module, (images, torch.zeros(6, dtype=torch.int64)), only=["saliency"])
    result = report.results["saliency"]
    (found,) = result.maps.values()
    assert found.degenerate.tolist() == [True, *[False] * 5]
    assert np.isfinite(found.normalized).all()
    np.testing.assert_array_equal(found.normalized[1:].max(axis=(1, 2)), 1.0)
    np.testing.assert_array_equal(found.normalized.min(axis=(1, 2)), 0.0)
    assert "5 of 6" in report.metrics["saliency/class_sensitivity"].method


@pytest.mark.parametrize(
    ("module", "inputs", "word"),
    [
        (nn.Linear(3, 2), torch.randn(5, 3), "not images"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), torch.rand(5, 1, 8, 8), "spatial axes"),
    ],
)
def test_where_there_is_nothing_to_map(module: nn.Module, inputs: torch.Tensor, word: str) -> None:
    report = analyze(module, (inputs, torch.randint(0, 2, (5,))), only=["saliency"])
    assert word in report.metrics["saliency/class_sensitivity"].why


def test_tokens_fold_row_by_row():
    image = torch.arange(2 * 3 * 4 * 2.0).reshape(2, 3, 4, 2)  # (n, C, 4, 2)
    tokens = torch.cat([torch.full((2, 1, 3), -9.0), image.flatten(2).transpose(1, 2)], 1)
    assert torch.equal(spatial(tokens, grid_of(tokens, torch.Size((2, 1, 8, 4)))), image)


def test_activation_before_an_in_place_relu():
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self, inplace):
            super().__init__()
            torch.manual_seed(0)
            self.c, self.r, self.h = nn.Conv2d(1, 4, 3), nn.ReLU(inplace=inplace), nn.Linear(4, 3)

        def forward(self, x):
            return self.h(self.r(self.c(x)).mean((2, 3)))

    data = (torch.randn(5, 1, 8, 8), torch.randint(0, 3, (5,)))
    got = [
        norm_grad(p := from_objects(Net(i), data), p.data.inputs, data[1], ["c"])["c"]
        for i in (False, True)
    ]
    torch.testing.assert_close(got[0], got[1])


def test_combined_map_and_class_sensitivity_from_their_parts():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.Tanh(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(96, 3),
    )
    x = torch.rand(6, 1, 8, 8)
    logits = module(x).detach()
    y = (logits.argmax(1) + 1) % 3
    s = analyze(module, (x, y), only=["saliency"]).results["saliency"]
    problem = from_objects(module, (x, y))

    def mean(classes):
        maps = norm_grad(problem, x, classes)
        scaled = [
            (m - m.amin((1, 2), True)) / (m.amax((1, 2), True) - m.amin((1, 2), True))
            for m in maps.values()
        ]
        up = [F.interpolate(m[:, None], (8, 8), mode="bilinear")[:, 0] for m in scaled]
        return torch.stack(up).log().mean(0).exp()

    most, least = mean(logits.argmax(1)), mean(logits.argmin(1))
    np.testing.assert_allclose(s.combined, most, atol=1e-5)
    expected = np.mean(
        [spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(most, least, strict=True)]
    )
    assert s.class_sensitivity.value == pytest.approx(expected, abs=1e-4)
    assert expected < 0.999


def test_saliency_indices_are_positions_in_the_split():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(108, 2))
    problem = from_objects(module, (torch.rand(3, 1, 8, 8), torch.tensor([0, 1, 0])))
    problem = replace(problem, data=replace(problem.data, indices=torch.tensor([4, 7, 9])))
    assert run(problem, SaliencyConfig(), Workspace(configs={})).indices.tolist() == [4, 7, 9]
