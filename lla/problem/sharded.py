"""A problem whose parameters are shared among ranks: no rank holds the network whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import nn
from torch.func import functional_call

from lla.errors import ConfigurationError, ProblemError
from lla.problem.dataset import Batch
from lla.problem.objective import Objective, Terms, copied
from lla.problem.problem import Problem
from lla.problem.sharding.gathering import forgetting, summed
from lla.problem.sharding.modules import shelf_of
from lla.problem.sharding.shards import Shards, place_buffers, sharded
from lla.team import Team

__all__ = ["ShardedProblem"]

T = TypeVar("T")


@dataclass(frozen=True)
class ShardedProblem(Problem):
    """A problem of which each rank holds a share of the parameters, and computes a share of sums.

    The loss is a function of all ranks' shares together. What a rank calls, all call in the same
    order; every rank has the whole loss, and differentiates it by its own share.

    Attributes:
        theta: This rank's share of the analysed parameters, shape (S,): see :class:`Layout`.
        shards: How they are cut.
    """

    shards: Shards = field(kw_only=True)

    @classmethod
    def of(cls, problem: Problem, team: Team) -> ShardedProblem:
        """A problem that each rank holds whole, shared among ranks; what was held stays held."""
        module = copied(problem.module)
        theta, shards = sharded(
            module, problem.space, team, problem.theta.device, problem.theta.dtype
        )
        objective = Objective(module, problem.objective.loss)
        known = {**vars(problem), "objective": objective, "theta": theta, "relatives": None}
        known["team"] = team
        return cls(**known, shards=shards)

    @property
    def home(self) -> torch.device:
        """Where vectors of all parameters are: in host memory, which holds more of them."""
        return self.shards.home

    def held(self) -> dict[str, int]:
        """What of the parameters this rank holds, in numbers for a report."""
        tensors = (self.theta, *self.shards.frozen)
        return {
            "parameters": sum(len(tensor) for tensor in tensors),
            "parameter_bytes": sum(tensor.untyped_storage().nbytes() for tensor in tensors),
            "put_together_bytes_at_most": self.shards.meter.peak,
        }

    def share(self, given: Sequence[Batch] | None = None) -> Iterator[Batch]:
        """All batches, on every rank: it is :meth:`terms` that cuts each of them."""
        yield from self.batches(given)

    def summed(self, sums: torch.Tensor) -> torch.Tensor:
        """The sums: they are of all ranks already."""
        return sums

    def decided(self, action: Callable[[Problem], T]) -> T:
        """What rank 0 finds; all ranks act, because none has a problem by itself."""
        return self.team.broadcast(action(self))

    def others(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Parameters that are not analysed, put together one by one, and buffers."""
        frozen = self.shards.parts[len(self.space.names) :]
        for part, piece in zip(frozen, self.shards.frozen, strict=True):
            yield part.name, part.joined(piece)
        yield from self.module.named_buffers()

    def alone(self) -> Problem:
        """Refused: a rank by itself has no network."""
        raise ConfigurationError(
            "parameters that are shared among ranks cannot be used by one rank alone",
            "leave --shard-parameters out",
        )

    def share_of(self, vectors: torch.Tensor) -> torch.Tensor:
        """This rank's share of vectors of all parameters, on the device: (…, P) to (…, S)."""
        return self.shards.layout.share_of(vectors).to(self.theta.device)

    def whole_of(self, shares: torch.Tensor) -> torch.Tensor:
        """The vectors of which each rank has its share, at home: (…, S) to (…, P)."""
        return self.shards.layout.whole_of(shares.to(self.home), self.team)

    def terms(
        self,
        theta: torch.Tensor,
        batch: Batch,
        buffers: Mapping[str, torch.Tensor] | None = None,
    ) -> Terms:
        """Loss terms of a batch, of whose samples each rank has put its share through.

        Differentiable by ``theta``, the rank's share of the parameters, shape (S,), if all ranks
        differentiate.
        """
        team = self.team
        share = team.share(batch.samples)
        idle = share.start == share.stop
        # All have to put parameters together, with samples or without.
        mine = batch.select(slice(0, 1) if idle else share)
        named = {f"module.{name}": part for name, part in (buffers or {}).items()}
        with self.shards.at(theta), forgetting(self.shards.meter):
            terms: Terms = (
                functional_call(self.objective, named, (mine,), tie_weights=False)
                if named
                else self.objective(mine)
            )
        correct, predictions = terms.correct or (terms.weight, terms.weight)
        parts = (terms.total, terms.weight, correct, predictions)
        factor = 0.0 if idle else 1.0
        order = float(self.shards.meter.order)
        checks = parts[0].new_tensor([order, order**2], dtype=torch.float64)
        given = torch.stack([factor * part.to(torch.float64) for part in parts])
        sums = summed(torch.cat([given, checks]), team)
        _refuse_disorder(sums.detach()[-2:], team)
        total = sums[0].to(terms.total.dtype)
        weight, correct, predictions = (
            one.to(part.dtype) for one, part in zip(sums.detach()[1:4], parts[1:], strict=True)
        )
        return Terms(total, weight, (correct, predictions) if terms.correct else None)

    def _cast(self, kind: torch.dtype, cast: Callable[[nn.Module], nn.Module]) -> Problem:
        """As of any problem; the copy of the network is one of its modules and buffers."""
        whole = self.data.whole.in_dtype(kind)
        objective = copied(self.objective)
        place_buffers(objective, self.theta.device, kind)
        shelf = shelf_of(objective.module)
        shelf.kind = kind
        return self.altered(
            objective=objective,
            theta=self.theta.to(kind),
            data=replace(self.data, inputs=whole.inputs, targets=whole.targets),
            domains={},
            shards=replace(
                self.shards,
                shelf=shelf,
                frozen=tuple(piece.to(kind) for piece in self.shards.frozen),
            ),
        )

    def altered(self, **changes: Any) -> ShardedProblem:
        """The same problem but for some attributes."""
        return replace(self, **changes)

    def replica(self, device: torch.device) -> Problem:
        """Refused: another thread would put parameters together in an order of its own."""
        raise ConfigurationError(
            "parameters that are shared among ranks cannot be used by several threads of a rank",
            "leave the number of workers at 1",
        )

    @contextmanager
    def second_order(self) -> Iterator[None]:
        """As of any problem; and what is saved for the second derivative is no parameter."""
        with ExitStack() as stack:
            stack.enter_context(super().second_order())
            stack.enter_context(forgetting(self.shards.meter))
            yield


def _refuse_disorder(sums: torch.Tensor, team: Team) -> None:
    """Refuse where ranks did not put the same parameters together in the same order.

    Args:
        sums: Σ d and Σ d² of the ranks' digests d, whole numbers: n Σ d² = (Σ d)² if and only if
            all n are equal, and all ranks see whether they are.
        team: The ranks.

    Raises:
        ProblemError: They did not.
    """
    first, second = (int(one) for one in sums.tolist())
    if team.size * second != first**2:
        raise ProblemError(
            "which parameters the network uses depends on the samples: ranks with other samples "
            "put other parameters together",
            "analyse it where one device holds all parameters: leave --shard-parameters out",
        )
