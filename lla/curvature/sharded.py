"""The Hessian of a network whose parameters are shared among ranks.

For each chunk, every rank differentiates the loss of its samples twice by its own share of the
parameters; in between, each parameter is put together where the pass comes to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from lla.curvature.hessian import Hessian
from lla.curvature.operators import Trouble
from lla.curvature.ways import ONE_BY_ONE, Way, lacks_second_derivative
from lla.errors import ConfigurationError
from lla.problem import Batch
from lla.problem.sharded import ShardedProblem

__all__ = ["ShardedHessian"]


class ShardedHessian(Hessian):
    """The Hessian by products that all ranks make together; vectors of length P are at home.

    Raises:
        ConfigurationError: The way is not to differentiate backwards twice.
        NoSecondDerivativeError: At a product.
    """

    remedy = (
        "parameters that are shared among ranks have no other products: where one device can hold "
        "the network, --no-shard-parameters, with --method difference"
    )

    def __init__(
        self,
        problem: ShardedProblem,
        batches: Sequence[Batch] | None = None,
        *,
        memory: int = 0,
        way: Way = ONE_BY_ONE,
        on_products: Callable[[int], None] = lambda count: None,
        on_step_down: Callable[[str], None] = lambda what: None,
    ) -> None:
        """Make the operator; as for any, but that no graph is kept, whatever ``memory`` is."""
        if way.method != "reverse":
            raise ConfigurationError(
                f"products by {way.method} put all parameters together at once",
                "leave --method out, or analyse without --shard-parameters",
            )
        super().__init__(
            problem, batches, way=way, on_products=on_products, on_step_down=on_step_down
        )
        self.device = problem.home
        self._whole: ShardedProblem = self._problem  # type: ignore[assignment]

    def _summed(self, block: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        problem = self._whole
        product, weight = super()._summed(problem.share_of(block))
        return problem.whole_of(product), weight.to(problem.home)

    def _attempt(self, block: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Trouble | None]:
        """The products; what stops one rank stops the run, because the others wait for it."""
        try:
            with self.team.timed("products"):
                return *self._summed(block), None
        except RuntimeError as error:
            if lacks_second_derivative(error):
                raise self._undifferentiable(str(error)) from error
            raise

    def _step_down(self) -> bool:
        """Nothing can be given up by one rank while others wait for it in the middle of a pass."""
        return False
