"""What a run of the spectrum holds at its peak, phase by phase, in bytes.

Vectors of P numbers are counted one by one: for a large network they are nearly all there is.
"""

from __future__ import annotations

from dataclasses import dataclass

from lla.curvature.names import Needs

__all__ = ["Footprint", "Sizes"]


@dataclass(frozen=True)
class Sizes:
    """Bytes of what a run is made of.

    Attributes:
        base: What the process holds already, network, θ and data among it, and libraries to come.
        vector: A vector of P numbers in float64.
        own: The same in the model's dtype.
        row: A row of the Krylov basis, on this rank.
        precise: Network and data in float64; 0 for a model that is so.
        activations: What a product of one vector takes at its peak beside vectors: graphs.
        graph: A chunk's graph, which may be kept.
        unfolded: What a float64 product takes for activations, where that was measured.
    """

    base: int
    vector: int
    own: int
    row: int
    precise: int
    activations: int
    graph: int
    unfolded: int = 0

    @property
    def product(self) -> int:
        """What a product takes beside the vector that is given to it.

        The vector in the model's dtype, the sum, the gradient, and the product twice: its parts
        and what they are put together to.
        """
        along = self.own if self.own < self.vector else 0
        return along + self.vector + 3 * self.own + self.activations

    @property
    def precise_product(self) -> int:
        """The same in float64, which takes twice the memory for each number, or more."""
        if not self.precise:
            return self.product
        numbers = self.activations * self.vector // self.own
        return 4 * self.vector + max(numbers, self.unfolded)


@dataclass(frozen=True)
class Footprint:
    """Rows and kept graphs, and what the phases of a run hold with them.

    Attributes:
        sizes: Of single things.
        needs: What the run is going to do.
        rows: Krylov rows while eigenvalues are looked for.
        kept_rows: Of them, those that are held afterwards.
        probe_rows: Rows behind a probe's density.
        keep: Bytes of kept graphs.
    """

    sizes: Sizes
    needs: Needs
    rows: int
    kept_rows: int
    probe_rows: int
    keep: int = 0

    @property
    def phases(self) -> dict[str, int]:
        """Bytes at each phase's peak."""
        sizes, needs = self.sizes, self.needs
        # Of kept graphs, one is part of the product that is being made.
        product = sizes.product + max(0, self.keep - sizes.graph)
        search = self.rows * sizes.row + needs.block * sizes.vector + product
        # The pairs, and what the last product left beyond the basis.
        known = self.kept_rows * sizes.row + (needs.pairs + 1) * sizes.vector
        found = {
            "eigenvalues": search,
            # Precise products one by one; one of them beside a working one, to compare.
            "certificates": known
            + sizes.precise
            + max(sizes.precise_product, sizes.vector + product),
            "density": known + self.probe_rows * sizes.row + sizes.vector + product,
            "trace": known + (2 + 3 * needs.diagonal + needs.sketched) * sizes.vector + product,
        }
        others = needs.others * sizes.vector
        return {name: sizes.base + others + held for name, held in found.items()}

    @property
    def peak(self) -> int:
        """Bytes at the largest phase."""
        return max(self.phases.values())
