"""Short measurements behind a plan: which chunk, and which way of making products, is faster."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from lla.curvature.hessian import Hessian, gradient
from lla.curvature.names import Method
from lla.curvature.ways import Way
from lla.errors import ConfigurationError, NoSecondDerivativeError
from lla.problem import Batch, Problem

__all__ = ["Costs", "best_chunk", "measure", "timed"]

_FIRST_CHUNK = 256
_SMALLEST_CHUNK, _LARGEST_CHUNK = 64, 4096
_STEP = 4  # between chunks that are compared
_BETTER = 0.85  # a smaller gain is noise, and would change the last digits from run to run
_ENOUGH = 0.05  # for one of them
_LONG = 5.0  # what loading kernels does not take: then the first run tells enough
_BLOCK = 8


@dataclass(frozen=True)
class Costs:
    """Measured time over all samples, in seconds; NaN where it was not measured.

    Attributes:
        evaluation: The loss.
        gradient: One gradient.
        product: One product of a single vector.
        block: One vector's share of a block of products.
    """

    evaluation: float = float("nan")
    gradient: float = float("nan")
    product: float = float("nan")
    block: float = float("nan")


def best_chunk(problem: Problem, largest: int, until: float) -> int:
    """The chunk with the fastest gradient per sample, by climbing from a usual one."""

    def per_sample(size: int) -> float:
        batch = [next(problem.data.whole.chunks(size))]
        return timed(lambda: gradient(problem, batch), problem.device) / size

    largest = min(largest, _LARGEST_CHUNK)
    best = min(_FIRST_CHUNK, largest)
    if best == largest:
        return best
    cost = per_sample(best)
    for larger in (True, False):
        while time.perf_counter() < until:
            size = min(best * _STEP, largest) if larger else best // _STEP
            if size == best or size < _SMALLEST_CHUNK:
                break
            found = per_sample(size)
            if found > _BETTER * cost:
                break
            best, cost = size, found
    return best


def measure(
    problem: Problem, chunk: int, all_kept: bool, method: Method, together: int, until: float
) -> tuple[Costs, Way]:
    """Times on one chunk, scaled to all samples, and the fastest way.

    Args:
        problem: What products are made of.
        chunk: Samples of the chunk.
        all_kept: Whether the graphs of all chunks are going to be kept.
        method: The one to use, or "auto" to choose between "reverse" and "forward".
        together: Vectors of one pass, or 0 to choose.
        until: Time on the performance counter after which no further way is tried.
    """
    batch = next(problem.data.whole.chunks(chunk))
    scale = len(problem.data) / batch.samples
    device = problem.device

    def scaled(action: Callable[[], object]) -> float:
        return scale * timed(action, device)

    with torch.no_grad():
        evaluation = scaled(lambda: problem.terms(problem.theta, batch))
    slope = scaled(lambda: gradient(problem, [batch]))
    trial = _Trial(problem, batch, scaled)
    if method == "difference":
        way = Way("difference", together or 1)
        way = replace(way, step=Hessian(problem, way=way).step)
        return Costs(evaluation, slope, *trial.of(way, 1)), way
    wide = Way("forward", together or _BLOCK)
    if method == "forward":
        return Costs(evaluation, slope, *trial.of(wide, wide.together)), wide
    way = Way("reverse", together or 1)
    product, shared = trial.of(way, together or _BLOCK, all_kept=all_kept)
    reverse = Costs(evaluation, slope, product, shared)
    # On graphs that are all kept, nothing was seen to be faster.
    if method == "reverse" or all_kept or time.perf_counter() > until:
        return reverse, way
    try:
        found = trial.of(wide, wide.together)
    except ConfigurationError:
        return reverse, way
    if sum(found) > product + shared:
        return reverse, way
    return Costs(evaluation, slope, *found), wide


@dataclass(frozen=True)
class _Trial:
    """One chunk to time products on."""

    problem: Problem
    batch: Batch
    timed: Callable[[Callable[[], object]], float]

    def of(self, way: Way, together: int, *, all_kept: bool = False) -> tuple[float, float]:
        """Times of a single product and of a block's share.

        Raises:
            ConfigurationError: The network cannot be differentiated that way.
        """
        memory = (1 << 60) if all_kept else 0
        operator = Hessian(self.problem, [self.batch], memory=memory, way=way)
        ones = torch.ones(operator.size, dtype=torch.float64, device=operator.device)
        block = torch.stack([ones] * together)
        try:
            single = self.timed(lambda: operator(ones))
            if all_kept or together == 1:
                return single, single
            return single, self.timed(lambda: operator(block)) / len(block)
        except (RuntimeError, NotImplementedError, NoSecondDerivativeError) as error:
            if way.method != "forward":
                raise
            raise ConfigurationError(
                "this network cannot be differentiated forward: a layer has no rule for it",
                'leave [run] method out, or say method = "reverse"',
            ) from error


def timed(action: Callable[[], object], device: torch.device) -> float:
    """Median time of an action in seconds, after one run that loads kernels."""
    taken: list[float] = []
    for index in range(6):
        start = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - start
        if index == 0 and seconds > _LONG:
            return seconds
        if index:
            taken.append(seconds)
        if sum(taken) > _ENOUGH:
            break
    return statistics.median(taken)
