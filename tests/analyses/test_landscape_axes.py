"""Every kind of axes, normalization and update rule on a loss whose formula is known."""

import math
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from lla.analyses.landscape import EVALUATED, LandscapeConfig, LandscapeResult
from lla.analyses.landscape.normalization import normalized, orthogonalized
from lla.analyses.landscape.run import run
from lla.analyses.landscape.setting import setting_of
from lla.analyses.landscape.usable import check
from lla.analyses.spectrum import SpectrumConfig
from lla.errors import ConfigurationError, LlaError
from lla.execution import workspace_of
from lla.pipeline import prepare
from lla.problem import Problem
from lla.problem.parameters import ParameterSpace
from lla.progress import Silent
from lla.settings import gather

MODELS = """
import torch
from torch import nn

class Net(nn.Module):
    # Linear in its parameters: with the square loss everything is a quadratic function of them.
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 3, 2)
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x):
        return (self.conv(x).sum(-1) + self.bias).sum(1, keepdim=True)

def make():
    return Net()
"""


def net() -> nn.Module:
    space: dict[str, Any] = {}
    exec(MODELS, space)
    made: nn.Module = space["make"]()
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of 18 parameters trained by Adam, with three checkpoints on its way."""
    place = tmp_path_factory.mktemp("landscape")
    generator = torch.Generator().manual_seed(0)
    (place / "models.py").write_text(MODELS)
    x = torch.randn(40, 2, 5, generator=generator)
    y = torch.randn(40, 1, generator=generator)
    np.savez(place / "data.npz", x=x, y=y, x_test=x[:9] * 2, y_test=y[:9])
    torch.manual_seed(1)
    module = net()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    for step in range(9):
        optimizer.zero_grad()
        nn.functional.mse_loss(module(x), y).backward()
        optimizer.step()
        content = {"model": module.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(content, place / f"step-{step}.pt")
    with h5py.File(place / "directions.h5", "w") as file:
        for name in ("xdirection", "ydirection"):
            for index, part in enumerate(module.parameters()):
                drawn = torch.randn(part.shape, generator=generator)
                file[f"{name}/{index}"] = drawn.numpy()
    return place


@cache
def problem_of(folder: Path, dtype: str = "float64") -> tuple[Problem, Any]:
    stated = {
        "model": {"factory": f"{folder}/models.py:make"},
        "data": {"source": f"{folder}/data.npz"},
        "loss": {"name": "mse"},
        "run": {"dtype": dtype},
    }
    path = folder / "step-8.pt"
    problem, _, settings = prepare(path, gather(path, flags=stated))
    return problem, workspace_of(settings, problem.device, Silent())


def exact(problem: Problem, theta: np.ndarray) -> float:
    """The mean square error, with a copy of the network set to θ."""
    module = net().double()
    nn.utils.vector_to_parameters(torch.from_numpy(theta), module.parameters())
    with torch.no_grad():
        output = module(problem.data.inputs)
    return float((output - problem.data.targets).square().mean())


def named(axes: str, folder: Path) -> dict[str, Any]:
    paths = {
        "between": (f"{folder}/step-0.pt",),
        "plane": (f"{folder}/step-0.pt", f"{folder}/step-3.pt"),
        "pca": (f"{folder}/step-*.pt",),
    }
    if axes == "file":
        return {"axes": f"file:{folder}/directions.h5"}
    return {"axes": "between" if axes == "plane" else axes, "checkpoints": paths.get(axes, ())}


KINDS = ("hessian", "hessian:0,hessian:1", "random", "gradient,hessian:-1", "adam", "plane", "pca",
         "file", "random:3,gradient")  # fmt: skip


@pytest.mark.parametrize("axes", KINDS)
@pytest.mark.parametrize("normalization", ["none", "filter", "layer", "model", "weight"])
def test_a_quadratic_loss_is_the_formula(folder: Path, axes: str, normalization: str) -> None:
    """On a rotated, oblong, off-centre grid, the last row as exact as the first."""
    problem, workspace = problem_of(folder)
    config = LandscapeConfig(
        **named(axes, folder), normalization=normalization, x="-1:2:5", y="-0.5:0.7:4"
    )
    result = run(problem, config, workspace)
    surface = result.surface
    assert surface is not None
    directions = setting_of(problem, config, workspace).directions.vectors.numpy()
    theta = problem.theta.numpy()
    for row, alpha in enumerate(surface.alpha):
        for column, beta in enumerate(surface.beta):
            expected = exact(problem, theta + alpha * directions[0] + beta * directions[1])
            assert surface.loss[row, column] == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(surface.loss, surface.quadratic, rtol=1e-9)
    assert (surface.status == EVALUATED).all()
    assert result.checks.value == "passed", result.checks
    lengths = np.linalg.norm(directions, axis=1)
    cosine = directions[0] @ directions[1] / lengths.prod()
    assert result.cosine.value == pytest.approx(cosine, abs=1e-12)
    np.testing.assert_allclose(result.axes.norms, lengths)

    def loss(flat: torch.Tensor) -> torch.Tensor:
        output = functional_call(net().double(), problem.space.named(flat), problem.data.inputs)
        return nn.functional.mse_loss(output, problem.data.targets)

    hessian = torch.autograd.functional.hessian(loss, problem.theta).numpy()
    forms = np.einsum("ki,ij,kj->k", directions, hessian, directions)
    np.testing.assert_allclose(result.axes.curvature, forms, rtol=1e-8, atol=1e-12)


def test_adams_rule_is_a_family_of_two_parameters(folder: Path) -> None:
    problem, workspace = problem_of(folder)
    config = LandscapeConfig(rule="adam", x="-0.1:0.2:4", y="0.001:0.5:5")
    surface = run(problem, config, workspace).surface
    assert surface is not None
    state = torch.load(folder / "step-8.pt")["optimizer"]["state"]
    first = torch.cat([state[i]["exp_avg"].flatten() for i in range(3)]).double()
    second = torch.cat([state[i]["exp_avg_sq"].flatten() for i in range(3)]).double()
    for row, alpha in enumerate(surface.alpha):
        for column, beta in enumerate(surface.beta):
            theta = problem.theta - alpha * first / (second.sqrt() + beta)
            expected = exact(problem, theta.numpy())
            assert surface.loss[row, column] == pytest.approx(expected, rel=1e-10)
    assert np.linalg.matrix_rank(surface.loss - surface.loss.mean()) > 1


def test_axes_through_checkpoints_meet_them(folder: Path) -> None:
    """The plane through three holds all three; PCA's shares and distances are those of an SVD."""
    problem, workspace = problem_of(folder)
    paths = {name: f"{folder}/step-{name}.pt" for name in (0, 3)}

    def flat(step: int) -> np.ndarray:
        saved = torch.load(folder / f"step-{step}.pt")["model"]
        return torch.cat([saved[name].flatten() for name in problem.space.names]).double().numpy()

    three = LandscapeConfig(axes="between", checkpoints=tuple(paths.values()), points=3)
    result = run(problem, three, workspace)
    assert result.trajectory is not None
    assert result.surface is not None
    np.testing.assert_allclose(result.trajectory.distance, 0, atol=1e-12)
    np.testing.assert_allclose(result.trajectory.coordinates[0], [1, 0], atol=1e-12)
    for index, step in enumerate(paths):
        expected = exact(problem, flat(step))
        assert result.trajectory.loss[index] == pytest.approx(expected, rel=1e-12)
        assert result.trajectory.plane_loss[index] == pytest.approx(expected, rel=1e-9)
        place = result.trajectory.coordinates[index]
        assert result.surface.alpha[0] < place[0] < result.surface.alpha[-1]
        assert result.surface.beta[0] < place[1] < result.surface.beta[-1]

    along = run(problem, LandscapeConfig(axes="between", checkpoints=(paths[0],)), workspace)
    assert along.surface is None
    assert along.profiles is not None
    middle = exact(problem, (flat(8) + flat(0)) / 2)
    found = np.interp(0.5, along.profiles.distance[0], along.profiles.loss[0])
    assert found == pytest.approx(middle, rel=1e-2)

    pca = LandscapeConfig(axes="pca", checkpoints=(f"{folder}/step-*.pt",), points=3)
    trajectory = run(problem, pca, workspace).trajectory
    assert trajectory is not None
    assert trajectory.names[:2] == ("step-0.pt", "step-1.pt")
    offsets = np.stack([flat(step) - flat(8) for step in range(9)])
    _, _values, rows = np.linalg.svd(offsets)
    projected = offsets @ rows[:2].T
    np.testing.assert_allclose(
        trajectory.distance, np.linalg.norm(offsets - projected @ rows[:2], axis=1), atol=1e-7
    )
    np.testing.assert_allclose(np.abs(trajectory.coordinates), np.abs(projected), atol=1e-7)


def test_normalization_group_by_group() -> None:
    """Each group on its own by a plain loop."""
    torch.manual_seed(0)
    shapes = ((3, 2, 2), (3,), (4, 5))
    space = ParameterSpace(("a", "b", "c"), tuple(torch.Size(shape) for shape in shapes))
    theta, direction = torch.randn(space.size).double(), torch.randn(space.size).double()
    theta[:4] = 0  # a filter of zeros
    direction[4:8] = 0  # a direction that is zero on a filter
    for order, power in (("l1", 1), ("l2", 2)):

        def norm(part: torch.Tensor, power: int = power) -> float:
            return float((part.abs() ** power).sum() ** (1 / power))

        for how in ("filter", "layer"):
            found = space.named(normalized(direction, theta, space, how, order))
            for name, part in space.named(direction).items():
                weights = space.named(theta)[name]
                whole = how == "layer" or part.ndim == 1
                groups = [(part, weights, found[name])] if whole else zip(
                    part, weights, found[name], strict=True
                )  # fmt: skip
                for d, w, made in groups:
                    length = norm(d)
                    expected = d * norm(w) / length if length else d
                    torch.testing.assert_close(made, expected)
        model = normalized(direction, theta, space, "model", order)
        torch.testing.assert_close(model, direction * norm(theta) / norm(direction))
    torch.testing.assert_close(
        normalized(direction, theta, space, "weight"), direction * theta.abs()
    )
    assert normalized(direction, theta, space, "none") is direction


def test_orthogonal_after_normalization_keeps_lengths() -> None:
    torch.manual_seed(0)
    vectors = torch.randn(3, 20).double() + 5
    made = orthogonalized(vectors)
    gram = made @ made.T
    torch.testing.assert_close(gram, torch.diag(vectors.square().sum(1)), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(made[0], vectors[0])


def test_frozen_parameters_do_not_move(folder: Path) -> None:
    problem, workspace = problem_of(folder)
    for keys, still in (
        ({"ignore": "biasbn"}, ("bias", "conv.bias")),
        ({"freeze": "conv.*"}, ("conv.weight", "conv.bias")),
        ({"move": "conv.weight"}, ("bias", "conv.bias")),
    ):
        config = LandscapeConfig(axes="random", points=3, **keys)
        vectors = setting_of(problem, config, workspace).directions.vectors
        for row in vectors:
            parts = problem.space.named(row)
            assert {name for name, part in parts.items() if not part.any()} == set(still)


def test_lines_along_many_eigenvectors(folder: Path) -> None:
    problem, workspace = problem_of(folder)
    config = LandscapeConfig(axes="hessian:0..2,hessian:-1", points=7)
    profiles = run(problem, config, workspace).profiles
    assert profiles is not None
    assert profiles.loss.shape == (4, 7)
    np.testing.assert_allclose(profiles.loss, profiles.quadratic, rtol=1e-9)
    vectors = setting_of(problem, config, workspace).directions.vectors.numpy()
    theta = problem.theta.numpy()
    expected = exact(problem, theta + profiles.distance[2, 5] * vectors[2])
    assert profiles.loss[2, 5] == pytest.approx(expected, rel=1e-12)


def test_further_data_is_drawn_beside(folder: Path) -> None:
    problem, workspace = problem_of(folder)
    config = LandscapeConfig(also="?split=test", x="-1:1:3", y="-1:1:3")
    surface = run(problem, config, workspace).surface
    assert surface is not None
    assert surface.also_loss is not None
    held = np.load(folder / "data.npz")
    theta = problem.theta.numpy()
    module = net().double()
    nn.utils.vector_to_parameters(torch.from_numpy(theta), module.parameters())
    output = module(torch.from_numpy(held["x_test"]).double()).detach().numpy()
    expected = ((output - held["y_test"]) ** 2).mean()
    assert surface.also_loss[1, 1] == pytest.approx(expected, rel=1e-10)


def test_repeated_random_planes_have_a_band(folder: Path) -> None:
    problem, workspace = problem_of(folder)
    config = LandscapeConfig(axes="random", repeats=5, x="-1:1:3", y="-1:1:3")
    band = run(problem, config, workspace).band
    assert band is not None
    assert band.loss.shape == (5, 3, 3)
    np.testing.assert_allclose(band.loss[:, 1, 1], band.loss[0, 1, 1])
    assert len(np.unique(band.loss[:, 0, 0])) == 5
    np.testing.assert_allclose(band.mean, band.loss.mean(axis=0))
    assert (band.low <= band.high).all()
    assert (band.low < band.high).any()


def test_a_panel_holds_planes_beside(folder: Path) -> None:
    problem, workspace = problem_of(folder)
    config = LandscapeConfig(points=3, panel="random/filter,hessian:0+hessian:1/none")
    result: LandscapeResult = run(problem, config, workspace)
    assert list(result.panel) == ["random filter", "hessian:0+hessian:1 none"]
    for part in result.panel.values():
        assert part.surface.loss[1, 1] == pytest.approx(exact(problem, problem.theta.numpy()))
    assert result.panel["random filter"].axes.names[0].startswith("random")


WRONG = {
    "there is no kind": ({"axes": "hesian"}, "did you mean 'hessian'"),
    "no such eigenvector": ({"axes": "hessian:99"}, "there is no eigenvector 99"),
    "parallel": ({"axes": "gradient,gradient"}, "are parallel"),
    "three in a plane": ({"axes": "hessian,gradient", "form": "plane"}, "a plane has two"),
    "nothing moves": ({"freeze": "*"}, "no parameter is left"),
    "no such parameter": ({"freeze": "fc.*"}, "matches 'fc.*'"),
    "no checkpoints": ({"axes": "pca"}, "need other checkpoints"),
    "no file": ({"axes": "file:absent.h5"}, "there is no file"),
    "no moment": ({"axes": "adam:third"}, "names no moment"),
    "no member": ({"axes": "random:first"}, "names no member"),
    "no metric": ({"metrics": "margins"}, "there is no metric 'margins'"),
    "no kind in a panel": ({"panel": "hessian/none,hesian/none"}, "did you mean 'hessian'"),
}
EARLY = {
    "parallel": ({"axes": "gradient,gradient"}, "both gradient: they are parallel"),
    "the same member": ({"axes": "hessian:0,hessian:0"}, "both hessian:0"),
    "one in a panel": ({"panel": "random/filter,hessian:0/none"}, "'hessian:0/none' is no plane"),
    "beyond, from below": ({"axes": "hessian:-8"}, "no eigenvector -8: 7 are computed"),
    "between one": ({"axes": "between,random", "form": "plane"}, "a plane has two"),
}


@pytest.mark.parametrize("case", WRONG)
def test_directions_that_make_no_sense_are_told(folder: Path, case: str) -> None:
    keys, words = WRONG[case]
    problem, workspace = problem_of(folder)
    with pytest.raises(LlaError, match=words.replace("*", r"\*")) as caught:
        run(problem, LandscapeConfig(**keys), workspace)
    assert caught.value.remedy


@pytest.mark.parametrize("case", sorted({**WRONG, **EARLY}))
def test_what_is_named_wrongly_is_told_before_anything_runs(folder: Path, case: str) -> None:
    keys, words = {**WRONG, **EARLY}[case]
    if case == "between one":
        keys = {**keys, "checkpoints": f"{folder}/step-0.pt"}
    problem, _ = problem_of(folder)
    with pytest.raises(LlaError, match=words.replace("*", r"\*")):
        check(problem, LandscapeConfig(**keys), {})


def test_how_many_eigenvectors_there_will_be_is_the_spectrums_to_say(folder: Path) -> None:
    problem, _ = problem_of(folder)
    config, five_and_two = LandscapeConfig(axes="hessian:6,hessian:-7"), SpectrumConfig()
    check(problem, config, {"spectrum": five_and_two})
    with pytest.raises(ConfigurationError, match="no eigenvector 6: 6 are computed"):
        check(problem, config, {"spectrum": SpectrumConfig(largest=4)})


def test_what_can_be_used_passes_the_look_beforehand(folder: Path) -> None:
    problem, _ = problem_of(folder)
    for axes in KINDS:
        check(problem, LandscapeConfig(**named(axes, folder)), {})
    check(problem, LandscapeConfig(panel="random/filter,hessian:0+hessian:1/none", axes="adam"), {})
    # Axes that are not asked for need no files.
    check(problem, LandscapeConfig(checkpoints="absent-*.pt", rule="adam"), {})


def test_directions_of_another_network_zero_or_not_finite_are_told(folder: Path) -> None:
    problem, workspace = problem_of(folder)
    for name, fill, words in (
        ("zero", 0.0, "is zero"),
        ("nan", math.nan, "not finite"),
        ("other", None, "of another network"),
    ):
        path = folder / f"{name}.h5"
        with h5py.File(path, "w") as file:
            for index, shape in enumerate(problem.space.shapes):
                size = (7, 7) if fill is None else tuple(shape)
                file[f"xdirection/{index}"] = np.full(size, 1.0 if fill is None else fill)
        with pytest.raises(ConfigurationError, match=words):
            run(problem, LandscapeConfig(axes=f"file:{path}"), workspace)
    torch.save({"conv.weight": torch.zeros(9)}, folder / "foreign.pt")
    config = LandscapeConfig(axes="between", checkpoints=f"{folder}/foreign.pt")
    with pytest.raises(LlaError, match="no checkpoint of the same network"):
        run(problem, config, workspace)
    with pytest.raises(LlaError, match="no checkpoint of the same network"):
        check(problem, config, {})
