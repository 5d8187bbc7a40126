"""A plan for where vectors of P numbers are as large as the memory allows few of them.

Rows of the Krylov basis are then kept in the model's dtype, and few of them: the iteration restarts
sooner. One vector is multiplied at a time, eigenvalues are certified one after the other, the copy
of the network in float64 is let go of after that, and what is left over goes to kept graphs. All of
it is counted beforehand (:mod:`lla.curvature.footprint`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from lla.allocator import give_back_large
from lla.curvature.footprint import Footprint, Sizes
from lla.curvature.hessian import Hessian, gradient
from lla.curvature.measuring import Costs, timed
from lla.curvature.names import Needs
from lla.curvature.recomputing import blocks_of, recomputing
from lla.curvature.ways import Way, kernels_of
from lla.problem import Problem
from lla.problem.inputs import leaves
from lla.watching import Watch, give_back, memory_in_use, physical_memory

__all__ = ["Tight", "fitted", "later_libraries", "precise_bytes", "sizes_of"]

_FLOAT = 8
_LATER = 192 << 20  # libraries that are not loaded yet: kernels, HDF5, figures, the page
_STEPS = 5  # Lanczos steps behind a probe's density, at least
_AGREE = 1e3  # times the rounding: gradients that differ by more are different ones
_HOST = 0.3  # of the host's memory, for a GPU's basis and for that of a probe
_COMFORT = 10  # rows beside the wanted ones from which on graphs are kept rather than more rows


@dataclass(frozen=True)
class Tight:
    """What was chosen.

    Attributes:
        chunk: Samples per chunk.
        way: How products are made.
        footprint: Rows, kept graphs, and the memory that they take.
        costs: What was measured.
    """

    chunk: int
    way: Way
    footprint: Footprint
    costs: Costs


def later_libraries(device: torch.device) -> int:
    """Bytes of what is loaded in the course of a run."""
    return 0 if device.type == "cuda" else _LATER


def precise_bytes(problem: Problem) -> int:
    """Bytes of network and data once more in float64, to certify with: θ is the network's."""
    if problem.theta.dtype == torch.float64:
        return 0
    tensors = (*leaves(problem.data.inputs), problem.data.targets)
    data = sum(part.numel() for part in tensors if part.is_floating_point())
    return _FLOAT * (data + sum(part.numel() for part in problem.module.parameters()))


def sizes_of(problem: Problem, graph: int, activations: int, *, ranks: int = 1) -> Sizes:
    """Sizes, the process being what it is now."""
    device, count = problem.device, problem.space.size
    give_back()
    own = problem.theta.itemsize
    return Sizes(
        base=memory_in_use(device) + later_libraries(device),
        vector=_FLOAT * count,
        own=own * count,
        # A GPU's rows are in the host's memory.
        row=0 if device.type == "cuda" else own * -(-count // ranks),
        precise=precise_bytes(problem),
        activations=activations,
        graph=graph,
    )


def recomputable(problem: Problem) -> tuple[str, ...]:
    """Blocks whose activations need not be kept; none where that would change the gradient.

    A block that takes parameters from elsewhere than itself, by a way that torch does not see,
    would lose their part.
    """
    # A single sample may have no statistics.
    batch = next(problem.data.whole.chunks(2 if problem.coupled_layers else 1))
    with torch.no_grad(), problem.second_order():
        names = blocks_of(problem.module, lambda: problem.terms(problem.theta, batch))
    if not names:
        return ()
    with problem.second_order():
        expected = gradient(problem, [batch])
        with recomputing(problem.module, names):
            off = gradient(problem, [batch]).sub_(expected)
    allowed = _AGREE * float(torch.finfo(problem.theta.dtype).eps)
    length = torch.linalg.vector_norm(expected)
    return names if float(torch.linalg.vector_norm(off)) <= allowed * float(length) else ()


def least(sizes: Sizes, needs: Needs, samples: int) -> Footprint:
    """The footprint of the smallest run."""
    wanted = min(needs.pairs + 2 * needs.block + 2, needs.rows)
    return Footprint(sizes, needs, wanted, needs.pairs, _STEPS)


def fitted(
    problem: Problem,
    memory: int,
    needs: Needs,
    ways: Iterator[tuple[Way, Callable[[int], int], Callable[[int], int]]],
    *,
    chunk: int,
    ranks: int = 1,
) -> Tight | Footprint:
    """The first way, with the largest chunk, that fits; or the smallest footprint that does not.

    Args:
        problem: What products are made of.
        memory: Budget of this rank, bytes.
        needs: What the run is going to do.
        ways: Ways of making products, the fastest first; each with the bytes of the graph of a
            number of samples, and those that a product takes for activations.
        chunk: Samples of a chunk, at most.
        ranks: Processes that share out the samples and the basis.
    """
    give_back_large(problem.theta.nbytes)
    needs = _bounded(problem, needs, ranks)
    smallest: Footprint | None = None
    for way, graph, activations in ways:
        tried = chunk
        while True:
            sizes = sizes_of(problem, graph(tried), activations(tried), ranks=ranks)
            found = least(sizes, needs, tried)
            if found.peak <= memory:
                tight = _measured(problem, memory, found, way, tried, ranks)
                found = tight.footprint
                if found.peak <= memory:
                    return tight
            smallest = found if smallest is None or found.peak < smallest.peak else smallest
            if tried == 1 or problem.coupled_layers:
                break
            tried = -(-tried // 2)
    assert smallest is not None
    return smallest


def _measured(
    problem: Problem, memory: int, found: Footprint, way: Way, chunk: int, ranks: int
) -> Tight:
    """With what a product takes in fact, and what is left of the memory shared out."""
    batch = next(problem.data.whole.chunks(chunk))
    scale = len(problem.data) / (batch.samples * ranks)
    device, sizes = problem.device, found.sizes
    operator = Hessian(problem, [batch], way=way)
    with kernels_of(way.precision):
        with torch.no_grad():
            value = timed(lambda: problem.terms(problem.theta, batch), device)
        slope = timed(lambda: gradient(problem, [batch]), device)
        vector = torch.ones(operator.size, dtype=torch.float64, device=device)
        with Watch(device) as watch:
            product = timed(lambda: operator(vector), device)
    vectors = replace(sizes, activations=0).product
    activations = max(sizes.graph - sizes.own, watch.rise - vectors)
    unfolded = _unfolded(problem, sizes, way, chunk)
    sizes = replace(sizes, activations=activations, unfolded=unfolded)
    chunks = -(-len(problem.data) // (ranks * chunk))
    found = _shared_out(replace(found, sizes=sizes), memory, chunks)
    costs = Costs(*(scale * seconds for seconds in (value, slope, product, product)))
    return Tight(chunk, way, found, costs)


def _unfolded(problem: Problem, sizes: Sizes, way: Way, chunk: int) -> int:
    """What a float64 product takes for activations: its kernels may need more room than numbers.

    Convolutions on a CPU have none of their own in float64: they write out each input's windows.
    """
    windows = any(parameter.dim() > 2 for parameter in problem.module.parameters())
    if not (sizes.precise and windows):
        return 0
    double = problem.in_float64()
    batch = next(double.data.whole.chunks(chunk))
    operator = Hessian(double, [batch], way=way.certifying)
    vector = torch.ones(operator.size, dtype=torch.float64, device=problem.device)
    try:
        with Watch(problem.device) as watch:
            operator(vector)
    except RuntimeError:  # it fixes a lower precision: nothing will be certified in float64
        return 0
    finally:
        give_back()
    return max(0, watch.rise - 4 * sizes.vector)


def _bounded(problem: Problem, needs: Needs, ranks: int) -> Needs:
    """The needs, with as many rows as the host's memory takes where they are kept there."""
    if problem.device.type != "cuda":
        return needs
    row = problem.theta.itemsize * -(-problem.space.size // ranks)
    return replace(
        needs, rows=max(needs.pairs, min(needs.rows, int(_HOST * physical_memory() / row)))
    )


def _shared_out(found: Footprint, memory: int, chunks: int) -> Footprint:
    """Rows as far as the memory goes, and before many of them graphs that are kept."""
    needs, graph = found.needs, found.sizes.graph
    comfort = min(needs.rows, needs.pairs + needs.block + _COMFORT)

    def grown(found: Footprint, name: str, most: int, step: int = 1) -> Footprint:
        while getattr(found, name) < most:
            more = replace(found, **{name: min(most, getattr(found, name) + step)})
            if more.peak > memory:
                break
            found = more
        return found

    found = grown(found, "rows", comfort)
    if found.rows == comfort and replace(found, keep=chunks * graph).peak <= memory:
        found = replace(found, keep=chunks * graph)
    found = grown(found, "rows", needs.rows)
    found = grown(found, "probe_rows", max(_STEPS, needs.steps))
    return grown(found, "kept_rows", found.rows)
