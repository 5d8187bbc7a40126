"""How products are carried out where parameters are shared among ranks: by arithmetic.

Nothing is chosen by how long it takes, because all ranks have to choose alike: only what a pass
holds is measured, which is the same for equal shares.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from lla.curvature.hessian import gradient
from lla.curvature.measuring import Costs
from lla.curvature.names import Method, Needs, Precision
from lla.curvature.plan import Plan
from lla.curvature.sharded import ShardedHessian
from lla.curvature.ways import Way, kernels_of
from lla.errors import ConfigurationError
from lla.problem.sharded import ShardedProblem
from lla.watching import memory_in_use, physical_memory

__all__ = ["make_sharded_plan"]

_FLOAT = 8
_SHARE = 0.4  # of the host's memory that is free: for the Krylov basis
_TRANSIENT = 3  # passes that a product holds at its peak
_LAYERS = 4  # the largest parameter: whole, its slope, a vector's part, and their sum
_COPIES = 3  # of a rank's share, in float64: of θ, of a vector, of a product


def make_sharded_plan(
    problem: ShardedProblem,
    memory: int,
    needs: Needs,
    *,
    choose_chunk: bool = True,
    method: Method = "auto",
    together: int = 0,
    precision: Precision = "same",
) -> Plan:
    """Choose the chunk and the basis' size; all ranks call this and get the same.

    Args:
        problem: What products are made of.
        memory: Budget in bytes of the ranks on one GPU, or of those on one machine.
        needs: What the run is going to hold.
        choose_chunk: Whether the chunk may be larger than the problem's.
        method: "auto" or "reverse".
        together: Vectors of one block.
        precision: What products are made in.

    Raises:
        ConfigurationError: The method puts all parameters together, or memory does not suffice.
    """
    if method not in ("auto", "reverse"):
        raise ConfigurationError(
            f"products by {method} put all parameters together at once, and they are shared "
            "among ranks",
            "leave --method out, or --shard-parameters",
        )
    team, samples = problem.team, len(problem.data)
    way = Way(together=together or 1, precision=precision)
    found = _measured(problem, way)
    budget = _Budget.of(problem, memory, needs)
    each = max(1, found.per_sample)
    fits = team.smallest((budget.device - found.fixed) // (_TRANSIENT * each))
    if fits < 1:
        lacking = found.fixed + _TRANSIENT * each - budget.device
        raise _too_small("device", problem, lacking)
    chunk = min(problem.data.chunk * (team.size if choose_chunk else 1), fits * team.size, samples)
    row = _FLOAT * -(-problem.space.size // team.size)
    least = min(needs.least_rows, problem.space.size)
    graph = found.fixed + -(-chunk // team.size) * each
    host = budget.host - (_TRANSIENT * graph if budget.one else 0)
    rows = team.smallest(int(_SHARE * host) // row)
    if rows < least:
        raise _too_small("host", problem, int(least * row / _SHARE) - host)
    rows = min(needs.rows, rows)
    costs = _costs(problem, way, chunk)
    held = budget.used + _TRANSIENT * graph + ((rows * row + budget.vectors) if budget.one else 0)
    return Plan(
        chunk=chunk,
        way=way,
        graph=graph,
        rows=rows,
        on_host=problem.home != problem.device,
        memory=memory,
        predicted=team.neighbours * held,
        costs=costs,
    )


@dataclass(frozen=True)
class _Budget:
    """Bytes that this rank may take.

    Attributes:
        used: Taken already on the device, and by what is to come whatever the plan is.
        vectors: Taken by vectors of length P, at home.
        device: Left for passes.
        host: Left for the basis.
        one: Whether both are the same memory.
    """

    used: int
    vectors: int
    device: int
    host: int
    one: bool

    @classmethod
    def of(cls, problem: ShardedProblem, memory: int, needs: Needs) -> _Budget:
        """What is left beside the shares, one layer and the vectors."""
        team, one = problem.team, problem.home == problem.device
        vectors = needs.vectors * _FLOAT * problem.space.size
        used = memory_in_use(problem.device) + _COPIES * _FLOAT * problem.shards.layout.share
        used += _LAYERS * _FLOAT * max(part.shape.numel() for part in problem.shards.parts)
        own = memory // team.neighbours - used
        if one:
            return cls(used, vectors, own - vectors, own - vectors, one)
        machines = team.gather(platform.node())
        mine = physical_memory() // 2 // machines.count(platform.node())
        host = mine - memory_in_use(problem.home) - vectors
        return cls(used, vectors, own, host, one)


@dataclass(frozen=True)
class _Measured:
    """What a pass holds on this rank besides parameters.

    Attributes:
        fixed: Bytes whatever the number of samples.
        per_sample: Bytes for each sample of this rank.
    """

    fixed: int
    per_sample: int


def _measured(problem: ShardedProblem, way: Way) -> _Measured:
    """From products of one sample and of two on each rank."""
    team, meter = problem.team, problem.shards.meter
    vector = torch.zeros(problem.space.size, dtype=torch.float64, device=problem.home)
    found = []
    count = min(2 * team.size, len(problem.data))
    with kernels_of(way.precision):
        for samples in (-(-count // 2), count):
            before = meter.saved
            batch = next(problem.data.whole.chunks(samples))
            ShardedHessian(problem, [batch], way=way)(vector)
            found.append((-(-samples // team.size), -team.smallest(before - meter.saved)))
    (first, small), (second, large) = found
    each = (large - small) // (second - first) if second > first else large
    return _Measured(max(0, large - second * each), max(1, each))


def _costs(problem: ShardedProblem, way: Way, chunk: int) -> Costs:
    """Seconds over all samples, from one chunk."""
    batch = next(problem.data.whole.chunks(chunk))
    vector = torch.zeros(problem.space.size, dtype=torch.float64, device=problem.home)
    operator = ShardedHessian(problem, [batch], way=way)
    with kernels_of(way.precision):
        with torch.no_grad():
            value = _timed(lambda: problem.terms(problem.theta, batch))
        slope = _timed(lambda: gradient(problem, [batch]))
        product = _timed(lambda: operator(vector))
    scale = len(problem.data) / batch.samples
    return Costs(scale * value, scale * slope, scale * product, scale * product)


def _timed(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def _too_small(where: str, problem: ShardedProblem, lacking: int) -> ConfigurationError:
    size, ranks = problem.space.size, problem.team.size
    if where == "device":
        return ConfigurationError(
            f"the memory budget does not hold a pass of one sample beside 1/{ranks} of "
            f"{size:,} parameters: about {lacking / 2**20:.0f} MiB are lacking on each rank",
            "start more ranks, give a larger --memory, or analyse a part: --params GLOB",
        )
    return ConfigurationError(
        f"a host's memory does not hold vectors of {size:,} parameters for each of its ranks, and "
        f"1/{ranks} of the smallest basis: about {lacking / 2**20:.0f} MiB are lacking for each",
        "start the ranks on more machines, ask for fewer eigenvalues (--largest, --smallest), or "
        "analyse a part: --params GLOB",
    )
