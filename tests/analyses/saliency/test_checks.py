"""Meta-saliency, randomization, curves, noise, combination: against answers made by hand."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from lla.analyses.saliency import SaliencyConfig
from lla.analyses.saliency.combine import combined, normalized, weights_of
from lla.analyses.saliency.curves import area, baseline_of, curves, ink_of
from lla.analyses.saliency.explaining import explainer_of
from lla.analyses.saliency.maps import Network
from lla.analyses.saliency.meta import beside, meta_maps, stepped
from lla.analyses.saliency.randomization import OTHERS, cascade, depths_of, draw_anew
from lla.analyses.saliency.ranks import averaged, partial_correlations, rank_correlations
from lla.analyses.saliency.run import run
from lla.analyses.saliency.targets import Score, classes_to_explain
from lla.analyses.workspace import Workspace
from lla.api import analyze
from lla.errors import ConfigurationError
from lla.problem import Batch, from_objects

TIGHT = {"rtol": 1e-12, "atol": 1e-14}


def network():
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 4, 3, stride=2),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(36, 3),
    )


@pytest.fixture
def problem():
    torch.manual_seed(0)
    return from_objects(network(), (torch.rand(6, 1, 8, 8), torch.arange(6) % 3), dtype="float64")


def explained(problem, **settings):
    explainer = explainer_of(problem, SaliencyConfig(**settings), lambda images: None)
    images, classes = problem.data.inputs, problem.data.targets
    maps = explainer.maps(Network(problem.module), images, classes)
    plain = explainer.combined(maps, images.shape)
    return explainer.at(tuple(maps.raw)), images, classes, plain


def test_a_meta_step_of_rate_zero_gives_the_plain_maps(problem):
    explainer, images, classes, plain = explained(problem)
    found = meta_maps(problem, explainer, images, classes, 0.0)
    torch.testing.assert_close(found, plain, **TIGHT)
    moved = meta_maps(problem, explainer, images, classes, 0.5)
    assert float((moved - plain).abs().max()) > 1e-3


def test_a_meta_step_is_sgds(problem):
    """torch.optim.SGD on the image alone, and the maps of the network that it leaves."""
    explainer, images, classes, _ = explained(problem)
    before = {name: value.clone() for name, value in problem.module.state_dict().items()}
    found = meta_maps(problem, explainer, images[:2], classes[:2], 0.1)
    by_hand = []
    for k in range(2):
        net = network().double().eval()
        net.load_state_dict(before)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        nn.functional.cross_entropy(net(images[k : k + 1]), classes[k : k + 1]).backward()
        optimizer.step()
        by_hand.append(explainer(Network(net), images[k : k + 1], classes[k : k + 1]))
        theta = stepped(problem, images[k : k + 1], classes[k : k + 1], 0.1)
        flat = torch.cat([part.detach().flatten() for part in net.parameters()])
        torch.testing.assert_close(theta, flat, **TIGHT)
    torch.testing.assert_close(found, torch.cat(by_hand), **TIGHT)
    after = problem.module.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_noise_has_the_size_of_each_tensor(problem):
    named = beside(problem, 0.1, 0, 0).parameters
    own = problem.space.named(problem.theta)
    weight = own["6.weight"]
    ratio = (named["6.weight"] - weight).square().mean().sqrt() / weight.square().mean().sqrt()
    assert float(ratio) == pytest.approx(0.1, rel=0.3)
    # A tensor of zeros has no size: batch norm's bias stays.
    assert torch.equal(named["1.bias"], own["1.bias"])
    again = beside(problem, 0.1, 0, 0).parameters
    assert all(torch.equal(named[name], again[name]) for name in named)
    assert not torch.equal(beside(problem, 0.1, 0, 1).parameters["6.weight"], named["6.weight"])


def test_weights_are_drawn_anew_from_the_output_down(problem):
    module = problem.module
    groups = depths_of(module, problem.data.inputs[:1].clone().requires_grad_(True))
    assert groups == [("6",), ("3",), ("1",), ("0",)]
    before = {name: value.clone() for name, value in module.state_dict().items()}
    explainer, images, classes, plain = explained(problem)
    state = torch.random.get_rng_state()
    among = plain > plain.flatten(1).median(1).values[:, None, None]
    found = cascade(module, explainer, images, classes, plain, among, seed=0, draws=2)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(module.state_dict()[name], value) for name, value in before.items())
    assert found.names == ("", "6", "3", "1", "0")
    np.testing.assert_allclose(found.correlation[0], 1.0)
    np.testing.assert_allclose(found.beyond[0], 1.0)
    # The last depth by hand: every module initialized, map by map with scipy.
    maps = []
    for draw in range(2):
        net = network().double().eval()
        net.load_state_dict(before)
        draw_anew(net, ["6", "3", "1", "0"], 0, draw)
        assert not torch.equal(net[0].weight, before["0.weight"])
        assert torch.equal(net[1].running_var, torch.ones(4).double())
        maps.append(explainer(Network(net), images, classes))
    by_hand = [
        np.mean([spearmanr(plain[k].flatten(), one[k].flatten()).statistic for one in maps])
        for k in range(6)
    ]
    np.testing.assert_allclose(found.correlation[-1], by_hand, atol=1e-12)
    within = [
        np.mean([spearmanr(plain[k][among[k]], one[k][among[k]]).statistic for one in maps])
        for k in range(6)
    ]
    np.testing.assert_allclose(found.within, within, atol=1e-12)
    others = []
    for draw in range(2, 2 + OTHERS):
        net = network().double().eval()
        net.load_state_dict(before)
        draw_anew(net, ["6", "3", "1", "0"], 0, draw)
        others.append(explainer(Network(net), images, classes))
    alike = [
        np.mean(
            [
                spearmanr(one[k].flatten(), other[k].flatten()).statistic
                for one in maps
                for other in others
            ]
        )
        for k in range(6)
    ]
    np.testing.assert_allclose(found.untrained, alike, atol=1e-12)


def test_drawing_anew_follows_the_class_own_initialization_and_permutes_the_rest():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.gamma = nn.Parameter(torch.arange(20.0))

    module = nn.Sequential(Scaled(), nn.Linear(500, 400))
    with torch.no_grad():
        module[1].weight.fill_(7.0)
    draw_anew(module, ["0", "1"], 0, 0)
    assert torch.equal(module[0].gamma.sort().values, torch.arange(20.0))
    assert not torch.equal(module[0].gamma, torch.arange(20.0))
    # nn.Linear: uniform within ±1/√500.
    weight = module[1].weight.detach()
    assert float(weight.abs().max()) < 1 / 500**0.5
    assert float(weight.std()) == pytest.approx(1 / (3 * 500) ** 0.5, rel=0.01)


def test_rank_correlations_are_scipys():
    torch.manual_seed(0)
    one, other, third = (torch.rand(4, 5, 6).double() for _ in range(3))
    one[1] = one[1].round()  # ties
    other[2] = 1.0  # constant: it has no order
    found = rank_correlations(one, other)
    for k in (0, 1, 3):
        expected = spearmanr(one[k].flatten(), other[k].flatten()).statistic
        assert found[k] == pytest.approx(expected, abs=1e-12)
    assert np.isnan(found[2])
    # A partial correlation is that of what regression on the third leaves.
    partial = partial_correlations(one, other, third)
    from scipy.stats import rankdata

    r = [rankdata(part[0].flatten()) - 15.5 for part in (one, other, third)]
    left = [part - r[2] * (part @ r[2]) / (r[2] @ r[2]) for part in r[:2]]
    assert partial[0] == pytest.approx(np.corrcoef(*left)[0, 1], abs=1e-12)
    assert np.isnan(partial_correlations(one, one, one)).all()
    estimate = averaged(found, 0.95, "here")
    assert estimate.method == "mean over 3 of 4 images, here"
    assert estimate.value == pytest.approx(np.nanmean(found))
    assert not averaged(np.array([1.0, np.nan]), 0.95, "").exists


def test_curves_of_a_network_that_adds_up_pixels():
    """The logit is the sum of pixels: deletion in the order of brightness, in closed form."""

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(1.0))

        def forward(self, x):
            total = self.scale * x.sum((1, 2, 3))
            return torch.stack([total, torch.zeros_like(total)], 1)

    torch.manual_seed(0)
    images = torch.rand(3, 1, 4, 4)
    problem = from_objects(Sum(), (images, torch.zeros(3, dtype=torch.int64)), dtype="float64")
    images = problem.data.inputs
    found = curves(
        problem, images, problem.data.targets, images[:, 0], steps=16,
        baseline=torch.zeros_like(images), seed=0,
    )  # fmt: skip
    bright = images.flatten(1).sort(dim=1, descending=True).values.numpy()
    given = np.concatenate([np.zeros((3, 1)), bright.cumsum(1)], axis=1)
    np.testing.assert_allclose(found.insertion.T, 1 / (1 + np.exp(-given)), rtol=1e-12)
    left = bright.sum(1, keepdims=True) - given
    np.testing.assert_allclose(found.deletion.T, 1 / (1 + np.exp(-left)), rtol=1e-12)
    assert (area(found.random_deletion) > area(found.deletion)).all()
    assert (area(found.insertion) > area(found.random_insertion)).all()
    np.testing.assert_allclose(found.random_deletion[[0, -1]], found.deletion[[0, -1]])
    np.testing.assert_allclose(area(np.array([[1.0], [0.0], [0.0]])), [0.25])


def test_baselines(problem):
    images = problem.data.inputs
    mean = baseline_of(problem, images, "mean")
    torch.testing.assert_close(mean, images.mean().expand_as(images), **TIGHT)
    flat = torch.full_like(images, 3.0)
    torch.testing.assert_close(baseline_of(problem, flat, "blur"), flat, **TIGHT)
    assert float(baseline_of(problem, images, "blur").std()) < 0.3 * float(images.std())


def test_ink_is_what_differs_from_a_plain_background():
    images = torch.full((3, 1, 6, 6), 0.2)
    images[0, 0, 2:4, 1:3] = 1.0  # light on dark
    images[0, 0, 4, :5] = 0.5  # a shade that is nearer to the background
    images[1] = 1.0 - images[0]  # dark on light
    images[2] = torch.linspace(0, 1, 36).view(1, 6, 6)  # no drawing
    ink = ink_of(images)
    assert ink.sum((1, 2)).tolist() == [4, 4, 0]
    assert bool(ink[0, 2:4, 1:3].all())
    assert torch.equal(ink[0], ink[1])


def test_layers_are_combined_by_their_weights():
    torch.manual_seed(0)
    maps = {"a": torch.rand(2, 4, 4).double(), "b": torch.rand(2, 4, 4).double()}
    activity = {"a": torch.tensor([1.0, 3.0]).double(), "b": torch.tensor([3.0, 1.0]).double()}
    a, b = (normalized(raw)[0] for raw in maps.values())
    size = (4, 4)
    linear = weights_of("linear", maps, activity)
    assert linear.tolist() == [[1 / 3, 2 / 3]] * 2
    active = weights_of("activation", maps, activity)
    assert active.tolist() == [[0.25, 0.75], [0.75, 0.25]]
    uniform = weights_of("uniform", maps, activity)
    for weights, how, by_hand in (
        (uniform, "geometric", (a * b).sqrt()),
        (linear, "geometric", a ** (1 / 3) * b ** (2 / 3)),
        (uniform, "product", a * b),
        (linear, "sum", (a + 2 * b) / 3),
    ):
        torch.testing.assert_close(combined(maps, size, weights, how), by_hand, **TIGHT)


def test_constant_maps_are_left_out_of_the_combination():
    maps = {"a": torch.rand(2, 4, 4).double(), "b": torch.full((2, 4, 4), 5.0).double()}
    maps["a"][1] = 0.0
    maps["b"][1, 0, 0] = float("inf")
    weights = weights_of("uniform", maps, {})
    for how in ("geometric", "product", "sum"):
        found = combined(maps, (4, 4), weights, how)
        torch.testing.assert_close(found[0], normalized(maps["a"])[0][0], **TIGHT)
        assert torch.equal(found[1], torch.zeros(4, 4).double())


@pytest.mark.parametrize("of", ["logit", "probability", "loss"])
def test_what_is_explained(problem, of):
    images, labels = problem.data.inputs, problem.data.targets
    logits = problem.module(images).detach()
    expected = {
        "logit": logits.gather(1, labels[:, None]).sum(),
        "probability": logits.softmax(1).gather(1, labels[:, None]).sum(),
        "loss": nn.functional.cross_entropy(logits, labels, reduction="sum"),
    }[of]
    found = Score(of, problem.objective.loss)(problem.module, Batch(images, labels))
    torch.testing.assert_close(found.detach(), expected, **TIGHT)


def test_which_class_is_explained():
    logits, given = torch.tensor([[1.0, 5.0, 2.0], [4.0, 0.0, 1.0]]), torch.tensor([2, 0])
    assert classes_to_explain("predicted", logits, given).tolist() == [1, 0]
    assert classes_to_explain("least", logits, given).tolist() == [0, 1]
    assert classes_to_explain("true", logits, given).tolist() == [2, 0]
    assert classes_to_explain("2", logits, None).tolist() == [2, 2]
    with pytest.raises(ConfigurationError, match="no class 3"):
        classes_to_explain("3", logits, given)
    with pytest.raises(ConfigurationError, match="no class labels"):
        classes_to_explain("true", logits, None)


def test_which_images(problem):
    def found(**settings):
        settings = {
            "meta": False,
            "randomize": 0,
            "curve_steps": 0,
            "noise": 0,
            "sheet": 0,
        } | settings
        return run(problem, SaliencyConfig(**settings), Workspace(configs={}))

    assert found(indices=[4, 1]).indices.tolist() == [4, 1]
    assert found(classes=[1]).indices.tolist() == [1, 4]
    by_class = found(per_class=1)
    assert by_class.targets.tolist() == [0, 1, 2]
    assert found(per_class=2, classes="2,0").targets.tolist() == [2, 2, 0, 0]
    with pytest.raises(ConfigurationError, match="no image at position 6"):
        found(indices=[6])
    with pytest.raises(ConfigurationError, match="no analysed image is of class 5"):
        found(classes=[5])
    with pytest.raises(ConfigurationError, match="live objects"):
        found(files=["a.png"])
    with pytest.raises(ConfigurationError, match="no pair of phases"):
        found(map="grad_cam", virtual="bias")


def test_grad_cam_is_of_the_last_layer(problem):
    """With pooling and a linear layer behind: ReLU Σ_c w_c a_c / HW, the class activation map."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 3, stride=2), nn.Tanh(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip
    data = (problem.data.inputs.float(), problem.data.targets)
    settings = {"saliency": {"map": "grad_cam", "target": "true"}}
    result = analyze(module, data, only=["saliency"], settings=settings).results["saliency"]
    assert list(result.maps) == ["3"]
    with torch.no_grad():
        a = module[:4](data[0])
        by_hand = torch.einsum("nc,nchw->nhw", module[6].weight[data[1]], a).relu() / 4
    np.testing.assert_allclose(result.maps["3"].raw, by_hand, rtol=1e-5, atol=1e-7)


def test_a_result_has_every_check(problem):
    module, data = network(), (problem.data.inputs.float(), problem.data.targets)
    settings = {"saliency": {"pairs": ["scaling/sum"], "randomize": 2, "sheet": 2}}
    report = analyze(module, data, only=["saliency"], settings=settings)
    result, metrics = report.results["saliency"], report.metrics
    names = (
        "meta_agreement",
        "randomized",
        "randomized_beyond",
        "untrained_agreement",
        "deletion_gain",
        "noise_agreement",
    )
    for name in names:
        found = metrics[f"saliency/{name}"]
        assert found.low <= found.value <= found.high, name
        assert found.stderr > 0
        assert "of 6 images" in found.method
    assert metrics["saliency/meta_agreement"].value > 0.95
    assert metrics["saliency/noise_agreement"].value > 0.95
    assert result.sheet.maps.shape == (6, 2, 8, 8)
    # The sheet's map of the class that is explained is the combined one.
    for row, place in enumerate(result.sheet.shown):
        column = list(result.sheet.classes).index(result.explained[place])
        np.testing.assert_allclose(
            result.sheet.maps[row, column], result.combined[place], atol=1e-5
        )
    assert list(result.pairs) == ["scaling_sum"]
    np.testing.assert_allclose(result.weights, 0.5)
    # Off: a reason in its place.
    off = {"meta": False, "randomize": 0, "curve_steps": 0, "noise": 0, "sheet": 0}
    bare = analyze(module, data, only=["saliency"], settings={"saliency": off})
    for name in names:
        assert "not asked for" in bare.metrics[f"saliency/{name}"].why
    np.testing.assert_array_equal(bare.results["saliency"].combined, result.combined)


def test_a_constant_layer_is_marked():
    """Before average pooling the gradient is the same everywhere: bias has a constant map."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    data = (torch.rand(6, 1, 8, 8), torch.randint(0, 3, (6,)))
    settings = {"saliency": {"virtual": "bias"}}
    report = analyze(module, data, only=["saliency"], settings=settings)
    assert report.metrics["saliency/degenerate"].value == 1.0
    result = report.results["saliency"]
    assert result.maps["0"].degenerate.all()
    assert not result.combined.any()
    from lla_plots.words.saliency import sections

    assert "before average pooling" in sections(result)[0].notes[0]
