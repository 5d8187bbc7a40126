"""Where curvature comes from, on losses of one parameter whose slopes are known."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from lla.analyses.landscape import LandscapeConfig
from lla.analyses.landscape.kinks import Bend, bend_along
from lla.analyses.landscape.run import run
from lla.execution import workspace_of
from lla.problem import Problem, from_objects
from lla.progress import Silent
from lla.settings import gather

QUICK = {"spectrum": {"largest": 1, "smallest": 1, "probes": 2, "steps": 10, "max_probes": 2}}


class Curve(nn.Module):
    """A loss as a function of its two parameters' values."""

    def __init__(self, curve: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.tensor([0.0, 0.5]))
        self.curve = curve

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.curve(self.place)


def problem_of(curve: Callable[[torch.Tensor], torch.Tensor], dtype: str = "float64") -> Problem:
    data = (torch.zeros(4, 1), torch.zeros(4, 1))
    return from_objects(Curve(curve), data, lambda output, target: output.mean(), dtype=dtype)


def along_first(problem: Problem, reach: float, length: float = 1.0) -> Bend:
    direction = torch.tensor([length, 0.0], dtype=torch.float64)
    found = bend_along(problem, direction, reach)
    assert found is not None
    return found


@pytest.mark.parametrize("length", [1.0, 4.0])
def test_a_jump_of_the_slope_is_told_from_curvature(length: float) -> None:
    """2.5 t² + 0.3 relu(t − k): f″ = 5, and the slope jumps by 0.3 in the piece."""
    problem = problem_of(lambda p: 2.5 * p[0] ** 2 + 0.3 * torch.relu(p[0] - 0.03) + p[1] ** 2)
    found = along_first(problem, 0.1, length)
    assert found.smooth == pytest.approx(5 * length**2, rel=1e-12)
    assert found.kinks == pytest.approx(0.3 * length / 0.2, rel=1e-9)
    assert found.has_kinks
    assert "jumps of the slope at kinks" in str(found)
    beside = along_first(problem, 0.029 / length, length)
    assert beside.kinks == pytest.approx(0, abs=1e-9)
    assert not beside.has_kinks


def test_a_jump_is_found_in_float32_and_rounding_is_none() -> None:
    kinked = problem_of(lambda p: 2.5 * p[0] ** 2 + 0.3 * torch.relu(p[0] - 0.03), "float32")
    found = along_first(kinked, 0.1)
    assert found.kinks == pytest.approx(1.5, abs=10 * found.error)
    assert found.has_kinks
    smooth = problem_of(lambda p: torch.cos(3 * p[0]) + 7 * p.sum(), "float32")
    assert not along_first(smooth, 1e-3).has_kinks


def test_the_mean_of_a_polynomial_is_exact_and_a_steep_one_is_no_kink() -> None:
    """f″ of degree 6: the mean over [−h, h] is Σ cₖ hᵏ/(k + 1) over even k."""
    problem = problem_of(lambda p: p[0] ** 2 / 2 + p[0] ** 3 + p[0] ** 4 + 0.1 * p[0] ** 8)
    found = along_first(problem, 0.7)
    h = 0.7
    assert found.smooth == pytest.approx(1 + 12 * h**2 / 3 + 5.6 * h**6 / 7, rel=1e-12)
    assert found.whole == pytest.approx(found.smooth, rel=1e-12)
    assert not found.has_kinks
    assert "no kinks were found" in str(found)
    assert found.ends[0] < 1 < found.ends[1]


def test_checks_and_figures_say_what_was_found() -> None:
    """|t| beside a parabola: f″ = 5 at 0, and differences see the jump of 0.6."""
    from lla_plots import plane

    problem = problem_of(
        lambda p: 2.5 * p[0] ** 2 + 0.3 * (p[0] - 1e-5).abs() - 0.5 * (p[1] - 0.5) ** 2
    )
    workspace = workspace_of(gather("none.pt", flags=QUICK), problem.device, Silent())
    result = run(problem, LandscapeConfig(points=5), workspace)
    assert result.checks.value == "failed"
    assert "jumps of the slope at kinks" in result.checks.why
    assert result.axes.eigenvalues == pytest.approx([5.0, -1.0])
    step = float(result.curvature_alpha.method.split("steps ")[1].split(" ")[0])
    assert result.axes.kinks[0] == pytest.approx(0.6 / (2 * step), rel=0.01)
    assert np.isnan(result.axes.kinks[1])
    assert workspace.counts["matvecs"] >= 7
    assert "failed" in " ".join(plane.warnings(result))
