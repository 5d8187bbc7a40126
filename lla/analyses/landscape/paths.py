"""Curves of low loss between two checkpoints, and the barrier on the way.

A curve has its ends at the checkpoints and one control point w, which is trained so that the loss
is low along the curve: E_t ∇_w L(φ_w(t)), t uniform in [0, 1] (Garipov et al. 2018, arXiv
1802.10026, equations 2 to 5).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from lla.analyses.landscape.evaluation import Surveyor
from lla.estimate import Estimate
from lla.problem import Batch, Problem
from lla.seeding import generator, permutation

__all__ = ["Curve", "barrier_of", "trained"]

_BETAS = (0.9, 0.99)
_EPS = 1e-12
_SHARE = 0.02  # of the way between the ends that a control point may go in one step, by default
_BATCH = 256


@dataclass(frozen=True)
class Curve:
    """φ(t) between two ends, by one control point.

    Attributes:
        kind: "bezier": (1−t)² a + 2t(1−t) w + t² b; "chain": a to w to b, each by half of t.
        start: a, float64, shape (P,).
        bend: w, float64, shape (P,).
        end: b, float64, shape (P,).
    """

    kind: Literal["bezier", "chain"]
    start: torch.Tensor
    bend: torch.Tensor
    end: torch.Tensor

    def weights(self, t: float) -> tuple[float, float, float]:
        """Shares of start, control point and end at t; they add up to 1."""
        if self.kind == "bezier":
            return (1 - t) ** 2, 2 * t * (1 - t), t**2
        return (1 - 2 * t, 2 * t, 0.0) if t <= 0.5 else (0.0, 2 - 2 * t, 2 * t - 1)

    def __call__(self, t: float) -> torch.Tensor:
        """The parameters at t, float64, shape (P,)."""
        first, middle, last = self.weights(t)
        return first * self.start + middle * self.bend + last * self.end

    def length(self, parts: int = 64) -> float:
        """Length of the curve, by straight pieces."""
        places = [self(float(t)) for t in np.linspace(0, 1, parts + 1)]
        pairs = zip(places[1:], places, strict=False)
        return sum(float(torch.linalg.vector_norm(b - a)) for b, a in pairs)


def trained(
    problem: Problem,
    end: torch.Tensor,
    kind: Literal["bezier", "chain"],
    steps: int,
    seed: int,
    *,
    lr: float = 0.0,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> Curve:
    """A curve whose control point has been trained by Adam from the middle of the line.

    Args:
        problem: Network, loss, data; the checkpoint is the start.
        end: The other checkpoint, float64, shape (P,).
        kind: The curve's form.
        steps: Training steps, each on some samples at one t.
        seed: Of the samples and of t.
        lr: Learning rate; 0: a share of the ends' distance per √P.
        told: Told the steps done.
    """
    start = problem.theta.double()
    bend = (start + end) / 2
    scale = float(torch.linalg.vector_norm(end - start)) / math.sqrt(len(start))
    rate = lr or _SHARE * scale
    first, second = torch.zeros_like(bend), torch.zeros_like(bend)
    draws = torch.rand(steps, generator=generator(seed, "curve"), dtype=torch.float64).tolist()
    for step, t in enumerate(draws, start=1):
        curve = Curve(kind, start, bend, end)
        slope = curve.weights(t)[1] * _slope(problem, curve(t), _samples(problem, seed, step))
        first = _BETAS[0] * first + (1 - _BETAS[0]) * slope
        second = _BETAS[1] * second + (1 - _BETAS[1]) * slope**2
        mean, square = first / (1 - _BETAS[0] ** step), second / (1 - _BETAS[1] ** step)
        # The rate falls to zero along half a cosine.
        now = rate * (1 + math.cos(math.pi * (step - 1) / steps)) / 2
        bend = bend - now * mean / (square.sqrt() + _EPS)
        told(step, steps)
    return Curve(kind, start, bend, end)


def _samples(problem: Problem, seed: int, step: int) -> Batch:
    chosen = permutation(len(problem.data), seed, "curve samples", step)
    return problem.data.select(chosen[: min(_BATCH, problem.data.chunk)])


def _slope(problem: Problem, place: torch.Tensor, batch: Batch) -> torch.Tensor:
    """∇L over some samples at θ, float64, shape (P,)."""
    theta = place.to(problem.theta.dtype).requires_grad_(True)
    terms = problem.terms(theta, batch)
    (slope,) = torch.autograd.grad(terms.total / terms.weight, theta)
    return slope.double()


def barrier_of(
    surveyor: Surveyor, at: Callable[[float], torch.Tensor], points: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Estimate]:
    """Losses along a curve, and how far they rise above the higher of its ends.

    The largest loss is searched for between the neighbours of the grid's largest by halving; the
    barrier's interval begins there, and ends by as much higher as the last halving still gained.

    Args:
        surveyor: Evaluates parameters.
        at: φ(t), float64, shape (P,).
        points: Grid points on [0, 1].

    Returns:
        t, loss and accuracy, shape (points,) each, and the barrier.
    """
    kind = surveyor.problem.theta.dtype
    grid = np.linspace(0, 1, points)
    found = [surveyor.of(at(float(t)).to(kind)) for t in grid]
    loss = np.array([one.loss for one in found])
    accuracy = np.array([one.accuracy for one in found])
    ends = max(loss[0], loss[-1])
    known = np.where(np.isfinite(loss), loss, np.inf)
    peak, top, width = float(grid[known.argmax()]), float(known.max()), 1 / (points - 1)
    gained = 0.0
    for _ in range(3):
        width /= 2
        sides = [t for t in (peak - width, peak + width) if 0 <= t <= 1]
        losses = [surveyor.of(at(t).to(kind)).loss for t in sides]
        best = int(np.argmax(losses))
        gained = max(losses[best] - top, 0.0)
        if losses[best] > top:
            peak, top = sides[best], losses[best]
    barrier = Estimate(
        top - ends,
        top - ends,
        top - ends + gained,
        confidence=math.nan,
        method=f"largest of {points} points, refined, less the higher end",
        units="loss",
    )
    return grid, loss, accuracy, barrier
