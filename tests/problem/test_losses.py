"""Named losses against torch's own means, and their options."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lla.errors import ConfigurationError, DataError, LlaError, ProblemError
from lla.problem import LossSpec, from_objects


def loss_of(module: nn.Module, x: torch.Tensor, y: torch.Tensor, name: str, **args) -> float:
    problem = from_objects(module, (x, y), LossSpec(name=name, args=args), batch_size=4)
    return problem.evaluate(problem.theta).loss


@pytest.mark.parametrize(
    ("name", "args", "mean"),
    [
        ("l1", {}, F.l1_loss),
        ("huber", {}, F.huber_loss),
        ("huber", {"delta": 0.3}, lambda out, y: F.huber_loss(out, y, delta=0.3)),
        ("smooth_l1", {}, F.smooth_l1_loss),
        ("smooth_l1", {"beta": 0.3}, lambda out, y: F.smooth_l1_loss(out, y, beta=0.3)),
    ],
)
def test_means_over_elements(name: str, args: dict[str, object], mean) -> None:
    torch.manual_seed(0)
    x, y, module = torch.randn(10, 3), 2 * torch.randn(10, 2), nn.Linear(3, 2)
    expected = mean(module(x), y).item()
    assert loss_of(module, x, y, name, **args) == pytest.approx(expected, rel=1e-6)
    problem = from_objects(module, (x, y), LossSpec(name=name, args=args))
    assert problem.evaluate(problem.theta).weight == 20
    with pytest.raises(ProblemError, match="outputs are of shape"):
        loss_of(module, x, y[:, :1], name)


def test_log_probabilities_are_given() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.LogSoftmax(dim=1))
    x, y = torch.randn(10, 3), torch.randint(0, 4, (10,))
    y[[1, 2, 7]] = 3
    assert loss_of(module, x, y, "nll") == pytest.approx(F.nll_loss(module(x), y).item(), rel=1e-6)
    expected = F.nll_loss(module(x), y, ignore_index=3).item()
    assert loss_of(module, x, y, "nll", ignore_index=3) == pytest.approx(expected, rel=1e-6)


def test_shifted_targets_count_the_predicted_ones() -> None:
    torch.manual_seed(0)
    x, module = torch.randint(0, 5, (7, 6)), nn.Embedding(5, 5)
    y = x.clone()
    for row, kept in enumerate([6, 1, 3, 2, 6, 5, 4]):
        y[row, kept:] = -100
    out = module(x).detach()[:, :-1].reshape(-1, 5)
    expected = float(F.cross_entropy(out, y[:, 1:].reshape(-1)))
    # One sample at a time: the second has nothing to predict, and its weight is 0.
    for size in (1, 3, 7):
        problem = from_objects(
            module, (x, y), LossSpec(args={"shift": True, "ignore_index": -100}), batch_size=size
        )
        found = problem.evaluate(problem.theta)
        assert found.loss == pytest.approx(expected, rel=1e-6)
        assert found.weight == 5 + 0 + 2 + 1 + 5 + 4 + 3


@pytest.mark.parametrize(
    ("args", "error", "words"),
    [
        ({"shift": True}, ProblemError, r"shift expects outputs \(n, time, classes\)"),
        ({"shift": True, "class_dim": 1}, ConfigurationError, "class_dim is 1"),
        ({"shift": "perhaps"}, ConfigurationError, "cannot have shift = 'perhaps'"),
        ({"label_smoothing": 2.0}, ConfigurationError, "cannot have label_smoothing = 2.0"),
        ({"ignore_index": 0.5}, ConfigurationError, "cannot have ignore_index = 0.5"),
    ],
)
def test_options_are_validated(args: dict[str, object], error: type[LlaError], words: str) -> None:
    x, y = torch.randn(5, 3), torch.randint(0, 2, (5,))
    with pytest.raises(error, match=words) as caught:
        from_objects(nn.Linear(3, 2), (x, y), LossSpec(args=args))
    assert caught.value.remedy


@pytest.mark.parametrize(("name", "key"), [("huber", "delta"), ("smooth_l1", "beta")])
def test_widths_are_positive(name: str, key: str) -> None:
    data = (torch.randn(5, 3), torch.randn(5, 2))
    for value in (0, -1.0, float("inf"), "wide"):
        with pytest.raises(ConfigurationError, match=f"{name}' cannot have {key} = "):
            from_objects(nn.Linear(3, 2), data, LossSpec(name=name, args={key: value}))


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("cross_entropy", {}),
        ("cross_entropy", {"ignore_index": 1}),
        ("nll", {}),
        ("mse", {"one_hot": True}),
    ],
)
@pytest.mark.parametrize("wrong", [2, -1])
def test_labels_out_of_range_are_named(name: str, args: dict[str, object], wrong: int) -> None:
    y = torch.tensor([0, 1, 0, 1, wrong])
    with pytest.raises(ProblemError, match=f"label {wrong} is none of the 2 classes"):
        loss_of(nn.Linear(3, 2), torch.randn(5, 3), y, name, **args)


def test_shifted_tokens_out_of_range_are_named() -> None:
    y = torch.tensor([[0, 1, 2], [1, 5, 0]])
    with pytest.raises(ProblemError, match="label 5 is none of the 3 classes"):
        loss_of(nn.Embedding(3, 3), y.clamp(max=2), y, "cross_entropy", shift=True)


def test_nothing_to_predict_is_an_error_of_the_data() -> None:
    y = torch.zeros((3, 1), dtype=torch.int64)
    with pytest.raises(DataError, match="all targets are ignored"):
        loss_of(nn.Embedding(3, 3), y, y, "cross_entropy", shift=True)
