"""Hooks: layers that are hard to catch, what is left behind, what is refused."""

import pytest
import torch
from torch import nn

from lla.analyses.saliency import sharing
from lla.analyses.saliency.maps import Network, Wanted, layer_maps
from lla.analyses.saliency.names import METHODS, Method, Pair, all_pairs
from lla.analyses.saliency.targets import Score
from lla.analyses.saliency.tokens import Grid, grid_of
from lla.errors import ConfigurationError
from lla.problem import from_objects


def problem_of(module, images=None):
    torch.manual_seed(0)
    images = torch.rand(4, 1, 8, 8) if images is None else images
    return from_objects(module, (images, torch.arange(len(images)) % 3), dtype="float64")


def maps_of(problem, *layers, pairs=(), method=METHODS["normgrad"], **more):
    images = problem.data.inputs
    wanted = Wanted(method, layers, pairs, **more)
    score = Score("logit", problem.objective.loss)
    return layer_maps(Network(problem.module), images, problem.data.targets, score, wanted)


class Net(nn.Module):
    """One ReLU called twice, one layer under two names, one never reached, one without effect."""

    def __init__(self, inplace=False):
        super().__init__()
        torch.manual_seed(1)
        self.one = nn.Conv2d(1, 4, 3, padding=1)
        self.two = nn.Conv2d(4, 4, 3, padding=1)
        self.again = self.two
        self.relu = nn.ReLU(inplace=inplace)
        self.never = nn.Conv2d(1, 4, 3)
        self.idle = nn.Conv2d(1, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        self.idle(x)
        h = self.relu(self.one(x))
        h = self.relu(self.two(h))
        return self.head(h.mean((2, 3)))


@pytest.mark.parametrize("layers", [(), ("input",)])
def test_threads_change_nothing(layers, monkeypatch):
    """A thread for each part of the images or each layer, and torch's own number stays."""
    problem = problem_of(Net())
    alone = maps_of(problem, *layers, pairs=all_pairs())
    before = torch.get_num_threads()
    monkeypatch.setattr(sharing, "_WORTH_SHARING", 0)
    try:
        torch.set_num_threads(3)
        shared = maps_of(problem, *layers, pairs=all_pairs())
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    for one, other in zip(everything(alone), everything(shared), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def everything(found):
    return [
        *found.raw.values(),
        *found.activity.values(),
        *(part for more in found.more.values() for part in more.values()),
    ]


def expected(net, images, labels, at):
    """‖a‖‖g‖ by hand, without hooks: at the first or second ReLU."""
    h = torch.relu(net.one(images))
    if at == 1:
        a = h.detach().requires_grad_(True)
        h = torch.relu(net.two(a))
    else:
        a = torch.relu(net.two(h)).detach().requires_grad_(True)
        h = a
    logits = net.head(h.mean((2, 3)))
    (g,) = torch.autograd.grad(logits.gather(1, labels[:, None]).sum(), a)
    return a.detach().norm(dim=1) * g.norm(dim=1)


@pytest.mark.parametrize("inplace", [False, True])
def test_a_module_called_twice(inplace):
    problem = problem_of(Net(inplace))
    found = maps_of(problem, "relu@1", "relu@2").raw
    for call in (1, 2):
        by_hand = expected(problem.module, problem.data.inputs, problem.data.targets, call)
        torch.testing.assert_close(found[f"relu@{call}"], by_hand, rtol=1e-12, atol=1e-14)
    assert list(maps_of(problem).raw) == ["relu@2"]
    with pytest.raises(ConfigurationError, match="'relu' is called 2 times") as told:
        maps_of(problem, "relu")
    assert "relu@1, relu@2" in told.value.remedy


class InPlace(nn.Module):
    """What a ReLU leaves in place of a convolution's output, and a sum of a convolution's input."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.one, self.two = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.head, self.passes = nn.Linear(4, 3), 0

    def forward(self, x):
        self.passes += 1
        h = self.one(x)
        h.relu_()  # no module does it
        h = h * 1  # the convolution below keeps its input for the backward pass
        y = self.two(h.clone())
        y += h
        return self.head(torch.tanh(y).mean((2, 3)))


@pytest.mark.parametrize("layer", ["one", "two"])
def test_what_is_changed_in_place_is_caught_as_it_was(layer):
    problem = problem_of(InPlace())
    net, images = problem.module, problem.data.inputs
    net.passes = 0
    real = (Pair("real", "norm"),)
    found = maps_of(problem, layer, pairs=real)
    assert net.passes == 2  # the first has shown what to copy
    again = maps_of(problem, layer, pairs=real)
    assert net.passes == 3
    assert torch.equal(again.raw[layer], found.raw[layer])
    # By hand, without anything in place.
    a = net.one(images).detach().requires_grad_(True)
    h = a.relu()
    b = net.two(h)
    logits = net.head(torch.tanh(b + h).mean((2, 3)))
    at = a if layer == "one" else b
    (g,) = torch.autograd.grad(logits.gather(1, problem.data.targets[:, None]).sum(), at)
    by_hand = at.detach().norm(dim=1) * g.norm(dim=1)
    torch.testing.assert_close(found.raw[layer], by_hand, rtol=1e-12, atol=1e-14)
    if layer == "two":
        own = h.detach().norm(dim=1) * g.norm(dim=1)
        torch.testing.assert_close(found.more[real[0]]["two"], own, rtol=1e-12, atol=1e-14)


def test_a_shared_module_by_its_second_name():
    problem = problem_of(Net())
    one, other = maps_of(problem, "two").raw, maps_of(problem, "again").raw
    assert list(other) == ["two"]
    assert torch.equal(one["two"], other["two"])


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ("nothing", "no layer 'nothing'"),
        ("relu2", "did you mean 'relu'"),
        ("never", "forward pass does not reach it"),
        ("idle", "does not depend on the output of the layer 'idle'"),
        ("head", "without the image's two axes"),
        ("relu@3", "no output of the layer 'relu@3'"),
    ],
)
def test_what_has_no_map_is_told(layer, words):
    problem = problem_of(Net())
    with pytest.raises(ConfigurationError, match=words.replace("(", r"\(")):
        maps_of(problem, layer)
    assert not hooks(problem)


def test_a_layer_without_weights_of_its_own():
    method = Method(Pair("real", "norm"))
    with pytest.raises(ConfigurationError, match="no weights of its own that see patches"):
        maps_of(problem_of(Net()), "relu@1", method=method)
    assert list(maps_of(problem_of(Net()), method=method).raw) == ["two"]


def hooks(problem):
    return [
        part for part in problem.module.modules() if part._forward_hooks or part._forward_pre_hooks
    ]


def test_nothing_is_left_behind():
    problem = problem_of(Net(inplace=True))
    module, images = problem.module, problem.data.inputs
    before = {name: value.clone() for name, value in module.state_dict().items()}
    wanted = [part.requires_grad for part in module.parameters()]
    held, modes = images.clone(), [part.training for part in module.modules()]
    state = torch.random.get_rng_state()
    maps_of(problem, pairs=all_pairs(real=False))
    maps_of(problem, "one", pairs=(Pair("real", "norm"),))
    broken = torch.ones(2, 3, 8, 8).double()
    score = Score("logit", problem.objective.loss)
    with pytest.raises(RuntimeError):
        layer_maps(Network(module), broken, torch.tensor([0, 1]), score, Wanted())
    assert not hooks(problem)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert torch.equal(images, held)
    assert modes == [part.training for part in module.modules()]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(p.grad is None for p in module.parameters())
    assert wanted == [p.requires_grad for p in module.parameters()]


def test_real_convolution_sees_its_input_before_it_is_changed():
    """The input of a convolution is overwritten behind it."""

    class Overwriting(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.one, self.two = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            h = self.one(x)
            out = self.two(h)
            h = h.detach()
            h += 5.0
            return (out + 0 * h).mean((2, 3))[:, :3]

    problem = problem_of(Overwriting())
    pair = Pair("real", "norm")
    found = maps_of(problem, "two", pairs=(pair,)).more[pair]["two"]
    module = problem.module
    x = module.one(problem.data.inputs).detach()
    patches = torch.nn.functional.unfold(x, 3, padding=1).norm(dim=1).view(4, 8, 8)
    torch.testing.assert_close(found, patches / 64, rtol=1e-12, atol=0)


@pytest.mark.parametrize("count", [4, 9])
def test_batches_change_nothing(count):
    torch.manual_seed(5)
    problem = problem_of(Net(), torch.rand(count, 1, 8, 8))
    whole, cut = maps_of(problem, pairs=all_pairs()), maps_of(problem, pairs=all_pairs(), at_once=3)
    assert list(whole.raw) == list(cut.raw)
    for pair, by_layer in whole.more.items():
        for name, raw in by_layer.items():
            torch.testing.assert_close(cut.more[pair][name], raw, rtol=1e-12, atol=1e-15)


def test_the_input_as_a_layer():
    problem = problem_of(Net())
    images = problem.data.inputs.clone().requires_grad_(True)
    logits = problem.module(images).gather(1, problem.data.targets[:, None]).sum()
    (g,) = torch.autograd.grad(logits, images)
    for name, by_hand in (("gradient", g[:, 0].abs()), ("input_x_gradient", (g * images)[:, 0])):
        found = maps_of(problem, method=METHODS[name]).raw
        torch.testing.assert_close(found["input"], by_hand.detach(), rtol=1e-12, atol=1e-15)


class Tokens(nn.Module):
    """Patches, a class token and two registers, one layer over all tokens."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.patch = nn.Conv2d(1, 5, 2, stride=2)
        self.extra = nn.Parameter(torch.randn(1, 3, 5))
        self.last = nn.Linear(5, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        patches = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.extra.expand(len(x), -1, -1), patches], 1)
        tokens = tokens + torch.einsum("nsc,ntc->nstc", tokens, tokens).mean(2)
        return self.head(torch.tanh(self.last(tokens)).mean(1))


def test_tokens_are_folded_without_class_and_registers():
    problem = problem_of(Tokens())
    module, images = problem.module, problem.data.inputs
    found = maps_of(problem, "last", pairs=(Pair("real", "norm"),))
    seen = {}
    handle = module.last.register_forward_hook(
        lambda part, given, output: seen.update(x=given[0], a=output)
    )
    logits = module(images)
    handle.remove()
    (g,) = torch.autograd.grad(logits.gather(1, problem.data.targets[:, None]).sum(), seen["a"])
    for x, of in ((seen["a"], found.raw), (seen["x"], found.more[Pair("real", "norm")])):
        by_hand = (x.norm(dim=2) * g.norm(dim=2)).detach()[:, 3:].reshape(4, 4, 4)
        torch.testing.assert_close(of["last"], by_hand, rtol=1e-12, atol=1e-15)


def test_registers_are_known_by_the_patches_grid():
    shape, image = torch.zeros(2, 19, 5), torch.Size((2, 1, 8, 8))
    assert grid_of(shape, image) is None
    assert grid_of(shape, image, [(4, 4)]) == Grid(4, 4, 3, tokens=True)
