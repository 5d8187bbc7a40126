"""Short measurements behind a plan: which chunk, and which way of making products, is faster."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from lla.curvature.hessian import Hessian, gradient
from lla.curvature.names import Method
from lla.curvature.operators import Way
from lla.errors import ConfigurationError
from lla.problem import Batch, Problem

__all__ = ["Costs", "best_chunk", "measure"]

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
        return _timed(lambda: gradient(problem, batch), problem.device) / size

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
    """Times on one chunk, scaled to all samples, and the fastest way."""
    batch = next(problem.data.whole.chunks(chunk))
    scale = len(problem.data) / batch.samples
    device = problem.device

    def timed(action: Callable[[], object]) -> float:
        return scale * _timed(action, device)

    with torch.no_grad():
        evaluation = timed(lambda: problem.terms(problem.theta, batch))
    slope = timed(lambda: gradient(problem, [batch]))
    operator = Hessian(problem, [batch], memory=(1 << 60) if all_kept else 0)
    ones = torch.ones(problem.space.size, dtype=torch.float64, device=device)
    block = torch.stack([ones] * (together or _BLOCK))
    product = timed(lambda: operator(ones))
    shared = product if all_kept else timed(lambda: operator(block)) / len(block)
    reverse = Costs(evaluation, slope, product, shared)
    # On graphs that are all kept, nothing was seen to be faster.
    settled = all_kept or time.perf_counter() > until
    if method == "reverse" or (method == "auto" and settled):
        return reverse, Way("reverse", together or 1)
    forward = _forward(problem, batch, ones, block, timed)
    if method == "auto" and (forward is None or forward[0] + forward[1] > product + shared):
        return reverse, Way("reverse", together or 1)
    if forward is None:
        raise ConfigurationError(
            "this network cannot be differentiated forward: a layer has no rule for it",
            'leave [run] method out, or say method = "reverse"',
        )
    return Costs(evaluation, slope, *forward), Way("forward", len(block))


def _forward(
    problem: Problem,
    batch: Batch,
    ones: torch.Tensor,
    block: torch.Tensor,
    timed: Callable[[Callable[[], object]], float],
) -> tuple[float, float] | None:
    """Times of a single product and of a block's share, or None where it cannot be done."""
    operator = Hessian(problem, [batch], way=Way("forward", len(block)))
    try:
        return timed(lambda: operator(ones)), timed(lambda: operator(block)) / len(block)
    except (RuntimeError, NotImplementedError):
        return None


def _timed(action: Callable[[], object], device: torch.device) -> float:
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
