"""Networks of several inputs, outputs that are no tensors, and data as live objects."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from torch.utils.data import Dataset as TorchDataset

from lla.analyses.saliency import SaliencyConfig
from lla.analyses.saliency.run import run as run_saliency
from lla.analyses.workspace import Workspace
from lla.curvature import Hessian
from lla.errors import ConfigurationError, DataError, LlaError, ProblemError
from lla.problem import Batch, LossSpec, ParameterSpace, Problem, from_objects
from tests.oracles import columns


class Two(nn.Module):
    """Takes features and a mask of them; the third argument shows what is passed by name."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor, mask: torch.Tensor, scale: torch.Tensor | float = 1.0):
        assert mask.dtype == torch.bool
        return self.layer(x.masked_fill(~mask, 0.0)) * scale


def samples(n: int = 10) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(n, 4), torch.rand(n, 4) > 0.3, torch.randint(0, 3, (n,))


@pytest.mark.parametrize("batch_size", [1, 3, 10])
@pytest.mark.parametrize("named", [False, True])
def test_several_inputs_by_position_and_by_name(named: bool, batch_size: int) -> None:
    (x, mask, y), module = samples(), Two()
    inputs = {"mask": mask, "x": x} if named else (x, mask)
    problem = from_objects(module, (inputs, y), batch_size=batch_size)
    expected = F.cross_entropy(module.layer(x * mask), y).detach()
    assert problem.evaluate(problem.theta).loss == pytest.approx(float(expected), rel=1e-6)
    assert len(problem.data) == 10
    assert [batch.samples for batch in problem.data.chunks()][:2] == [batch_size] * min(
        2, 10 // batch_size
    )

    double = problem.in_float64()
    kinds = {part.dtype for part in (double.data.inputs.values() if named else double.data.inputs)}
    assert kinds == {torch.float64, torch.bool}
    assert double.evaluate(double.theta).loss == pytest.approx(float(expected), rel=1e-6)
    chosen = problem.data.select(torch.tensor([7, 2]))
    picked = chosen.inputs["x"] if named else chosen.inputs[0]
    assert torch.equal(picked, x[[7, 2]])
    assert torch.equal(chosen.targets, y[[7, 2]])


def test_digest_depends_on_every_tensor_and_its_name() -> None:
    x, mask, y = samples()
    other = mask.clone()
    other[3, 1] = ~other[3, 1]
    module, found = Two(), []
    for inputs in ((x, mask), (x, other), {"x": x, "mask": mask}):
        found.append(from_objects(module, (inputs, y)).data.sha256)
    assert len(set(found)) == 3
    assert from_objects(module, ((x, mask), y)).data.sha256 == found[0]


def test_shapes_of_all_inputs_are_named() -> None:
    x, mask, y = samples()
    with pytest.raises(
        ProblemError, match=r"\(\{x: \(10, 3\), mask: \(10, 4\)\} inputs, \(10,\) targets"
    ):
        from_objects(Two(), ({"x": x[:, :3], "mask": mask}, y))
    with pytest.raises(ProblemError, match=r"\(\(10, 3\), \(10, 4\)\) inputs"):
        from_objects(Two(), ((x[:, :3], mask), y))
    with pytest.raises(DataError, match="inputs of 9 and of 10 samples"):
        from_objects(Two(), ((x, mask[:9]), y))


class Wrapped(nn.Module):
    """A linear layer whose output is handed over in some form."""

    def __init__(self, form) -> None:
        super().__init__()
        self.layer, self.form = nn.Linear(3, 2), form

    def forward(self, x: torch.Tensor):
        return self.form(self.layer(x))


class Output:
    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits


@pytest.mark.parametrize(
    "form",
    [
        Output,
        lambda out: {"hidden": -out, "logits": out},
        lambda out: (out, -out),
        lambda out: [out],
    ],
)
def test_outputs_that_are_no_tensors(form) -> None:
    torch.manual_seed(0)
    x, y, module = torch.randn(6, 3), torch.randint(0, 2, (6,)), Wrapped(form)
    expected = F.cross_entropy(module.layer(x), y).item()
    for loss in ("cross_entropy", lambda output, target: F.cross_entropy(output, target)):
        problem = from_objects(module, (x, y), loss, batch_size=4)
        assert problem.evaluate(problem.theta).loss == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("form", [lambda out: {"hidden": out}, lambda out: "text", lambda out: ()])
def test_outputs_without_a_tensor_to_choose(form) -> None:
    data = (torch.randn(6, 3), torch.randint(0, 2, (6,)))
    with pytest.raises(ProblemError, match=r"returns a (dict with hidden|str|tuple)") as caught:
        from_objects(Wrapped(form), data)
    assert "fn(module, batch)" in caught.value.remedy


def test_saliency_of_several_inputs_is_not_applicable() -> None:
    x, mask, y = samples()
    problem = from_objects(Two(), ({"x": x, "mask": mask}, y))
    found = run_saliency(problem, SaliencyConfig(), Workspace({}))
    assert "takes 2 of them by name" in found.class_sensitivity.why
    assert found.images is None


# Networks of Hugging Face.


def bert() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=11,
        hidden_size=4,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=4,
        max_position_embeddings=6,
        num_labels=3,
        initializer_range=0.5,
    )
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]] * 3)
    data = {
        "input_ids": torch.randint(0, 11, (9, 5)),
        "attention_mask": mask,
        "labels": torch.randint(0, 3, (9,)),
    }
    return transformers.BertForSequenceClassification(config).eval(), data


@pytest.mark.parametrize("batch_size", [2, 9])
def test_bert_has_its_own_loss(batch_size: int) -> None:
    model, data = bert()
    problem = from_objects(model, data, batch_size=batch_size)
    with torch.no_grad():
        out = model(**data)
    found = problem.evaluate(problem.theta)
    assert found.loss == pytest.approx(float(out.loss), rel=1e-5)
    assert found.accuracy == float((out.logits.argmax(1) == data["labels"]).double().mean())
    assert list(problem.data.inputs) == ["input_ids", "attention_mask"]


def test_hessian_of_bert_is_that_of_its_own_loss() -> None:
    model, data = bert()
    problem = from_objects(
        model, data, batch_size=4, dtype="float64", params=["classifier.*", "*.query.*"]
    )

    def loss(theta: torch.Tensor) -> torch.Tensor:
        return functional_call(problem.module, problem.space.named(theta), (), data).loss

    with problem.second_order():
        expected = torch.autograd.functional.hessian(loss, problem.theta)
    found = columns(Hessian(problem), problem.space.size)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("batch_size", [2, 7])
def test_gpt2_has_its_own_loss(batch_size: int) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=13, n_positions=6, n_embd=4, n_layer=1, n_head=2, initializer_range=0.5
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    ids = torch.randint(0, 13, (7, 6))
    labels = ids.clone()
    for row, kept in enumerate([6, 2, 4, 3, 6, 5, 2]):
        labels[row, kept:] = -100
    loss = LossSpec(name="cross_entropy", args={"shift": True})
    problem = from_objects(model, {"input_ids": ids, "labels": labels}, loss, batch_size=batch_size)
    with torch.no_grad():
        out = model(input_ids=ids, labels=labels)
    found = problem.evaluate(problem.theta)
    assert found.loss == pytest.approx(float(out.loss), rel=1e-5)
    kept = labels[:, 1:] >= 0
    right = (out.logits[:, :-1].argmax(-1) == labels[:, 1:])[kept]
    assert found.accuracy == pytest.approx(float(right.double().mean()))
    assert found.weight == int(kept.sum())


# Data without targets.


def decay(module: nn.Module, batch: Batch):
    """Residual of u' = −u at collocation points."""
    time = batch.inputs.detach().clone().requires_grad_(True)
    value = module(time)
    (slope,) = torch.autograd.grad(value.sum(), time, create_graph=True)
    return ((slope + value) ** 2).sum(), len(time)


def physical() -> Problem:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 1))
    time = torch.linspace(0, 2, 9)[:, None]
    return from_objects(module, time, decay, batch_size=4, dtype="float64")


def residual(theta: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
    """The same with the derivative by t written out: u = b₂ + Σ w₂ tanh(w₁t + b₁)."""
    w1, b1, w2, b2 = theta[:3], theta[3:6], theta[6:9], theta[9]
    inner = torch.tanh(time * w1 + b1)
    return (((1 - inner**2) * w1 * w2).sum(1) + inner @ w2 + b2).square().mean()


def test_loss_of_a_derivative_at_points_without_targets() -> None:
    problem = physical()
    time = torch.linspace(0, 2, 9)[:, None].double()
    assert problem.data.targets.shape == (9, 0)
    assert problem.evaluate(problem.theta).loss == pytest.approx(
        float(residual(problem.theta, time)), rel=1e-6
    )
    expected = torch.autograd.functional.hessian(lambda t: residual(t, time), problem.theta)
    found = columns(Hessian(problem), problem.space.size)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy", lambda output, target: output.mean()])
def test_other_losses_need_targets(loss) -> None:
    for data in (torch.randn(5, 1), (torch.randn(5, 1),), (torch.randn(5, 1), None)):
        with pytest.raises(ProblemError, match="no targets, and the loss needs them"):
            from_objects(nn.Linear(1, 1), data, loss)


# The forms that data may have.


class Squares(TorchDataset):
    def __len__(self) -> int:
        return 300

    def __getitem__(self, index: int):
        if not 0 <= index < 300:
            raise IndexError
        return np.full(2, index, np.float32), index % 2


class Streamed(IterableDataset):
    def __iter__(self):
        return iter(Squares()[index] for index in range(300))


class LooksLikeADataset:
    def __len__(self) -> int:
        return 300

    def __getitem__(self, index: int):
        return {"x": Squares()[index][0], "label": index % 2}


X = torch.arange(300.0)[:, None].expand(300, 2).contiguous()
Y = torch.arange(300) % 2


@pytest.mark.parametrize(
    "data",
    [
        (X, Y),
        [X, Y],
        (X.numpy(), Y.numpy().astype(">i8")),
        (X.tolist(), Y.tolist()),
        {"x": X, "y": Y},
        {"image": X.numpy(), "names": ["a"] * 300, "targets": Y},
        TensorDataset(X, Y),
        Squares(),
        Streamed(),
        LooksLikeADataset(),
        DataLoader(Squares(), batch_size=7),
        [(X[:100], Y[:100]), (X[100:], Y[100:])],
        ({"inputs": X[i : i + 50], "label": Y[i : i + 50]} for i in range(0, 300, 50)),
    ],
    ids=lambda data: type(data).__name__,
)
def test_forms_of_data(data) -> None:
    problem = from_objects(nn.Linear(2, 2), data)
    assert torch.equal(problem.data.inputs, X)
    assert torch.equal(problem.data.targets, Y)


@pytest.mark.parametrize(
    "data",
    [
        (X, X + 1, Y),
        ((X, X + 1), Y),
        ([X, X + 1], Y),
        TensorDataset(X, X + 1, Y),
        DataLoader(TensorDataset(X, X + 1, Y), batch_size=64),
        [((X, X + 1), Y)],
    ],
)
def test_forms_of_data_with_two_inputs(data) -> None:
    problem = from_objects(nn.Bilinear(2, 2, 2), data)
    one, two = problem.data.inputs
    assert torch.equal(one, X)
    assert torch.equal(two, X + 1)
    assert torch.equal(problem.data.targets, Y)


def test_names_of_hugging_face_stay_names() -> None:
    class Vision(nn.Linear):
        def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
            return super().forward(pixel_values)

    problem = from_objects(Vision(2, 2), [{"pixel_values": X, "labels": Y}])
    assert list(problem.data.inputs) == ["pixel_values"]


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (3, ConfigurationError, "a int, which holds no samples"),
        ("text", ConfigurationError, "a str, which holds no samples"),
        ([], DataError, "has no batches"),
        ((X[:0], Y[:0]), DataError, "0 inputs and 0 targets"),
        ((X, Y[:7]), DataError, "300 inputs and 7 targets"),
        ({"labels": Y}, DataError, "no inputs: its keys are labels"),
        ({"x": X, "text": ["a"] * 300}, ProblemError, "among its keys x, text"),
        ((X, ["a"] * 300), DataError, "y of the data holds list, not numbers"),
        ((np.array([None, X], dtype=object), Y), DataError, "x of the data holds object"),
        (((X, Y), (X, Y)), DataError, "y of the data holds tuple"),
        ([(X[0], 1)], DataError, "a single number"),
        (
            [(X, Y), (X[:, :1], Y)],
            DataError,
            r"inputs \(300, 2\), targets \(300,\) in the first, inputs \(300, 1\)",
        ),
        (
            [(X, Y), {"x": X, "mask": X, "y": Y}],
            DataError,
            r"inputs \{x: \(300, 2\), mask: \(300, 2\)\}",
        ),
        ([(X, Y), (X, Y[:4])], DataError, "batch 1 of the data has 300 inputs and 4 targets"),
    ],
)
def test_data_of_no_use_is_named(data, error: type[LlaError], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        from_objects(nn.Linear(2, 2), data)
    assert caught.value.remedy
    assert "\n" not in caught.value.reason


class Broken(TorchDataset):
    def __init__(self, sample) -> None:
        self.sample = sample

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int):
        return self.sample(index)


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        (lambda index: {}[index], "sample 0 of the data cannot be read: KeyError"),
        (lambda index: (torch.zeros(index + 1), 0), "cannot be put into one batch: stack expects"),
        (lambda index: (object(), 0), "cannot be put into one batch"),
    ],
)
def test_samples_of_no_use_are_named(sample, words: str) -> None:
    with pytest.raises(DataError, match=words):
        from_objects(nn.Linear(2, 2), Broken(sample))


def test_reading_data_leaves_the_callers_random_state() -> None:
    state = torch.get_rng_state()
    from_objects(nn.Linear(2, 2), Squares())
    after = torch.get_rng_state()
    torch.set_rng_state(state)
    nn.Linear(2, 2)
    assert torch.equal(torch.get_rng_state(), after)


def test_a_tied_parameter_is_found_by_either_name() -> None:
    module = nn.Module()
    module.first = nn.Linear(3, 3)
    module.second = nn.Linear(3, 3)
    module.second.weight = module.first.weight
    assert ParameterSpace.of(module, ["second.*"]).names == ("first.weight", "second.bias")
    assert ParameterSpace.of(module, ["second.weight"]).names == ("first.weight",)
    assert ParameterSpace.of(module).names == ("first.weight", "first.bias", "second.bias")
    with pytest.raises(ConfigurationError, match=r"match third\.\*"):
        ParameterSpace.of(module, ["second.weight", "third.*"])
