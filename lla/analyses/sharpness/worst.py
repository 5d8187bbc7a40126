"""The largest rise of the loss within a ball around the weights: SAM, ASAM, m-sharpness.

The ball is ‖u‖ ≤ ρ of ε = T u, with T = 1 (Foret et al. 2021) or T = |θ| + η, element by element
(Kwon et al. 2021). Each ascent step goes to the ball's point where the loss, made linear at the
last point, is largest: u ← ρ T∇L(θ+ε)/‖T∇L(θ+ε)‖. From the centre that is SAM's own step; on a
convex loss no step lowers the rise (the generalized power method, Journée et al. 2010). In u all
is the same for weights that ReLU's rescaling makes of each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from lla.analyses.estimates import with_sampling
from lla.analyses.shared import DOUBLE
from lla.analyses.spectral import quotient, spectral
from lla.analyses.workspace import Workspace
from lla.curvature import gradient
from lla.estimate import Estimate
from lla.problem import Problem
from lla.seeding import gaussian

__all__ = ["Ball", "Worst", "along_eigenvectors", "highest", "moved", "one_step", "worst_of"]

_ROUNDING = 100.0


@dataclass(frozen=True)
class Ball:
    """Which weights are near: θ + T u with ‖u‖ ≤ ρ.

    Attributes:
        radius: ρ.
        scale: T, the diagonal as a vector of shape (P,), float64; None for 1.
    """

    radius: float
    scale: torch.Tensor | None = None

    def stretched(self, vector: torch.Tensor) -> torch.Tensor:
        """T v, shape (P,)."""
        return vector if self.scale is None else self.scale * vector


@dataclass(frozen=True)
class Worst:
    """What is known of a ball.

    Attributes:
        rise: The largest rise of the loss that was found.
        first_order: ρ‖Tg‖.
        second_order: ρ‖Tg‖ + ½ εᵀHε at ε = ρ T²g/‖Tg‖.
    """

    rise: Estimate
    first_order: Estimate
    second_order: Estimate


def worst_of(
    problem: Problem, ball: Ball, steps: int, starts: Sequence[torch.Tensor], workspace: Workspace
) -> Worst:
    """The largest rise of the loss found within a ball, and its forms of first and second order.

    Args:
        problem: Network, parameters, data and loss.
        ball: Where to look.
        steps: Gradient steps, one from the centre and the others from where the last led to.
        starts: Further directions u to begin from, shape (P,): the highest of them and of the
            first step's is taken.
        workspace: Of the run.
    """
    double = workspace.get(DOUBLE, problem)
    slope = gradient(double)
    workspace.tally("gradients")(1)
    stretched = ball.stretched(slope)
    length = float(torch.linalg.vector_norm(stretched))
    first = _complete(
        Estimate.exact(ball.radius * length, method="ρ times a norm of the gradient", units="loss"),
        problem,
    )
    if length:
        begin = stretched
        second = _second_order(ball, slope, length, first, problem, workspace)
    else:
        begin = gaussian(len(slope), workspace.seed, "ascent", 0).to(slope)
        second = Estimate.missing("the gradient is zero: it has no direction", units="loss")
    move, evaluated = highest(problem, ball, steps, (begin, *starts), workspace)
    if move is None:
        why = "the loss is not finite at any point of the ball that was tried"
        return Worst(Estimate.missing(why, units="loss"), first, second)
    rise = _rise(problem, double, move, f"the highest of {evaluated} points, a lower bound")
    return Worst(_complete(rise, problem), first, second)


def highest(
    problem: Problem,
    ball: Ball,
    steps: int,
    starts: Sequence[torch.Tensor],
    workspace: Workspace,
) -> tuple[torch.Tensor | None, int]:
    """The displacement ε of the highest point met, and how many points were.

    Args:
        problem: Network, parameters, data and loss.
        ball: Where to look.
        steps: Gradients that may be taken, the one that gave the first start among them.
        starts: Directions u, of any length, shape (P,).
        workspace: Counts evaluations and gradients, and ends the run.
    """
    best, top, evaluated = None, -math.inf, 0

    def tried(direction: torch.Tensor) -> tuple[float, torch.Tensor]:
        nonlocal best, top, evaluated
        length = torch.linalg.vector_norm(direction)
        move = ball.stretched(direction * (ball.radius / length))
        loss = problem.evaluate(moved(problem, move).theta).loss
        workspace.tally("evaluations")(1)
        evaluated += 1
        if math.isfinite(loss) and loss > top:
            best, top = move, loss
        return loss, move

    found = [tried(start) for start in starts if bool(start.any())]
    finite = [one for one in found if math.isfinite(one[0])]
    if not finite:
        return None, evaluated
    _, move = max(finite, key=lambda one: one[0])
    for _ in range(steps - 1):
        uphill = ball.stretched(gradient(moved(problem, move)))
        workspace.tally("gradients")(1)
        if not bool(uphill.isfinite().all()) or not bool(uphill.any()):
            break
        loss, move = tried(uphill)
        if not math.isfinite(loss):
            break
    return best, evaluated


def moved(problem: Problem, move: torch.Tensor) -> Problem:
    """The problem at θ + ε, rounded once to the model's dtype."""
    theta = (problem.theta.double() + move).to(problem.theta.dtype)
    return problem.altered(theta=theta)


def one_step(double: Problem, radius: float) -> Callable[[torch.Tensor], float]:
    """The rise of a batch's loss after a step of length ρ along its own gradient.

    Args:
        double: The problem in float64.
        radius: ρ.

    Returns:
        A function of the samples' positions; NaN where the batch has no gradient, or where all
        of its targets are ignored.
    """

    def rise(chosen: torch.Tensor) -> float:
        batch = double.data.select(chosen)
        data = replace(double.data, inputs=batch.inputs, targets=batch.targets, indices=None)
        part = double.altered(data=data)
        slope = gradient(part)
        length = float(torch.linalg.vector_norm(slope))
        if not length > 0:
            return math.nan
        move = slope * (radius / length)
        return part.evaluate(moved(part, move).theta).loss - part.evaluate(part.theta).loss

    return rise


def along_eigenvectors(problem: Problem, workspace: Workspace) -> tuple[torch.Tensor, ...]:
    """Both ways along the eigenvector of λ_max: where the gradient is small, it rises there."""
    vector = workspace.get(spectral("hessian").ends, problem).vectors[0]
    return vector, -vector


def _second_order(
    ball: Ball,
    slope: torch.Tensor,
    length: float,
    first: Estimate,
    problem: Problem,
    workspace: Workspace,
) -> Estimate:
    """First order and ½ εᵀHε with ε = ρ T²g/‖Tg‖."""
    move = ball.stretched(ball.stretched(slope)) * (ball.radius / length)
    half = float(move @ move) / 2
    curved = quotient(move, "hessian", problem, workspace)
    return replace(
        curved,
        value=first.value + half * curved.value,
        low=first.low + half * curved.low,
        high=first.high + half * curved.high,
        sampling_stderr=first.sampling_stderr,
        method=f"first order, and a {curved.method}",
    )


def _rise(problem: Problem, double: Problem, move: torch.Tensor, method: str) -> Estimate:
    """L(θ+ε) − L(θ) in float64, with the rounding of both, and of the way to ε."""
    there = double.evaluate(moved(double, move).theta).loss
    here = double.evaluate(double.theta).loss
    slack = _ROUNDING * torch.finfo(double.theta.dtype).eps * (abs(there) + abs(here))
    value = there - here
    # The search is in the model's dtype: cut into other chunks, it ends somewhat elsewhere.
    slack += _ROUNDING * torch.finfo(problem.theta.dtype).eps * abs(value)
    return Estimate(value, value - slack, value + slack, method=method, units="loss")


def _complete(found: Estimate, problem: Problem) -> Estimate:
    """No sampling error where all samples were analysed; else it is not known."""
    return with_sampling(found, (), problem)
