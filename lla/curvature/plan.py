"""How products are carried out: chosen by a short measurement, within a memory budget.

Whatever is chosen, results are the same to rounding; the same choice gives the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from lla.curvature.footprint import Footprint
from lla.curvature.hessian import Hessian, gradient
from lla.curvature.measuring import Costs, best_chunk, measure
from lla.curvature.names import Method, Needs, Precision
from lla.curvature.operators import differentiable, measured
from lla.curvature.tight import Tight, fitted, later_libraries, precise_bytes, recomputable
from lla.curvature.ways import ONE_BY_ONE, Way, in_precision, kernels_of
from lla.errors import ConfigurationError, NoSecondDerivativeError
from lla.problem import Problem
from lla.watching import memory_in_use

__all__ = ["Costs", "Plan", "make_plan", "planned", "unmeasured"]

_FLOAT = 8
_PROBED = 32
_MARGIN, _MARGIN_SHARE = 16 << 20, 16
_LARGE = 64 << 20
_SECONDS = 1.5  # for all measurements together
_SHARE = 0.4  # of the free memory: for kept graphs, and for the Krylov basis
_FORWARD = 3  # a forward pass's graph in the gradient's and its derivative's, about
_TRANSIENT = 3  # graphs that a product holds at its peak, in units of one chunk's


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
        tight: Whether vectors of P numbers are so large that few are held: the basis in the
            model's dtype, certificates one after the other, float64 copies let go of.
        kept_rows: Basis vectors held once the eigenvalues are known; where memory is tight.
        probe_rows: Basis vectors behind a probe's density; where memory is tight.
        phases: Bytes that are expected at each phase's peak; where memory is tight.
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
    tight: bool = False
    kept_rows: int = 0
    probe_rows: int = 0
    phases: dict[str, int] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """The plan for a report, in plain values."""
        return {
            "chunk": self.chunk,
            "method": self.way.method,
            "together": self.way.together,
            "recomputed_blocks": list(self.way.recompute),
            "products": self.way.precision,
            "approximate": self.way.approximate,
            "difference_error": self.error,
            "difference_step": self.way.step,
            "kept_graphs_bytes": self.keep,
            "graph_bytes": self.graph,
            "basis_rows": self.rows,
            "basis_on_host": self.on_host,
            "tight": self.tight,
            "basis_rows_kept": self.kept_rows,
            "basis_rows_of_a_probe": self.probe_rows,
            "memory": self.memory,
            "predicted_peak_bytes": self.predicted,
            "predicted_bytes_by_phase": dict(self.phases),
            "seconds": {
                name: None if value != value else round(value, 6)
                for name, value in vars(self.costs).items()
            },
        }


def unmeasured(problem: Problem, memory: int) -> Plan:
    """A plan without a measurement: a quarter of the memory for graphs, a half for the basis."""
    rows = int(memory / 2 / (_FLOAT * problem.space.size))
    return Plan(problem.data.chunk, keep=memory // 4, rows=min(Needs.rows, rows), memory=memory)


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
    chunk = min(problem.data.chunk, samples)
    if fits < (chunk if problem.coupled_layers else 1):
        found = _tight(problem, memory, needs, method, graph, chunk, ranks)
        if isinstance(found, Tight):
            return _planned_tight(problem, found, budget, neighbours, precision)
        if fits < 1:
            # With room for what is not measured before there is memory to measure it in.
            more = _MARGIN + (found.peak - found.sizes.base) // _MARGIN_SHARE
            raise _too_small(problem, memory, found.peak + more)
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


def _tight(
    problem: Problem,
    memory: int,
    needs: Needs,
    method: Method,
    graph: _GraphSize,
    chunk: int,
    ranks: int,
) -> Tight | Footprint:
    """What fits where vectors are counted one by one, or the least that does not."""
    way = Way("reverse" if method == "auto" else method)

    def ways() -> Iterator[tuple[Way, Callable[[int], int], Callable[[int], int]]]:
        yield way, graph.of, lambda samples: _TRANSIENT * graph.per_sample * samples
        if way.method == "reverse":
            names = recomputable(problem)
            if names:
                again = replace(way, recompute=names)
                less = _graph_size(problem, method, again)
                # What goes from block to block, and all of one block.
                each = less.per_sample + graph.per_sample // len(names)
                yield again, less.of, lambda samples: _TRANSIENT * each * samples

    return fitted(problem, memory, needs, ways(), chunk=chunk, ranks=ranks)


def _planned_tight(
    problem: Problem, found: Tight, budget: int, neighbours: int, precision: Precision
) -> Plan:
    footprint = found.footprint
    return Plan(
        chunk=found.chunk,
        way=replace(found.way, precision=precision),
        keep=neighbours * footprint.keep,
        graph=footprint.sizes.graph,
        rows=footprint.rows,
        on_host=problem.device.type == "cuda",
        memory=budget,
        predicted=neighbours * footprint.peak,
        costs=found.costs,
        error=_error(problem, found.chunk, found.way),
        tight=True,
        kept_rows=footprint.kept_rows,
        probe_rows=footprint.probe_rows,
        phases=footprint.phases,
    )


def _free(problem: Problem, memory: int, needs: Needs) -> int:
    """What is left of the budget for graphs and basis."""
    vectors = needs.vectors * _FLOAT * problem.space.size
    held = memory_in_use(problem.device) + later_libraries(problem.device)
    return memory - held - precise_bytes(problem) - vectors


def _too_small(problem: Problem, memory: int, needed: int) -> ConfigurationError:
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


def _graph_size(problem: Problem, method: Method, way: Way = ONE_BY_ONE) -> _GraphSize:
    """From the graphs of two small chunks."""
    samples = min(problem.data.chunk, _PROBED, len(problem.data))
    if samples > 2 and _graph_bytes(problem, 2, method, way) > _LARGE:
        samples = 2  # tells enough, and more may be more than there is
    # A single sample may have no statistics.
    small = max(min(2, samples) if problem.coupled_layers else 1, samples // 2)
    large = _graph_bytes(problem, samples, method, way)
    if small == samples:
        return _GraphSize(0, max(1, large))
    slope = max(1, (large - _graph_bytes(problem, small, method, way)) // (samples - small))
    return _GraphSize(max(0, large - slope * samples), slope)


def _graph_bytes(problem: Problem, samples: int, method: Method, way: Way) -> int:
    batch = next(problem.data.whole.chunks(samples))
    if method in ("auto", "reverse"):
        return Hessian(problem, [batch], way=way).graph_bytes(batch)
    _, taken = measured(lambda: problem.terms(differentiable(problem), batch))
    return taken if method == "difference" else _FORWARD * taken


def planned(problem: Problem, plan: Plan) -> Problem:
    """The problem cut into the plan's chunks."""
    return problem.altered(data=replace(problem.data, chunk=plan.chunk))
