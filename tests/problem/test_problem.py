from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lla import checkpoint
from lla.errors import ConfigurationError, DataError, LlaError, ProblemError
from lla.problem import (
    DataSpec,
    LossSpec,
    ModelSpec,
    ParameterSpace,
    Problem,
    Training,
    build,
    from_objects,
)
from tests.oracles import CASES, Case


@pytest.mark.parametrize("batch_size", [1, 3, 10])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_losses_are_sums_over_counts_however_cut(case: Case, batch_size: int) -> None:
    problem = case.problem(batch_size)
    with torch.no_grad():
        outputs = problem.module(problem.data.inputs)
    expected = float(case.mean_loss(outputs, problem.data.targets))
    assert problem.evaluate(problem.theta).loss == pytest.approx(expected, rel=1e-12)


def test_accuracy_leaves_ignored_targets_out() -> None:
    problem = next(case for case in CASES if case.name == "text").problem(3)
    with torch.no_grad():
        best = problem.module(problem.data.inputs).argmax(-1)
    kept = problem.data.targets >= 0
    expected = float((best == problem.data.targets)[kept].double().mean())
    assert problem.evaluate(problem.theta).accuracy == pytest.approx(expected)


def test_label_smoothing_and_classes_second() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(4, 3, 5, 5), torch.randint(0, 3, (4, 5, 5))
    problem = from_objects(
        nn.Conv2d(3, 3, 1),
        (logits, targets),
        LossSpec(name="cross_entropy", args={"label_smoothing": 0.2}),
        batch_size=3,
    )
    with torch.no_grad():
        expected = F.cross_entropy(problem.module(logits), targets, label_smoothing=0.2)
    assert problem.evaluate(problem.theta).loss == pytest.approx(float(expected), rel=1e-6)


def test_binary_cross_entropy() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(9, 3), torch.tensor([0.0, 1.0] * 4 + [1.0])
    problem = from_objects(nn.Linear(3, 1), (x, y), "bce_with_logits", batch_size=2)
    out = problem.module(x)[:, 0].detach()
    found = problem.evaluate(problem.theta)
    assert found.loss == pytest.approx(float(F.binary_cross_entropy_with_logits(out, y)), rel=1e-6)
    assert found.accuracy == pytest.approx(float(((out > 0) == (y > 0.5)).float().mean()))


def test_users_losses_in_both_forms() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(7, 3), torch.randn(7, 1)
    module = nn.Linear(3, 1)

    def mean(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (output - target).abs().mean()

    def sums(module: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]):
        return (module(batch[0]) - batch[1]).abs().sum(), len(batch[0])

    expected = float(mean(module(x), y).detach())
    for loss in (mean, sums):
        problem = from_objects(module, (x, y), loss, batch_size=4)
        assert problem.evaluate(problem.theta).loss == pytest.approx(expected, rel=1e-6)


def test_random_losses_and_networks_are_caught() -> None:
    data = (torch.randn(5, 3), torch.randn(5, 1))
    with pytest.raises(ProblemError, match="random"):
        from_objects(nn.Linear(3, 1), data, lambda o, t: (o * torch.rand_like(o)).mean())
    # Dropout is switched off by evaluation mode.
    from_objects(nn.Sequential(nn.Linear(3, 1), nn.Dropout()), data, "mse")


def test_tied_parameters_count_once_and_frozen_ones_not() -> None:
    tied = next(case for case in CASES if case.name == "text").problem()
    assert tied.space.names == ("embedding.weight", "mix.weight", "mix.bias")
    unused = next(case for case in CASES if case.name == "unused").problem()
    assert unused.space.size == 15 + 6
    with pytest.raises(ConfigurationError, match="none of the model's 6 parameters match"):
        ParameterSpace.of(unused.module, ["nothing*"])


def test_flat_vectors_and_back() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    space = ParameterSpace.of(module)
    theta = space.flat(module)
    named = space.named(theta)
    assert all(torch.equal(named[name], value) for name, value in module.named_parameters())
    assert dict(space.slices())["1.bias"] == slice(12, 13)


# A checkpoint, its factory and its data in a folder.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n\ndef net(width=3):\n    return nn.Linear(4, width)\n\n"
        "def broken():\n    raise RuntimeError('no')\n\ndef number():\n    return 3\n"
    )
    torch.manual_seed(0)
    torch.save(nn.Linear(4, 3).state_dict(), tmp_path / "m.pt")
    generator = np.random.default_rng(0)
    np.savez(
        tmp_path / "d.npz",
        x_train=generator.normal(size=(20, 4)).astype(np.float16),
        y_train=generator.integers(0, 3, 20).astype(np.int16),
        x=np.zeros((2, 4), np.float32),
        y=np.zeros(3, np.int64),
    )
    return tmp_path


def made(folder: Path, **changed: object) -> Problem:
    specs = {
        "model": ModelSpec(factory="nets.py:net"),
        "data": DataSpec(source="d.npz", split="train"),
        "loss": LossSpec(),
        "training": Training(),
        **changed,
    }
    return build(checkpoint.load(folder / "m.pt"), folder=folder, **specs)  # type: ignore[arg-type]


def test_build_from_files(folder: Path) -> None:
    problem = made(folder)
    assert len(problem.data) == 20
    assert problem.data.inputs.dtype == torch.float32
    assert problem.data.targets.dtype == torch.int64
    assert len(problem.data.sha256) == 64


def test_subsets_are_seeded_and_stated(folder: Path) -> None:
    spec = DataSpec(source="d.npz", split="train", limit=6)
    one, same = made(folder, data=spec, seed=1), made(folder, data=spec, seed=1)
    other = made(folder, data=spec, seed=2)
    assert one.data.available == 20
    assert one.data.indices is not None
    assert other.data.indices is not None
    assert one.data.sha256 == same.data.sha256 != other.data.sha256
    whole = made(folder).data
    assert torch.equal(whole.inputs[one.data.indices], one.data.inputs)


def test_prefixed_weights_fit(folder: Path) -> None:
    weights = torch.load(folder / "m.pt", weights_only=True)
    prefixed = {f"module.{name}": tensor for name, tensor in weights.items()}
    torch.save({"model": prefixed}, folder / "m.pt")
    assert torch.equal(made(folder).module.weight, weights["weight"])


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"model": ModelSpec()}, ConfigurationError, "code is not known"),
        ({"model": ModelSpec(factory="net")}, ConfigurationError, "not of the form"),
        ({"model": ModelSpec(factory="no.py:net")}, ConfigurationError, "there is no file"),
        ({"model": ModelSpec(factory="nets.py:nett")}, ConfigurationError, "mean 'net'"),
        ({"model": ModelSpec(factory="nets.py:broken")}, ConfigurationError, "RuntimeError: no"),
        (
            {"model": ModelSpec(factory="nets.py:number")},
            ConfigurationError,
            "returned int, no nn.Module",
        ),
        ({"model": ModelSpec(factory="no_such_package:f")}, ConfigurationError, "ModuleNotFound"),
        (
            {"model": ModelSpec(factory="nets.py:net", args={"width": 5})},
            ProblemError,
            r"weight is \(3, 4\) in the file, \(5, 4\) in the model",
        ),
        ({"model": ModelSpec(factory="nets.py:net", args={"w": 5})}, ConfigurationError, "TypeErr"),
        ({"data": DataSpec()}, ConfigurationError, "no data is named"),
        ({"data": DataSpec(source="no.npz")}, DataError, "no data file"),
        ({"data": DataSpec(source="d.csv")}, ConfigurationError, "not of a known kind"),
        ({"data": DataSpec(source="d.npz")}, DataError, "2 inputs and 3 targets"),
        (
            {"data": DataSpec(source="d.npz", split="trian")},
            ConfigurationError,
            "no array 'x_trian' .did you mean 'x_train'",
        ),
        ({"loss": LossSpec(name="cross_entrpy")}, ConfigurationError, "mean 'cross_entropy'"),
        (
            {"loss": LossSpec(args={"ignore": 1})},
            ConfigurationError,
            "no option 'ignore' .did you mean 'ignore_index'",
        ),
        ({"loss": LossSpec(name="mse")}, ProblemError, "outputs are of shape"),
    ],
)
def test_what_does_not_fit_is_named(
    folder: Path, changed: dict[str, object], error: type[LlaError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        made(folder, **changed)
    assert caught.value.remedy
    assert "\n" not in caught.value.reason


def test_missing_and_unexpected_names_are_listed(folder: Path) -> None:
    torch.save({"wieght": torch.ones(3, 4), "bias": torch.ones(3)}, folder / "m.pt")
    words = "1 tensor missing: weight .*wieght.*1 tensor unexpected: wieght"
    with pytest.raises(ProblemError, match=words):
        made(folder)


def test_tensors_under_a_prefix_are_named_as_in_the_file(folder: Path) -> None:
    """Of the wrong layout, with the tensors that are of no part of the network."""
    rest = {f"body.{index}.weight": torch.ones(2) for index in range(6)}
    torch.save(
        {"head.weight": torch.ones(7, 9), "head.bias": torch.ones(3), **rest}, folder / "m.pt"
    )
    with pytest.raises(ProblemError) as told:
        made(folder)
    assert "head.weight (the model's weight) is (7, 9) in the file, (3, 4)" in told.value.reason
    assert "6 tensors of the file left over: body.0.weight, body.1.weight" in told.value.reason
    assert told.value.reason.endswith("and 2 more")
    torch.save({"module.weight": torch.ones(7, 9), "module.gain": torch.ones(3)}, folder / "m.pt")
    with pytest.raises(ProblemError) as told:
        made(folder)
    assert "1 tensor missing: bias; 1 tensor unexpected: module.gain;" in told.value.reason
    assert "left over" not in told.value.reason


def test_a_mean_over_kept_targets_is_refused_where_chunks_would_weight_it_wrongly() -> None:
    case = next(case for case in CASES if case.name == "text")

    def mean(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(output.movedim(-1, 1), target, ignore_index=-100)

    with pytest.raises(ProblemError, match="depends on how the data is cut"):
        from_objects(case.module(), (case.inputs(), case.targets()), mean)


def test_ignored_class_that_is_predicted_is_not_right():
    module = nn.Linear(2, 3)
    module.weight.data.zero_()
    module.bias.data.copy_(torch.tensor([9.0, 0.0, 0.0]))
    problem = from_objects(
        module,
        (torch.ones(4, 2), torch.tensor([0, 0, 0, 1])),
        LossSpec(name="cross_entropy", args={"ignore_index": 0}),
    )
    assert problem.evaluate(problem.theta).accuracy == 0.0


@pytest.mark.parametrize("dim", [1, -1])
def test_class_dim_settles_an_ambiguous_shape(dim):
    torch.manual_seed(0)
    x, y, module = torch.randn(8, 5, 4), torch.randint(0, 5, (8, 5)), nn.Linear(4, 5)
    problem = from_objects(module, (x, y), LossSpec(name="cross_entropy", args={"class_dim": dim}))
    out = module(x).detach().movedim(dim, -1).flatten(0, 1)
    assert problem.evaluate(problem.theta).loss == pytest.approx(
        float(nn.functional.cross_entropy(out, y.flatten())), rel=1e-6
    )


def test_layers_that_mix_samples_are_refused() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=False))
    with pytest.raises(ProblemError, match="depends on how the data is cut"):
        from_objects(module, (torch.randn(9, 3), torch.randint(0, 4, (9,))))


@pytest.mark.parametrize(
    ("output", "target", "args"),
    [
        (nn.Conv2d(3, 5, 1), torch.randn(6, 4, 4, 5), {}),
        (nn.Conv2d(3, 4, 1), torch.randint(0, 4, (6, 4, 4)), {"one_hot": True}),
    ],
)
def test_shapes_that_only_happen_to_have_as_many_elements(
    output: nn.Module, target: torch.Tensor, args: dict[str, object]
) -> None:
    with pytest.raises(ProblemError, match="of shape"):
        from_objects(output, (torch.randn(6, 3, 4, 4), target), LossSpec(name="mse", args=args))


def test_nan_in_any_chunk_is_found() -> None:
    x = torch.randn(20, 3)
    x[17, 1] = torch.nan
    with pytest.raises(LlaError, match="the loss at the checkpoint is nan"):
        from_objects(nn.Linear(3, 2), (x, torch.zeros(20, dtype=torch.int64)), batch_size=4)


def test_labels_out_of_range_are_an_error_of_the_data() -> None:
    y = torch.tensor([0, 1, 7])
    with pytest.raises(ProblemError, match="cannot process the data"):
        from_objects(nn.Linear(3, 2), (torch.randn(3, 3), y), batch_size=2)


def test_parameters_that_the_loss_does_not_use_have_no_curvature() -> None:
    from lla.curvature import Hessian

    case = next(case for case in CASES if case.name == "unused")
    data = (case.inputs(), case.targets())
    problem = from_objects(case.module(), data, case.loss, params=["unused.*"])
    assert not Hessian(problem)(torch.ones(6, dtype=torch.float64)).any()
    with pytest.raises(ConfigurationError, match="match nothing"):
        from_objects(case.module(), data, case.loss, params=["used.*", "nothing*"])
