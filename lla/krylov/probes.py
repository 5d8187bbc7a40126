"""One set of random probes for the trace, the Frobenius norm, the diagonal and the density.

For a Rademacher z, zᵀAz has the mean tr A, ‖Az‖² the mean ‖A‖_F² and z ∘ Az the mean diag A
(Hutchinson 1990; Bekas et al. 2007). What a Krylov space Q, drawn independently of z, knows is
taken out: A is QᵀTQ, plus its coupling NᵀFQ and the transpose, plus its compression A⊥ to the
complement of Q. The first two are known exactly; probes see A⊥ alone, which has far less variance
where Q holds the outliers. Whether Q's pairs have converged does not matter.

The density comes first, from a block iteration on the complement. What that finds is known from
then on as well: the probes for trace, norm and diagonal are others, and see what is left of A by
then.

For the density, the coupling is dropped: of rank 2c (c rows of N), it moves no more than c
eigenvalues across any point in either direction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from lla.krylov.basis import orthonormalized
from lla.krylov.known import Known
from lla.krylov.lanczos import Krylov, block_lanczos
from lla.krylov.operator import LinearOperator, drawn
from lla.krylov.quadrature import Quadrature, gauss_rule

__all__ = ["ProbePlan", "Probes", "TraceSample", "draw_probes"]


@dataclass(frozen=True)
class TraceSample:
    """What one probe says, deflated.

    Attributes:
        trace: Unbiased for tr A.
        square: Unbiased for ‖A‖_F².
        parts: Unbiased for the traces of the diagonal blocks, shape (blocks,).
    """

    trace: float
    square: float
    parts: np.ndarray


@dataclass(frozen=True)
class ProbePlan:
    """How many probes, and how they are worked on.

    Attributes:
        pilot: Probes with a quadrature, and as many for the trace, from which the number of all of
            those is decided.
        steps: Block Lanczos steps of each probe with a quadrature.
        together: Probes that share one block.
        nodes: Nodes of each probe's own Gauss rule.
        diagonal: Whether the diagonal is wanted.
        kind: What bases are kept in.
        on_host: Whether they are kept in host memory.
    """

    pilot: int
    steps: int
    together: int
    nodes: int = 20
    diagonal: bool = True
    kind: torch.dtype = torch.float64
    on_host: bool = False


@dataclass(frozen=True)
class Probes:
    """What a set of independent probes says of an operator.

    Attributes:
        samples: One for each probe for trace and norm.
        quadrature: Density of each pilot probe: the known Ritz values, each with weight 1/P, and
            the nodes of the block quadrature of the rest.
        below: The same with the block Gauss rule of one step less, and
        above: with the block anti-Gauss rule: their errors have opposite signs.
        rules: The plain Gauss rule of each pilot probe, with the asked number of nodes.
        rest: The plain Gauss rule of each pilot probe in the complement, of as many nodes as are
            exact; its weights sum to the complement's share of the spectrum.
        outer: The known Ritz values, shape (m,).
        coupled: Rank of the known space's coupling to the complement.
        size: P.
        pilot: The number of samples was decided from the first ``pilot``.
        reach: Smallest and largest Ritz value of the complement; NaN if it is empty.
        diagonal: Mean of the probes' diagonals, and its standard error: shapes (P,); None where it
            was not asked for.
        groups: zᵀA_g z of each probe with a quadrature, over each group of samples: shape
            (groups, probes); empty where groups were not asked for.
    """

    samples: tuple[TraceSample, ...]
    quadrature: Quadrature
    below: Quadrature
    above: Quadrature
    rules: Quadrature
    rest: Quadrature
    outer: np.ndarray
    coupled: int
    size: int
    pilot: int
    reach: tuple[float, float]
    diagonal: tuple[torch.Tensor, torch.Tensor] | None
    groups: np.ndarray


class _Collection:
    """Samples as they come in, with the mean and the spread of the diagonal (Welford 1962)."""

    def __init__(self, known: Known, blocks: tuple[slice, ...], *, diagonal: bool) -> None:
        self.samples: list[TraceSample] = []
        self._known, self._blocks = known, blocks
        self._parts = known.traces(blocks)
        self._wanted = diagonal
        self._mean = self._squares = torch.zeros((), dtype=torch.float64)

    def see(self, operator: LinearOperator, probes: torch.Tensor) -> None:
        """What probes z, shape (b, P), say of what is left of A."""
        inside = probes.clone()
        self._known.remove(inside)
        images = operator(inside)
        self._known.remove(images)
        for probe, part, image in zip(probes, inside, images, strict=True):
            rests = [float(probe[block] @ image[block]) for block in self._blocks]
            self.samples.append(
                TraceSample(
                    trace=float(part @ image) + self._known.trace,
                    square=float(image @ image) + self._known.square,
                    parts=np.array(rests) + self._parts,
                )
            )
            if self._wanted:
                local = probe * image
                change = local - self._mean
                self._mean = self._mean + change / len(self.samples)
                self._squares = self._squares + change * (local - self._mean)

    def diagonal(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Mean and standard error, shapes (P,), if they are wanted."""
        if not self._wanted:
            return None
        count = len(self.samples)
        return self._known.diagonal() + self._mean, (self._squares / (count * (count - 1))).sqrt()


def draw_probes(
    operator: LinearOperator,
    draw: Callable[[int], torch.Tensor],
    krylov: Krylov,
    plan: ProbePlan,
    *,
    blocks: tuple[slice, ...],
    enough: Callable[[tuple[TraceSample, ...]], int],
    grouped: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]] | None = None,
    on_products: Callable[[int, int], None] = lambda done, total: None,
) -> Probes:
    """Run the pilot's block iterations, decide how many probes are needed, and draw the rest.

    Args:
        operator: The symmetric operator A.
        draw: Rademacher probe by index, shape (P,).
        krylov: A Krylov run independent of the probes, whose knowledge is taken out.
        plan: How many probes, and how they are worked on.
        blocks: Places of the diagonal blocks whose traces are wanted.
        enough: From the pilot's samples, how many probes to draw in all.
        grouped: The products of a block (b, P) with the forms X A_g Xᵀ over groups of samples,
            shape (groups, b, b).
        on_products: Told (products done, products expected).

    Returns:
        All samples and the pilot's quadratures.
    """
    known = Known.of(krylov)
    pilot = _Pilot(operator, known, plan, grouped)
    total = plan.pilot * (plan.steps + 1)
    done = 0
    for places in _blocks(0, plan.pilot, plan.together):
        found = pilot.run(drawn(operator, draw, places))
        if found is not None and len(places) == plan.pilot:
            known += Known.of(found)
        del found  # before the next one takes its place
        done += len(places) * plan.steps
        on_products(done, total)
    collection = _Collection(known, blocks, diagonal=plan.diagonal)

    def collect(first: int, last: int) -> None:
        nonlocal done
        for places in _blocks(first, last, plan.together):
            # Not those of the quadratures, whose space is taken out now.
            probes = drawn(operator, lambda index: draw(plan.pilot + index), places)
            collection.see(operator, probes)
            done += len(probes)
            on_products(done, total)

    collect(0, plan.pilot)
    wanted = max(plan.pilot, enough(tuple(collection.samples)))
    total += wanted - plan.pilot
    collect(plan.pilot, wanted)
    return pilot.result(collection)


def _blocks(start: int, stop: int, together: int) -> list[range]:
    return [range(at, min(at + together, stop)) for at in range(start, stop, together)]


class _Pilot:
    """The block iterations on the complement, and the quadratures that follow from them."""

    def __init__(
        self,
        operator: LinearOperator,
        known: Known,
        plan: ProbePlan,
        grouped: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]] | None,
    ) -> None:
        self._operator, self._plan, self._grouped = operator, plan, grouped
        self._found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {
            name: [] for name in ("quadrature", "below", "above", "rules", "rest")
        }
        (self._space,) = known.spaces
        self._outer = np.linalg.eigvalsh(self._space.projected)
        self._groups: list[np.ndarray] = []
        self._ends: list[float] = []

    def run(self, probes: torch.Tensor) -> Krylov | None:
        """The iteration from a block of probes (b, P), which is spent; None if nothing is left."""
        space = self._space
        whole = None
        if self._grouped:
            whole, forms = self._grouped(probes)
            self._groups.append(np.diagonal(forms.cpu().numpy(), axis1=1, axis2=2))
        count = len(probes)
        along = space.basis.remove(probes).cpu().numpy()
        # What rounding leaves of a probe that lies in the known space is no direction.
        length = self._operator.size**0.5
        start, shares = orthonormalized(
            probes, 1e-10 * length, space.basis, before=length, spend=True
        )
        del probes
        if not len(start):
            self._measure(np.zeros((0, 0)), 0, np.zeros((0, count)), along)
            return None
        image = None
        if whole is not None and len(start) == count:
            # The complement's products follow from those of the whole probes.
            space.basis.remove(whole)
            whole -= torch.from_numpy((space.coupling @ along).T.copy()).to(whole) @ space.beyond
            image = torch.linalg.solve(torch.from_numpy(shares.T.copy()).to(whole), whole)
        begun = [start]
        del start, whole
        run = block_lanczos(
            self._operator,
            begun.pop(),
            len(shares) * self._plan.steps,
            image=image,
            locked=space.basis,
            kind=self._plan.kind,
            on_host=self._plan.on_host,
        )
        first = np.zeros((len(run.projected), count))
        first[: len(shares)] = shares
        # A space that is not coupled to anything is known whole.
        last = run.last if len(run.beyond) else 0
        self._measure(run.projected, last, first, along)
        return run

    def _measure(
        self, projected: np.ndarray, last: int, first: np.ndarray, along: np.ndarray
    ) -> None:
        """The quadratures of each probe, from its coordinates in both spaces: columns."""
        space, outer = self._space, self._outer
        rules = {"quadrature": projected, "below": projected, "above": projected}
        if last:
            rules["below"], rules["above"] = projected[:last, :last], _anti(projected, last)
        for name, matrix in rules.items():
            inner, columns = np.linalg.eigh(matrix)
            shares = (columns.T @ first[: len(matrix)]) ** 2
            self._found[name] += [self._joined(outer, inner, column) for column in shares.T]
            if name == "quadrature" and len(inner):
                self._ends += [float(inner[0]), float(inner[-1])]
        whole = _block_diagonal(space.projected, projected)
        for probe in np.concatenate([along, first]).T:
            self._found["rules"].append(gauss_rule(whole, probe, self._plan.nodes))
        share = 1 - len(outer) / self._operator.size
        for probe in first.T:
            nodes, weights = gauss_rule(projected, probe, self._plan.steps)
            self._found["rest"].append((nodes, weights * share))

    def _joined(
        self, outer: np.ndarray, inner: np.ndarray, shares: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Known Ritz values, each with weight 1/P, and the rest's nodes with what remains."""
        size, mass = self._operator.size, shares.sum()
        rest = shares * ((size - len(outer)) / (size * mass)) if mass else shares
        weights = np.concatenate([np.full(len(outer), 1 / size), rest])
        return np.concatenate([outer, inner]), weights

    def result(self, found: _Collection) -> Probes:
        """Everything together."""
        ends = (min(self._ends), max(self._ends)) if self._ends else (np.nan, np.nan)
        groups = np.concatenate(self._groups, axis=1) if self._groups else np.empty((0, 0))
        return Probes(
            samples=tuple(found.samples),
            outer=self._outer,
            coupled=len(self._space.beyond),
            size=self._operator.size,
            pilot=self._plan.pilot,
            reach=ends,
            diagonal=found.diagonal(),
            groups=groups,
            **{name: Quadrature.of(rules) for name, rules in self._found.items()},
        )


def _anti(projected: np.ndarray, last: int) -> np.ndarray:
    """The block anti-Gauss rule's matrix: the last coupling times √2 (Laurie 1996, scalar case)."""
    matrix = projected.copy()
    matrix[last:, :last] *= np.sqrt(2.0)
    matrix[:last, last:] *= np.sqrt(2.0)
    return matrix


def _block_diagonal(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    size = len(upper)
    whole = np.zeros((size + len(lower), size + len(lower)))
    whole[:size, :size], whole[size:, size:] = upper, lower
    return whole
