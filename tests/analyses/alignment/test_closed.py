"""Gradient and Hessian of a linear head against autograd, the engine, and matrices on paper."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lla.analyses.alignment.bootstrap import exact_measures, moments_of
from lla.analyses.alignment.closed import (
    NoClosedFormError,
    groups_of_samples,
    head_sums,
    predictions,
)
from lla.analyses.alignment.head import find_head
from lla.curvature import Hessian, gradient
from lla.problem import LossSpec, Problem
from tests.analyses.alignment.cases import Net, domain, features_of, inputs_of, problem_of, three
from tests.oracles import columns


def sums_of(problem: Problem, data, most: int = 5):
    head = find_head(problem, data.select(torch.arange(2)))
    assert head is not None, "no head"
    assert head.linear, head.why
    groups = groups_of_samples(len(data), most, 0, "a")
    return head, head_sums(problem, head, data, groups)


def places(shape: tuple[int, int], bias: bool) -> torch.Tensor:
    """Where the entries of Θ (with the bias as last column) are in the flat (weight, bias)."""
    rows, size = shape
    inner = torch.arange(rows * size).reshape(rows, size)
    if not bias:
        return inner.reshape(-1)
    return torch.cat([inner, torch.arange(rows * size, rows * size + rows)[:, None]], 1).reshape(-1)


LOSSES = (
    ("cross_entropy", {}, 3, "labels"),
    ("cross_entropy", {"label_smoothing": 0.2}, 3, "labels"),
    ("cross_entropy", {"ignore_index": 1}, 3, "labels"),
    ("mse", {"one_hot": True}, 3, "labels"),
    ("mse", {}, 2, "numbers"),
    ("bce_with_logits", {}, 1, "zeros and ones"),
    ("huber", {}, 2, "numbers"),
)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("name", "args", "outputs", "kind"), LOSSES)
def test_the_closed_form_is_the_engines_hessian(name, args, outputs, kind, bias) -> None:
    torch.manual_seed(5)
    count = 23
    targets = {
        "labels": torch.randint(0, 3, (count,)),
        "numbers": torch.randn(count, outputs),
        "zeros and ones": torch.randint(0, 2, (count, outputs)).double(),
    }[kind]
    problem = problem_of(
        Net(outputs, bias), LossSpec(name=name, args=args), data=(inputs_of(count, 3), targets)
    )
    head, sums = sums_of(problem, problem.data)
    moments, matrices = moments_of([sums])
    space = head.space
    part = problem.altered(space=space, theta=space.flat(problem.module))
    where = places((outputs, 4), bias)
    dense = columns(Hessian(part), space.size)[where][:, where]
    scale = float(dense.abs().max())
    assert float((matrices[0] - dense).abs().max()) < 1e-9 * scale
    assert torch.allclose(moments.gradient[0], gradient(part)[where], rtol=0, atol=1e-9)
    assert torch.allclose(moments.hgp[0], dense @ moments.gradient[0], rtol=0, atol=1e-9)
    found = problem.evaluate(problem.theta)
    assert float(moments.loss[0]) == pytest.approx(found.loss, rel=1e-12)
    if found.accuracy == found.accuracy:
        assert float(moments.accuracy[0]) == pytest.approx(found.accuracy, rel=1e-12)


def test_the_softmax_head_against_autograd_and_paper() -> None:
    """H = (1/n) Σ (diag p − ppᵀ) ⊗ zzᵀ, written out sample by sample."""
    problem = problem_of()
    _, sums = sums_of(problem, problem.data)
    moments, matrices = moments_of([sums])
    net = problem.module
    z = features_of(net, problem.data.inputs)
    theta = torch.cat([net.head.weight, net.head.bias[:, None]], dim=1).detach()

    def loss(flat: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(z @ flat.view_as(theta).T, problem.data.targets)

    auto = torch.autograd.functional.hessian(loss, theta.reshape(-1))
    paper = torch.zeros_like(auto)
    for feature in z:
        p = (theta @ feature).softmax(0)
        paper += torch.kron(torch.diag(p) - torch.outer(p, p), torch.outer(feature, feature))
    assert torch.allclose(matrices[0], auto, rtol=0, atol=1e-12)
    assert torch.allclose(matrices[0], paper / len(z), rtol=0, atol=1e-12)
    slope = torch.autograd.functional.jacobian(loss, theta.reshape(-1))
    assert torch.allclose(moments.gradient[0], slope, rtol=0, atol=1e-12)


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_head_at_zero(outputs: int) -> None:
    """ΔH = ¼ ΔE[zzᵀ] for one logit; ¼ [[1, −1], [−1, 1]] ⊗ ΔE[zzᵀ] for two: twice the norm."""
    net = Net(outputs)
    nn.init.zeros_(net.head.weight)
    nn.init.zeros_(net.head.bias)
    loss = "bce_with_logits" if outputs == 1 else "cross_entropy"
    labels = torch.arange(20) % 2
    targets = labels.double()[:, None] if outputs == 1 else labels
    problem = problem_of(net, loss, data=(inputs_of(20, 0), targets))
    domains = [problem.data, domain(problem, inputs_of(20, 1, 0.7), targets)]
    moments, matrices = moments_of([sums_of(problem, one)[1] for one in domains])
    found, _ = exact_measures(moments, matrices, (1e-4, 5e-3), (1e-3, 5e-3))
    seconds = [z.T @ z / len(z) for z in (features_of(problem.module, d.inputs) for d in domains)]
    change = (seconds[1] - seconds[0]) / 4
    turn = torch.ones(1, 1) if outputs == 1 else torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    expected = torch.kron(turn.double(), change)
    assert torch.allclose(matrices[1] - matrices[0], expected, rtol=0, atol=1e-12)
    norm = float(torch.linalg.matrix_norm(change, 2)) * outputs
    assert float(found.spectral[0, 1]) == pytest.approx(norm, rel=1e-12)


def test_sums_do_not_depend_on_how_the_data_is_cut() -> None:
    problem = problem_of()
    whole = moments_of([sums_of(problem, problem.data, 1)[1]])[1]
    for chunk, most in ((1, 4), (3, 20), (64, 7)):
        other = moments_of([sums_of(problem, replace(problem.data, chunk=chunk), most)[1]])[1]
        assert torch.allclose(whole, other, rtol=1e-13, atol=1e-15)


def test_identical_domains_do_not_differ() -> None:
    problem = problem_of()
    sums = [sums_of(problem, problem.data)[1] for _ in range(2)]
    found, _ = exact_measures(*moments_of(sums), (1e-4, 5e-3), (1e-3, 5e-3))
    for name in ("gradient", "hgp", "diagonal", "spectral", "frobenius", "loss", "accuracy"):
        assert float(getattr(found, name).abs().max()) < 1e-15, name
    assert float(found.cosine.min()) == pytest.approx(1.0, abs=1e-15)
    assert float(found.hgp_penalty) < 1e-30
    assert float(found.hutchinson_penalty) < 1e-30


class Deep(nn.Module):
    """A network whose last layer is no linear head, in one of several ways."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.embedding = nn.Embedding(3, 5)
        self.body = nn.Linear(5, 5)
        self.head = nn.Linear(5, 3, bias=False)
        self.scale = nn.Parameter(torch.ones(3))
        self.conv = nn.Conv1d(5, 3, 1)
        if kind == "tied":
            self.head.weight = self.embedding.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.body(x))
        if self.kind == "scaled":
            return self.head(x) * self.scale
        if self.kind == "in place":
            return self.head(x).relu_()
        if self.kind == "convolution":
            return self.conv(x[..., None])[..., 0]
        if self.kind == "twice":
            return self.head(x + self.head(x).repeat(1, 2)[:, :5])
        return self.head(x)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("tied", "serve elsewhere as well, as head.weight"),
        ("scaled", "are not those of head"),
        ("in place", "changed in place"),
        ("convolution", "conv is a Conv1d"),
        ("twice", "called 2 times"),
    ],
)
def test_heads_without_a_closed_form_are_told(kind: str, words: str) -> None:
    problem = problem_of(Deep(kind))
    head = find_head(problem, problem.data.select(torch.arange(3)))
    assert head is not None
    assert not head.linear
    assert words in head.why
    assert not problem.module._forward_hooks
    assert not problem.module.head._forward_hooks


def test_an_auxiliary_layer_called_last_is_not_the_head() -> None:
    class Auxiliary(Net):
        def __init__(self) -> None:
            super().__init__()
            self.other = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            features = torch.tanh(self.body(x))
            logits = self.head(features)
            self.other(features)
            return logits

    problem = problem_of(Auxiliary())
    head = find_head(problem, problem.data.select(torch.arange(3)))
    assert head is not None
    assert (head.layer, head.names) == ("head", ("head.weight", "head.bias"))
    assert head.linear


def test_a_loss_that_couples_predictions_has_no_closed_form() -> None:
    """Of (n, time, K) outputs the predictions are (n · time); this loss compares times."""

    def over_time(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return output.flatten(1).logsumexp(1).mean()

    inputs = inputs_of(24, 0).reshape(8, 3, 5)
    problem = problem_of(loss=over_time, data=(inputs, torch.zeros(8, 3).long()))
    head = find_head(problem, problem.data.select(torch.arange(3)))
    assert head is not None
    assert head.linear
    with pytest.raises(NoClosedFormError, match="no sum over predictions"):
        predictions(problem, head, problem.data.whole)


def test_three_domains_have_the_sums_of_their_own() -> None:
    problem = problem_of()
    domains = three(problem)
    _, matrices = moments_of([sums_of(problem, one)[1] for one in domains])
    for one, matrix in zip(domains, matrices, strict=True):
        z = features_of(problem.module, one.inputs)
        head = problem.module.head
        p = (z[:, :-1] @ head.weight.T + head.bias).softmax(1).detach()
        corner = (p[:, 0] * (1 - p[:, 0]) * z[:, 1] * z[:, 2]).mean()
        assert float(matrix[1, 2]) == pytest.approx(float(corner), rel=1e-12)
