"""How a landscape's points are shared out: measured once in a run, and kept with what it has done.

The same choice gives the same bits; another one the same to rounding.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from lla.analyses.keeping import Keep
from lla.analyses.landscape import ANALYSIS, LandscapeConfig
from lla.analyses.workspace import Shared, Workspace
from lla.problem import Problem
from lla.problem.crew import Crew
from lla.team import by_first

__all__ = ["SHARING", "Sharing"]

_SMALLEST = 64  # samples of a chunk
_STEP = 2  # between chunks that are compared
_WIDER = 2  # chunks of an evaluation, which keeps no graph, in those of a gradient
_BETTER = 0.9  # of the time: less of a gain is noise
_ENOUGH = 0.03  # seconds behind a time
_SECONDS = 1.0  # for the whole choice


@dataclass(frozen=True)
class Sharing:
    """Workers, each with a copy of the network, and the samples that a network is given at once."""

    workers: int
    chunk: int

    def cut(self, problem: Problem) -> Problem:
        """The problem in these chunks."""
        return problem.altered(data=replace(problem.data, chunk=self.chunk))


def _agreed(problem: Problem, workspace: Workspace) -> Sharing:
    """What rank 0 measures: each rank shares out its part of the points alike."""
    return by_first(problem.team, lambda: _measured(problem.alone(), workspace))


def _measured(problem: Problem, workspace: Workspace) -> Sharing:
    """The fastest of a few, within the memory that a gradient's chunk takes."""
    asked = workspace.config(ANALYSIS.name, LandscapeConfig).workers
    samples, usual = len(problem.data), min(problem.data.chunk, len(problem.data))
    on_cpu = problem.device.type == "cpu"
    several = torch.get_num_threads() if on_cpu else 1
    # The likely one first: another has to be faster by more than noise.
    crews = (asked,) if asked else tuple(dict.fromkeys((several, 1)))
    until = time.perf_counter() + _SECONDS
    best, least = Sharing(crews[0], usual), np.inf
    for workers in crews:
        for chunk in _chunks(problem, min(samples, _WIDER * usual // workers)):
            sharing = Sharing(workers, chunk)
            if time.perf_counter() > until:
                return best
            seconds = _seconds(problem, sharing)
            if seconds < _BETTER * least:
                best, least = sharing, seconds
    return best


def _chunks(problem: Problem, largest: int) -> Iterator[int]:
    """Chunks to compare, from the largest; only all samples where they must not be cut."""
    if problem.coupled_layers:
        yield len(problem.data)
        return
    chunk = largest
    while chunk >= min(_SMALLEST, largest):
        yield chunk
        chunk //= _STEP


def _seconds(problem: Problem, sharing: Sharing) -> float:
    """Seconds that one sample takes at one point."""
    batch = problem.data.whole.select(slice(0, sharing.chunk))
    data = replace(problem.data, inputs=batch.inputs, targets=batch.targets)
    crew = Crew(sharing.cut(problem.altered(data=data)), sharing.workers)
    points = [problem.theta] * (2 * sharing.workers)
    taken: list[float] = []
    while len(taken) < 2 or sum(taken) < _ENOUGH:
        begin = time.perf_counter()
        for _ in crew.map(Problem.evaluate, points):
            pass
        taken.append(time.perf_counter() - begin)
    # The first one loads kernels and starts threads.
    return min(taken[1:]) / len(points) / sharing.chunk


SHARING = Shared(
    "evaluation of points",
    _agreed,
    Keep(
        lambda found: {"workers": np.array(found.workers), "chunk": np.array(found.chunk)},
        lambda arrays, problem: Sharing(int(arrays["workers"]), int(arrays["chunk"])),
        (f"{ANALYSIS.name}.workers", "data.batch_size"),
    ),
)
