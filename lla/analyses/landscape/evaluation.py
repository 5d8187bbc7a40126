"""Losses at points of a line or a plane through a checkpoint.

Each point's parameters are set from the checkpoint, never stepped from the last point: nothing
drifts, and the order of the points does not matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch

from lla.analyses.keeping import Forgetful, Keeper, Tiles
from lla.analyses.landscape import ANALYSIS
from lla.problem import Dataset, Evaluation, Problem
from lla.problem.crew import Crew
from lla.problem.moments import Moments

_ROUND = 4  # points of each worker between two looks at what the other ranks have

__all__ = ["Adam", "Linear", "Motion", "Statistics", "Surveyor", "grid_points"]

Statistics = Literal["fixed", "recomputed"]


@dataclass(frozen=True)
class Linear:
    """θ₀ + Σ aᵢ dᵢ.

    Attributes:
        theta: θ₀, shape (P,), in the model's dtype.
        directions: Shape (k, P), float64.
    """

    theta: torch.Tensor
    directions: torch.Tensor

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """All that the motion is made of."""
        return self.theta, self.directions

    def __call__(self, steps: np.ndarray) -> torch.Tensor:
        """The parameters at the distances (k,), in the model's dtype."""
        along = torch.from_numpy(np.asarray(steps, dtype=np.float64)).to(self.theta.device)
        return (self.theta.double() + along @ self.directions).to(self.theta.dtype)


@dataclass(frozen=True)
class Adam:
    """θ₀ − a m₁ / (√m₂ + b): step size and damping, a family of two parameters.

    Attributes:
        theta: θ₀, shape (P,), in the model's dtype.
        moments: The optimizer's.
        moved: Which elements move, shape (P,).
    """

    theta: torch.Tensor
    moments: Moments
    moved: torch.Tensor

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """All that the motion is made of."""
        return self.theta, self.moments.first, self.moments.second, self.moved

    def __call__(self, steps: np.ndarray) -> torch.Tensor:
        """The parameters at (a, b), in the model's dtype; for b ≤ 0 where m₂ = 0 not finite."""
        size, damping = float(steps[0]), float(steps[1])
        device = self.theta.device
        first, second = self.moments.first.to(device), self.moments.second.to(device)
        step = first / (second.sqrt() + damping)
        # Without a gradient there is no step, whatever the damping.
        step = torch.where((first != 0) & self.moved.to(device), step, 0.0)
        return (self.theta.double() - size * step).to(self.theta.dtype)


Motion = Linear | Adam


@dataclass(frozen=True)
class Surveyor:
    """Evaluates a loss where a motion leads.

    Attributes:
        problem: Network, data, loss; cut into chunks for evaluations.
        motion: From distances (k,) to parameters (P,).
        statistics: What batch norm uses: the checkpoint's running statistics, or those of each
            point, recomputed from the data.
        counted: Called with the number of evaluations made.
        keeper: Keeps what was evaluated for a run that goes on where this one ended.
        workers: How many share out the points, each with a copy of the network.
    """

    problem: Problem
    motion: Motion
    statistics: Statistics = "fixed"
    counted: Callable[[int], None] = lambda count: None
    keeper: Keeper = field(default_factory=Forgetful)
    workers: int = 1

    def on(self, other: Dataset) -> Surveyor:
        """The same on other data."""
        data = replace(other, chunk=self.problem.data.chunk)
        return replace(self, problem=self.problem.altered(data=data))

    def at(self, *steps: float) -> Evaluation:
        """Loss and accuracy at one point."""
        return self.of(self.motion(np.asarray(steps, dtype=np.float64)))

    def of(
        self, theta: torch.Tensor, buffers: Mapping[str, torch.Tensor] | None = None
    ) -> Evaluation:
        """Loss and accuracy at given parameters, with given buffers in place of the network's."""
        self.counted(1)
        return self._evaluated(self.problem, theta, buffers)

    def _evaluated(
        self,
        problem: Problem,
        theta: torch.Tensor,
        buffers: Mapping[str, torch.Tensor] | None = None,
    ) -> Evaluation:
        if buffers is None and self.statistics == "recomputed":
            buffers = problem.recomputed_statistics(theta)
        return problem.evaluate(theta, buffers)

    def _moved(self, problem: Problem, steps: np.ndarray) -> Evaluation:
        """A worker's: where the steps lead, on its own copy of the network."""
        return self._evaluated(problem, self.motion(steps).to(problem.device))

    def over(
        self, points: np.ndarray, told: Callable[[int, int], None] = lambda done, total: None
    ) -> tuple[np.ndarray, ...]:
        """Loss, accuracy and the problem's metrics at each of some points (n, k), each (n,)."""
        found = np.full((2 + len(self.problem.metrics), len(points)), np.nan)
        done = 0
        # What is evaluated is named by what it is: directions, data, points.
        tiles = Tiles(
            self.keeper,
            f"landscape points {self._digest(points)}",
            (ANALYSIS.name, *(ANALYSIS.depends or ())),
            lambda: {"found": found, "done": np.array(done)},
        )
        kept = tiles.load()
        if kept:
            found, done = np.array(kept["found"]), int(kept["done"])
        with tiles.running():
            for values in self._rounds(points[done:]):
                found[:, done : done + values.shape[1]] = values
                done += values.shape[1]
                told(done, len(points))
                self.counted(values.shape[1])
                tiles.step()
        return tuple(found)

    def _rounds(self, points: np.ndarray) -> Iterator[np.ndarray]:
        """Values at the points, in order, some columns at a time.

        Ranks share out the points of a round; each evaluates its own over all samples.
        """
        team = self.problem.team
        crew = Crew(self.problem.alone(), min(self.workers, max(1, len(points))))
        if team.size == 1:
            with closing(crew.map(self._moved, points)) as evaluations:
                yield from map(_column, evaluations)
            return
        size = _ROUND * self.workers * team.size
        for start in range(0, len(points), size):
            chosen = points[start : start + size]
            with team.timed("points"):
                own = [
                    _column(one) for one in crew.map(self._moved, chosen[team.share(len(chosen))])
                ]
            empty = np.empty((2 + len(self.problem.metrics), 0))
            part = torch.from_numpy(np.concatenate([empty, *own], axis=1))
            yield team.joined(part, len(chosen)).numpy()

    def _digest(self, points: np.ndarray) -> str:
        metrics = "".join(f" {one.name} {one.version}" for one in self.problem.metrics)
        digest = hashlib.sha256(f"{self.statistics} {self.problem.data.sha256}{metrics}".encode())
        digest.update(np.ascontiguousarray(points).tobytes())
        for tensor in self.motion.tensors():
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def _column(evaluation: Evaluation) -> np.ndarray:
    """Loss, accuracy and metrics, shape (2 + metrics, 1)."""
    return np.array([[evaluation.loss], [evaluation.accuracy], *([x] for x in evaluation.further)])


def grid_points(alpha: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """All points of a grid, shape (n·m, 2), β running fastest."""
    return np.stack(np.meshgrid(alpha, beta, indexing="ij"), axis=-1).reshape(-1, 2)
