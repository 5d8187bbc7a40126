"""Named losses against torch's own means, and their options."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lla.errors import CheckpointError, ConfigurationError, DataError, LlaError, ProblemError
from lla.problem import Batch, LossSpec, from_objects


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


X, LABELS = torch.ones(6, 3), torch.tensor([0, 1, 0, 1, 0, 1])


@pytest.mark.parametrize(
    ("module", "data", "loss", "words"),
    [
        (
            nn.Linear(3, 2),
            (X, LABELS.float()),
            {},
            r"of shape \(6,\) are float32, and .* class",
        ),
        (nn.Linear(3, 2), (X, LABELS), {"class_dim": 4}, "no classes along axis 4"),
        (nn.Flatten(0), (X[:, 0], LABELS), {}, "no classes along axis"),
        (
            nn.Linear(3, 2),
            (torch.ones(6, 4, 3), LABELS),
            {},
            r"with classes along axis 1 \(a guess\) there are 12 predictions and 6 targets",
        ),
        (nn.Linear(3, 2), (X.long(), LABELS), {}, "takes real numbers, and its inputs are int64"),
        (nn.Embedding(3, 2), (X, LABELS), {}, "inputs up as indices, and they are float32"),
        (nn.Linear(5, 2), (X, LABELS), {}, "linear layer takes 5 features and is given 3"),
        (
            nn.Conv2d(3, 2, 1),
            (torch.ones(6, 1, 2, 2), LABELS),
            {},
            "3 channels and is given 1",
        ),
        (nn.Unflatten(1, (2, 2)), (X, LABELS), {}, r"in a chunk\): RuntimeError: "),
    ],
)
def test_data_that_does_not_fit_is_explained(
    module: nn.Module, data: object, loss: dict[str, object], words: str
) -> None:
    module.register_parameter("unused", nn.Parameter(torch.ones(1)))
    with pytest.raises(ProblemError, match=words) as caught:
        from_objects(module, data, LossSpec(args=loss))  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
    assert caught.value.remedy


def item(output: torch.Tensor, target: torch.Tensor) -> float:
    return F.cross_entropy(output, target).item()


def detached(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(output.detach(), target)


def one(module: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return module(batch[0]).sum()


def number(module: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> tuple[float, int]:
    return module(batch[0]).sum().item(), 6


def negative(module: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]):
    return module(batch[0]).sum(), -3


def three(output: torch.Tensor, target: torch.Tensor, weight: float) -> torch.Tensor:
    return weight * output.sum()


def undefined(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return 0 * output.mean() / 0


def ends(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    raise SystemExit(0)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (item, "returned a float as its mean, not a tensor"),
        (detached, "does not depend on the parameters by autograd"),
        (one, r"returned a Tensor, not \(sum, count\)"),
        (number, "returned a float as its sum"),
        (negative, "returned -3 as the count"),
        (three, r"the loss three\(.*weight.*\) cannot be called with two arguments: missing"),
        (undefined, "loss at the checkpoint is nan, and data and weights are finite"),
        (ends, r"ended the program: sys.exit\(0\)"),
    ],
)
def test_losses_of_no_use(loss: object, words: str) -> None:
    with pytest.raises(LlaError, match=words) as caught:
        from_objects(nn.Linear(3, 2), (X, LABELS), loss)  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
    assert caught.value.remedy


def test_options_fill_a_third_argument() -> None:
    from lla.problem.losses import adapt

    terms = adapt(three, {"weight": 2.0})(nn.Identity(), Batch(X, LABELS))
    assert float(terms.total) == pytest.approx(2 * 18 * 6)


def test_a_network_whose_output_is_detached() -> None:
    class Detached(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return super().forward(input)

    with pytest.raises(ProblemError, match="does not depend on the parameters by autograd"):
        from_objects(Detached(3, 2), (X, LABELS))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("inf"), "the inputs hold infinite numbers, first in sample 4"),
        (float("nan"), "the inputs hold NaN, first in sample 4"),
    ],
)
def test_where_a_loss_that_is_no_number_comes_from(value: float, words: str) -> None:
    x = X.clone()
    x[4, 1] = value
    with pytest.raises(DataError, match=words):
        from_objects(nn.Linear(3, 2), (x, LABELS))
    module = nn.Linear(3, 2)
    module.weight.data[0, 0] = value
    with pytest.raises(CheckpointError, match="the weights hold"):
        from_objects(module, (X, LABELS))
