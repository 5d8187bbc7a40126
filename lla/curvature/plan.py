"""How products are carried out: chosen by a short measurement, within a memory budget.

Whatever is chosen, results are the same to rounding; the same choice gives the same bits.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from lla.curvature.hessian import Hessian, gradient
from lla.curvature.measuring import Costs, best_chunk, measure
from lla.curvature.names import Method, Precision
from lla.curvature.operators import differentiable, measured
from lla.curvature.ways import Way, in_precision, kernels_of
from lla.errors import ConfigurationError, NoSecondDerivativeError
from lla.problem import Problem
from lla.problem.inputs import leaves

__all__ = ["Costs", "Needs", "Plan", "make_plan", "memory_in_use", "planned", "unmeasured"]

_FLOAT = 8
_PROBED = 32
_SECONDS = 1.5  # for all measurements together
_SHARE = 0.4  # of the free memory: for kept graphs, and for the Krylov basis
_LATER = 192 << 20  # libraries that are not loaded yet: kernels, HDF5, figures, the page
_FORWARD = 3  # a forward pass's graph in the gradient's and its derivative's, about
_TRANSIENT = 3  # graphs that a product holds at its peak, in units of one chunk's


@dataclass(frozen=True)
class Needs:
    """What a run is going to hold.

    Attributes:
        rows: Krylov basis vectors, at most.
        least_rows: Without so many there is nothing to begin with.
        vectors: Further vectors of length P held at a time.
    """

    rows: int = 400
    least_rows: int = 20
    vectors: int = 40


@dataclass(frozen=True)
class Plan:
    """How the products of a run are carried out.

    Attributes:
        chunk: Samples per chunk.
        way: How a chunk's products are made.
        keep: Bytes that kept graphs may take.
        graph: Bytes of one chunk's graph.
        rows: Krylov basis vectors held at most.
        on_host: Whether the basis is kept in host memory.
        memory: The budget, bytes.
        predicted: Bytes that are expected to be in use at the peak.
        costs: What was measured.
        error: How much products by differences change, relatively, when their step is doubled;
            0 for products that are exact to rounding.
    """

    chunk: int
    way: Way = field(default_factory=Way)
    keep: int = 0
    graph: int = 0
    rows: int = 400
    on_host: bool = False
    memory: int = 0
    predicted: int = 0
    costs: Costs = field(default_factory=Costs)
    error: float = 0.0

    def facts(self) -> dict[str, Any]:
        """The plan for a report, in plain values."""
        return {
            "chunk": self.chunk,
            "method": self.way.method,
            "together": self.way.together,
            "products": self.way.precision,
            "approximate": self.way.approximate,
            "difference_error": self.error,
            "difference_step": self.way.step,
            "kept_graphs_bytes": self.keep,
            "graph_bytes": self.graph,
            "basis_rows": self.rows,
            "basis_on_host": self.on_host,
            "memory": self.memory,
            "predicted_peak_bytes": self.predicted,
            "seconds": {
                name: None if value != value else round(value, 6)
                for name, value in vars(self.costs).items()
            },
        }


def unmeasured(problem: Problem, memory: int) -> Plan:
    """A plan without a measurement: a quarter of the memory for graphs, a half for the basis."""
    rows = int(memory / 2 / (_FLOAT * problem.space.size))
    return Plan(problem.data.chunk, keep=memory // 4, rows=min(Needs.rows, rows), memory=memory)


def memory_in_use(device: torch.device) -> int:
    """Bytes that this process holds: on a GPU what torch has allocated there."""
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux: what torch itself takes is a fair guess
        return 400 << 20


def make_plan(
    problem: Problem,
    memory: int,
    needs: Needs,
    *,
    choose_chunk: bool = True,
    method: Method = "auto",
    together: int = 0,
    precision: Precision = "same",
    ranks: int = 1,
    neighbours: int = 1,
) -> Plan:
    """Choose chunk, graphs and vectors at once for a problem, in a second or two.

    Args:
        problem: What products are made of.
        memory: Budget in bytes for the whole process (on a GPU: for torch there), or for those
            on one machine (on one GPU).
        needs: What the run is going to hold.
        choose_chunk: Whether the chunk may differ from the problem's.
        method: How products are made, or "auto" to measure.
        together: Vectors of one pass, or 0 to choose.
        precision: What products are made in.
        ranks: Processes that share out the samples and the basis.
        neighbours: Those of them that the budget is for together.

    Raises:
        ConfigurationError: The budget does not suffice for the smallest run, or for all samples as
            one batch where they have to be; or precision and device or method do not fit together.
    """
    until = time.perf_counter() + _SECONDS
    samples, budget, memory = len(problem.data), memory, memory // neighbours
    original, problem = problem, in_precision(problem, precision)
    method = possible(problem, method)
    if method == "difference" and precision != "same":
        raise ConfigurationError(
            f"differences of gradients in {precision} are nothing but rounding",
            "leave --products out",
        )
    graph = _graph_size(problem, method)
    free = room = _free(original, memory, needs)
    row = _FLOAT * -(-problem.space.size // ranks)  # a rank's columns of it
    least = row * min(needs.least_rows, problem.space.size)
    fits = graph.fitting((free - int(least / _SHARE)) / _TRANSIENT)
    if fits < 1:
        raise _too_small(problem, memory, free - int(least / _SHARE) - _TRANSIENT * graph.of(1))
    chunk = min(problem.data.chunk, samples)
    if problem.coupled_layers:
        if chunk > fits:
            raise _too_small_for_one_batch(memory, _TRANSIENT * (graph.of(chunk) - graph.of(fits)))
    elif choose_chunk:
        comfortable = max(1, min(graph.fitting(free / (2 * _TRANSIENT)), fits))
        chunk = best_chunk(problem, min(comfortable, samples), until)
    else:
        chunk = min(chunk, fits)
    one = graph.of(chunk)
    free -= _TRANSIENT * one
    fitting = int(_SHARE * free / row)
    rows = min(needs.rows, max(needs.least_rows, fitting))
    on_host = problem.device.type == "cuda" and rows < needs.rows
    if on_host:
        rows = needs.rows
    chunks = -(-samples // (ranks * chunk))
    keep = max(0, min(int(_SHARE * free), 2 * chunks * one))
    all_kept = chunks * one <= keep
    with kernels_of(precision):
        costs, way = measure(problem, chunk, all_kept, method, together, until)
    held = 0 if on_host else row * rows
    used = memory - room
    return Plan(
        chunk=chunk,
        way=replace(way, precision=precision),
        keep=neighbours * keep if way.method == "reverse" else 0,
        graph=one,
        rows=rows,
        on_host=on_host,
        memory=budget,
        predicted=neighbours * (used + held + min(keep, chunks * one) + _TRANSIENT * one),
        costs=Costs(*(cost / ranks for cost in vars(costs).values())),
        error=_error(problem, chunk, way),
    )


def possible(problem: Problem, method: Method) -> Method:
    """The method, or for "auto" one that the network's derivatives allow, on two samples.

    Raises:
        NoSecondDerivativeError: "reverse" was asked for, and there is none.
    """
    if method not in ("auto", "reverse"):
        return method
    batch = [next(problem.data.whole.chunks(2))]
    vector = torch.zeros(problem.space.size, dtype=torch.float64, device=problem.device)
    try:
        Hessian(problem, batch)(vector)
    except NoSecondDerivativeError:
        if method == "reverse":
            raise
    else:
        return method
    try:
        Hessian(problem, batch, way=Way("forward"))(vector)
    except (RuntimeError, NoSecondDerivativeError):
        return "difference"
    return "forward"


def _error(problem: Problem, chunk: int, way: Way) -> float:
    """How far products of the gradient's direction are off by their differences' step."""
    operator = Hessian(problem, [next(problem.data.whole.chunks(chunk))], way=way)
    coarser = operator.coarser()
    if coarser is None:
        return 0.0
    direction = gradient(problem, [next(problem.data.whole.chunks(chunk))])
    product = operator(direction)
    length = float(torch.linalg.vector_norm(product))
    change = float(torch.linalg.vector_norm(coarser(direction) - product))
    return change / length if length else change


def _free(problem: Problem, memory: int, needs: Needs) -> int:
    """What is left of the budget for graphs and basis."""
    tensors = (*leaves(problem.data.inputs), problem.data.targets)
    # Network and data once more in float64, to certify with.
    doubled = sum(part.numel() * _FLOAT for part in tensors if part.is_floating_point())
    doubled += sum(part.numel() * _FLOAT for part in problem.module.parameters())
    vectors = needs.vectors * _FLOAT * problem.space.size
    later = 0 if problem.device.type == "cuda" else _LATER
    return memory - memory_in_use(problem.device) - doubled - vectors - later


def _too_small(problem: Problem, memory: int, left: int) -> ConfigurationError:
    needed = memory - left
    return ConfigurationError(
        f"a memory budget of {memory / 2**20:.0f} MiB is too small: the process holds "
        f"{memory_in_use(problem.device) / 2**20:.0f} MiB already, and the smallest run of "
        f"{problem.space.size:,} parameters takes about {needed / 2**20:.0f} MiB in all",
        f"give --memory {-(-needed // 2**20)}MiB or more, or analyse a part: --params GLOB",
    )


def _too_small_for_one_batch(memory: int, lacking: int) -> ConfigurationError:
    return ConfigurationError(
        f"a memory budget of {memory / 2**20:.0f} MiB is too small for all samples as one batch, "
        "which batch norm with the batch's statistics needs",
        f"give --memory {-(-(memory + lacking) // 2**20) + 1}MiB or more, or analyse fewer "
        "samples: [data] limit",
    )


@dataclass(frozen=True)
class _GraphSize:
    """Bytes of a chunk's graph: what it holds of the parameters, and of each sample."""

    fixed: int
    per_sample: int

    def of(self, samples: int) -> int:
        return self.fixed + samples * self.per_sample

    def fitting(self, room: float) -> int:
        return int((room - self.fixed) // self.per_sample)


def _graph_size(problem: Problem, method: Method) -> _GraphSize:
    """From the graphs of two small chunks."""
    samples = min(problem.data.chunk, _PROBED, len(problem.data))
    # A single sample may have no statistics.
    small = max(min(2, samples) if problem.coupled_layers else 1, samples // 2)
    large = _graph_bytes(problem, samples, method)
    if small == samples:
        return _GraphSize(0, max(1, large))
    slope = max(1, (large - _graph_bytes(problem, small, method)) // (samples - small))
    return _GraphSize(max(0, large - slope * samples), slope)


def _graph_bytes(problem: Problem, samples: int, method: Method) -> int:
    batch = next(problem.data.whole.chunks(samples))
    if method in ("auto", "reverse"):
        operator = Hessian(problem, [batch], memory=1 << 60)
        operator(torch.zeros(problem.space.size, dtype=torch.float64, device=problem.device))
        return operator.kept_bytes
    _, taken = measured(lambda: problem.terms(differentiable(problem), batch))
    return taken if method == "difference" else _FORWARD * taken


def planned(problem: Problem, plan: Plan) -> Problem:
    """The problem cut into the plan's chunks."""
    return problem.altered(data=replace(problem.data, chunk=plan.chunk))
