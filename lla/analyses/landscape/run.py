"""Evaluate the loss over a plane and check the result against the curvature."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from lla.analyses.keeping import Forgetful, Keeper, Tiles
from lla.analyses.landscape import (
    ANALYSIS,
    Axes,
    LandscapeConfig,
    LandscapeResult,
    Surface,
    parse_range,
)
from lla.analyses.landscape.checks import curvature_along, quadratic_radius
from lla.analyses.shared import BASE_EVALUATION, GRADIENT
from lla.analyses.spectral import Ends, spectral
from lla.analyses.workspace import Workspace
from lla.errors import NotApplicableError
from lla.estimate import Estimate
from lla.problem import Evaluation, Problem

__all__ = ["evaluate_plane", "run"]

_EVALUATED, _NOT_FINITE = 1, 2
_HIGHEST = 3.0
_HALVINGS = 12


def run(problem: Problem, config: LandscapeConfig, workspace: Workspace) -> LandscapeResult:
    """The loss over the plane of the two extreme Hessian eigenvectors."""
    base = workspace.get(BASE_EVALUATION, problem)
    ends = workspace.get(spectral("hessian").ends, problem)
    if ends.found < 2:
        raise NotApplicableError("a plane needs two directions, and there is only one parameter")
    directions, values = ends.vectors, ends.values
    count = workspace.tally("points")

    def at(a: float, b: float) -> Evaluation:
        found = problem.evaluate(displaced(problem.theta, directions, a, b))
        count(1)
        return found

    highest = base.loss + _HIGHEST * config.rise
    longest = float(problem.theta.double().norm()) or 1.0
    reaches = (
        _reach(float(values[0]), config.rise, longest, highest, lambda a: at(a, 0.0).loss),
        _reach(float(values[1]), config.rise, longest, highest, lambda b: at(0.0, b).loss),
    )
    alpha = _positions(config.x, reaches[0], config.points)
    beta = _positions(config.y, reaches[1], config.points)

    def told(done: int, total: int) -> None:
        workspace.progress.update(done, total, "points")

    loss, accuracy = evaluate_plane(at, alpha, beta, told, workspace.keeper)
    slopes = (directions @ workspace.get(GRADIENT, problem)).tolist()
    quadratic = _quadratic(base.loss, slopes, values, alpha, beta)
    broken = config.residual * config.rise
    eps = torch.finfo(problem.theta.dtype).eps
    curvatures = (
        curvature_along(lambda a: at(a, 0.0).loss, base.loss, reaches[0], eps),
        curvature_along(lambda b: at(0.0, b).loss, base.loss, reaches[1], eps),
    )
    center = at(0.0, 0.0).loss
    return LandscapeResult(
        center_error=Estimate.exact(
            abs(center - base.loss), method="one evaluation at α = β = 0", units="loss"
        ),
        curvature_alpha=curvatures[0],
        curvature_beta=curvatures[1],
        cosine=Estimate.exact(float(directions[0] @ directions[1]), method="d₁ᵀd₂"),
        quadratic_radius=quadratic_radius(alpha, beta, loss - quadratic, broken),
        non_finite=Estimate.exact(float((~np.isfinite(loss)).sum()), method="count of points"),
        surface=Surface(
            alpha=alpha,
            beta=beta,
            loss=loss,
            accuracy=accuracy,
            quadratic=quadratic,
            status=np.where(np.isfinite(loss), _EVALUATED, _NOT_FINITE).astype(np.uint8),
        ),
        axes=_axes(ends),
    )


def displaced(theta: torch.Tensor, directions: torch.Tensor, a: float, b: float) -> torch.Tensor:
    """θ₀ + a·d₁ + b·d₂ in θ's dtype: set from the origin each time, so nothing drifts.

    Args:
        theta: Shape (P,).
        directions: Float64, shape (2, P).
        a: Distance along d₁.
        b: Distance along d₂.
    """
    steps = torch.tensor([a, b], dtype=torch.float64, device=theta.device)
    return (theta.double() + steps @ directions).to(theta.dtype)


def evaluate_plane(
    at: Callable[[float, float], Evaluation],
    alpha: np.ndarray,
    beta: np.ndarray,
    told: Callable[[int, int], None] = lambda done, total: None,
    keeper: Keeper | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Loss and accuracy at every grid point, both of shape (len(alpha), len(beta)).

    Args:
        at: The loss at a point.
        alpha: Shape (n,).
        beta: Shape (m,).
        told: Told (points done, points in all) after each row.
        keeper: Keeps the points evaluated so far.
    """
    shape = len(alpha), len(beta)
    found = np.full((2, *shape), np.nan)
    places = list(np.ndindex(shape))
    done = 0
    tiles = Tiles(
        keeper or Forgetful(),
        "landscape points",
        (ANALYSIS.name, *(ANALYSIS.depends or ())),
        lambda: {"alpha": alpha, "beta": beta, "found": found, "done": np.array(done)},
    )
    kept = tiles.load()
    if kept and np.array_equal(kept["alpha"], alpha) and np.array_equal(kept["beta"], beta):
        found, done = kept["found"], int(kept["done"])
    with tiles.running():
        for row, column in places[done:]:
            point = at(float(alpha[row]), float(beta[column]))
            found[:, row, column] = point.loss, point.accuracy
            done += 1
            if column + 1 == len(beta):
                told(done, len(places))
            tiles.step()
    return found[0], found[1]


def _reach(
    eigenvalue: float,
    rise: float,
    longest: float,
    highest: float,
    along: Callable[[float], float],
) -> float:
    """Half width of the plane along an axis.

    The distance at which ½|λ|t² reaches the rise, but no farther than the parameters are long; and
    where the loss is steeper than its curvature at the centre tells, halved until it stays below
    ``highest`` at both ends.
    """
    reach = min(math.sqrt(2 * rise / abs(eigenvalue)), longest) if eigenvalue else longest
    for _ in range(_HALVINGS):
        # Not finite is too high as well.
        if along(reach) <= highest and along(-reach) <= highest:
            break
        reach /= 2
    return reach


def _positions(text: str, reach: float, points: int) -> np.ndarray:
    if text:
        return np.linspace(*parse_range(text))
    return np.linspace(-reach, reach, points)


def _quadratic(
    base: float, slopes: list[float], values: np.ndarray, alpha: np.ndarray, beta: np.ndarray
) -> np.ndarray:
    """L₀ + gᵀd + ½(λ₁α² + λ₂β²) over the grid; d₁ and d₂ are eigenvectors, so no mixed term."""
    along = slopes[0] * alpha + values[0] * alpha**2 / 2
    across = slopes[1] * beta + values[1] * beta**2 / 2
    plane: np.ndarray = base + along[:, None] + across[None, :]
    return plane


def _axes(ends: Ends) -> Axes:
    return Axes(
        names=("eigenvector of λ_max", "eigenvector of λ_min"),
        eigenvalues=ends.values,
        residuals=ends.residuals,
        norms=ends.vectors.norm(dim=1).cpu().numpy(),
    )
