import numpy as np
import pytest
import torch
from torch import nn

from lla.analyses.landscape import LandscapeConfig, parse_range
from lla.analyses.landscape.checks import curvature_along, quadratic_radius
from lla.api import analyze


def linear_regression() -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(0)
    return nn.Linear(5, 1), (torch.randn(30, 5), torch.randn(30, 1))


@pytest.mark.parametrize("ranges", [{}, {"x": "-1:2:7", "y": "-0.3:0.4:4"}])
def test_a_quadratic_loss_is_its_own_model(ranges: dict[str, str]) -> None:
    """For linear regression the surface equals the formula to rounding, off the centre too."""
    module, data = linear_regression()
    settings = {"run": {"dtype": "float64"}, "landscape": {"points": 9, **ranges}}
    report = analyze(module, data, "mse", only=["landscape"], settings=settings)
    result = report.results["landscape"]
    surface = result.surface
    shape = (7, 4) if ranges else (9, 9)
    assert surface.loss.shape == surface.quadratic.shape == shape
    np.testing.assert_allclose(surface.loss, surface.quadratic, rtol=1e-10)
    assert result.center_error.value <= 1e-12
    assert not result.quadratic_radius.converged  # it holds on the whole plane
    for name, index in (("curvature_alpha", 0), ("curvature_beta", 1)):
        found = getattr(result, name)
        assert found.value == pytest.approx(result.axes.eigenvalues[index], rel=1e-6)
        assert found.low <= result.axes.eigenvalues[index] <= found.high


def test_points_are_what_the_model_gives_when_its_parameters_are_set() -> None:
    """Any point again, by setting the parameters of a copy and calling it."""
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)).eval()
    data = (torch.randn(50, 4), torch.randint(0, 3, (50,)))
    settings = {"run": {"dtype": "float64"}, "landscape": {"points": 5}}
    report = analyze(module, data, only=["spectrum", "landscape"], settings=settings, batch_size=7)
    surface = report.results["landscape"].surface

    from lla.analyses.spectral import spectral
    from lla.analyses.workspace import Workspace
    from lla.problem import from_objects

    problem = from_objects(module, data, dtype="float64", batch_size=7)
    vectors = Workspace(configs={}).get(spectral().spectrum, problem).pairs.vectors
    twin = module.double()
    start = torch.nn.utils.parameters_to_vector(twin.parameters()).detach()
    for row, alpha in enumerate(surface.alpha):
        for column, beta in enumerate(surface.beta):
            place = start + float(alpha) * vectors[0] + float(beta) * vectors[-1]
            nn.utils.vector_to_parameters(place, twin.parameters())
            with torch.no_grad():
                logits = twin(data[0].double())
            loss = float(nn.functional.cross_entropy(logits, data[1]))
            accuracy = float((logits.argmax(1) == data[1]).double().mean())
            assert surface.loss[row, column] == pytest.approx(loss, rel=1e-9)
            assert surface.accuracy[row, column] == pytest.approx(accuracy)


def test_the_window_reaches_the_stated_rise() -> None:
    """At a minimum ½λα² is the rise at the edge; elsewhere the loss bounds the window."""
    module, data = linear_regression()
    settings = {"run": {"dtype": "float64"}, "landscape": {"points": 5, "rise": 1e-3}}
    off = analyze(module, data, "mse", only=["landscape"], settings=settings).results["landscape"]
    middle = off.surface.loss[2, 2]
    for edge in (off.surface.loss[[0, -1], 2], off.surface.loss[2, [0, -1]]):
        assert (edge <= middle + 3e-3).all()

    augmented = torch.cat([data[0], torch.ones(30, 1)], dim=1)
    best = torch.linalg.lstsq(augmented, data[1]).solution[:, 0]
    with torch.no_grad():
        module.weight.copy_(best[None, :5])
        module.bias.copy_(best[5:])
    result = analyze(module, data, "mse", only=["landscape"], settings=settings).results[
        "landscape"
    ]
    rise = result.axes.eigenvalues[0] * result.surface.alpha[-1] ** 2 / 2
    assert rise == pytest.approx(1e-3)
    np.testing.assert_allclose(result.surface.alpha, -result.surface.alpha[::-1])


def test_non_finite_points_are_kept_and_marked() -> None:
    data = (torch.ones(6, 2), torch.zeros(6, 1))

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (output.sqrt() - target).square().mean()

    module = nn.Linear(2, 1)
    with torch.no_grad():
        module.weight.fill_(1.0)
        module.bias.fill_(1.0)
    settings = {"landscape": {"x": "-9:9:7", "y": "-9:9:7"}}
    result = analyze(module, data, loss, only=["landscape"], settings=settings).results["landscape"]
    finite = np.isfinite(result.surface.loss)
    assert result.non_finite.value == (~finite).sum() > 0
    assert (result.surface.status == np.where(finite, 1, 2)).all()


def test_curvature_of_a_known_curve() -> None:
    found = curvature_along(lambda t: 3 + t + 2.5 * t**2 + t**3 + t**4, 3.0, 1.0, 1e-16)
    assert found.value == pytest.approx(5.0, rel=1e-4)
    assert found.low <= 5.0 <= found.high
    kinked = curvature_along(lambda t: abs(t), 0.0, 1.0, 1e-16)
    assert not kinked.converged


def test_radius_lies_between_the_last_good_and_the_first_bad_point() -> None:
    grid = np.linspace(-2, 2, 5)
    residual = np.where(np.hypot(grid[:, None], grid[None, :]) > 1.2, 1.0, 0.0)
    found = quadratic_radius(grid, grid, residual, 0.5)
    assert (found.low, found.high) == pytest.approx((1.0, 2**0.5))
    assert quadratic_radius(grid, grid, np.full((5, 5), np.nan), 0.5).high == 0.0


def test_ranges() -> None:
    assert parse_range("-1:1:51") == (-1.0, 1.0, 51)
    for text in ("1:1:5", "-1:1", "0:1:1", "a:b:3"):
        with pytest.raises(ValueError, match="1 validation error"):
            LandscapeConfig(x=text)


def test_richardson_cancels_the_fourth_order():
    found = curvature_along(
        lambda t: 2.5 * t**2 + 40 * t**4, 0.0, 1.0, 1e-3
    )  # 4th order cancels exactly
    assert found.value == pytest.approx(5.0, rel=1e-12)


def test_each_axis_has_its_own_reach():
    module = nn.Linear(2, 1, bias=False)
    data = (torch.diag(torch.tensor([100.0, 0.1])), torch.zeros(2, 1))
    module.weight.data.copy_(torch.tensor([[1.0, 1.0]]))
    result = analyze(
        module,
        data,
        "mse",
        only=["landscape"],
        settings={"run": {"dtype": "float64"}, "landscape": {"points": 3}},
    ).results["landscape"]
    step = float(result.curvature_beta.method.split("steps ")[1].split(" ")[0])
    assert any(
        step == pytest.approx(0.1 / 2**k * result.surface.beta[-1], rel=1e-2) for k in range(7)
    )


def test_one_parameter_has_no_plane_and_costs_nothing_else() -> None:
    report = analyze(nn.Linear(1, 1, bias=False), (torch.randn(8, 1), torch.randn(8, 1)), "mse")
    assert report.stages["landscape"].status == "not_applicable"
    assert report.metrics["hessian/lambda_max"].exists


@pytest.mark.parametrize(
    ("ranges", "counts"),
    [
        ({"x": "-1:1:5", "y": "-0.5:2:8"}, (5, 8, 5)),
        ({"x": "-1:1:5"}, (5, 5, 5)),
        ({"y": "-0.5:2:4"}, (6, 4, 6)),
    ],
)
def test_each_line_has_a_range_of_its_own(ranges: dict[str, str], counts: tuple[int, ...]) -> None:
    """Lines of fewer points end in NaN, which count as no point; each equals the formula."""
    module, data = linear_regression()
    config = {"axes": ["hessian:0..1", "gradient"], "form": "lines", "points": 6, **ranges}
    settings = {"run": {"dtype": "float64"}, "landscape": config}
    result = analyze(module, data, "mse", only=["landscape"], settings=settings).results[
        "landscape"
    ]
    profiles = result.profiles
    assert profiles.loss.shape == (3, max(counts))
    assert result.non_finite.value == 0
    assert result.checks.value == "passed"
    inputs, targets = (part.double().numpy() for part in data)
    for line, count in enumerate(counts):
        for values in (profiles.distance, profiles.loss, profiles.quadratic):
            assert (
                np.isfinite(values[line]).sum() == np.isfinite(values[line, :count]).sum() == count
            )
    stated = np.linspace(-0.5, 2, counts[1]) if "y" in ranges else np.linspace(-1, 1, 5)
    np.testing.assert_array_equal(profiles.distance[1, : counts[1]], stated)
    # Along −∇L/‖∇L‖: the loss itself, from the normal equations.
    weight = np.append(*(part.detach().double().numpy().ravel() for part in module.parameters()))
    design = np.column_stack([inputs, np.ones(30)])
    slope = 2 * design.T @ (design @ weight - targets[:, 0]) / 30
    for distance, loss in zip(profiles.distance[2], profiles.loss[2], strict=True):
        if np.isfinite(distance):
            moved = weight + distance * slope / np.linalg.norm(slope)
            assert loss == pytest.approx(((design @ moved - targets[:, 0]) ** 2).mean(), rel=1e-10)
