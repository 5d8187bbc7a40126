"""What the analyses of one run share: each product is computed once, when first asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from lla.analyses.analysis import Config
from lla.analyses.keeping import Forgetful, Keep, Keeper
from lla.progress import Progress, Silent

if TYPE_CHECKING:
    from lla.curvature.plan import Plan
    from lla.problem import Problem

__all__ = ["Shared", "Workspace"]

T = TypeVar("T")
C = TypeVar("C", bound=Config)


@dataclass(frozen=True, slots=True)
class Shared(Generic[T]):
    """A product that several analyses need, and the function that computes it.

    Attributes:
        name: Its name, unique in a run.
        compute: Computes it.
        keep: How it is kept for a run that goes on where another ended; None: not at all.
    """

    name: str
    compute: Callable[[Problem, Workspace], T]
    keep: Keep[T] | None = None


@dataclass
class Workspace:
    """The settings of a run and the products its analyses share.

    Attributes:
        configs: The configuration of every analysis, by name.
        seed: Seed of every random draw.
        confidence: Probability with which intervals hold, in (0, 1).
        tolerance: Relative half-width that stochastic estimates aim for.
        memory: Bytes that large intermediate arrays may take in all.
        progress: Told how far the run is.
        counts: Work done so far, by kind: matvecs, gradients, points, images.
        measured: The plan that products follow, measured; without one :meth:`plan` makes one
            that is not.
        steps_down: What operators gave up where memory ran out, in order, for the report.
        keeper: Keeps products for a later run.
        stop: Called after each unit of work; raises where the run is to end.
        selected: Names of the analyses that the run makes.
    """

    configs: Mapping[str, Config]
    seed: int = 0
    confidence: float = 0.95
    tolerance: float = 0.02
    memory: int = 4 << 30
    progress: Progress = field(default_factory=Silent)
    counts: Counter[str] = field(default_factory=Counter)
    measured: Plan | None = None
    steps_down: list[str] = field(default_factory=list)
    keeper: Keeper = field(default_factory=Forgetful)
    stop: Callable[[], None] = lambda: None
    selected: tuple[str, ...] = ()
    _shared: dict[str, Any] = field(default_factory=dict)

    def get(self, shared: Shared[T], problem: Problem) -> T:
        """The shared product, computed on first use or taken from what a former run kept."""
        if shared.name not in self._shared:
            kept = shared.keep and self.keeper.load(shared.name, shared.keep.depends)
            if shared.keep and kept:
                self._shared[shared.name] = shared.keep.unpack(kept, problem)
            else:
                self.put(shared, shared.compute(problem, self))
        return cast(T, self._shared[shared.name])

    def let_go(self, shared: Shared[Any]) -> None:
        """Forget a product: whoever asks for it again has it made again."""
        self._shared.pop(shared.name, None)

    def put(self, shared: Shared[T], value: T) -> None:
        """Share a product that another one's computation gave along with its own."""
        self._shared[shared.name] = value
        if shared.keep:
            self.keeper.save(shared.name, shared.keep.depends, shared.keep.pack(value))

    def plan(self, problem: Problem) -> Plan:
        """How products of the problem are made."""
        if self.measured is None:
            from lla.curvature.plan import unmeasured

            self.measured = unmeasured(problem, self.memory)
        return self.measured

    def tally(self, kind: str) -> Callable[[int], None]:
        """A function that adds to the count of a kind of work, and ends the run if it has to."""

        def count(more: int) -> None:
            self.counts[kind] += more
            self.stop()

        return count

    def config(self, name: str, type: type[C]) -> C:
        """The configuration of the analysis ``name``; its defaults if the run has none."""
        found = self.configs.get(name)
        return found if isinstance(found, type) else type()
