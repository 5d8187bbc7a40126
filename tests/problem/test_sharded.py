"""Parameters that are shared among ranks: every number is that of one process."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import nn

from lla.curvature import gradient, operator_of
from lla.errors import ProblemError
from lla.problem import ParameterSpace, Problem, from_objects
from lla.problem.objective import Objective
from lla.problem.sharded import ShardedProblem
from lla.team import Team
from tests.distributed.threads import ThreadTeam, on_ranks
from tests.sharded_cases import CASES, case


def close(found: torch.Tensor, wanted: torch.Tensor, tolerance: float = 1e-12) -> None:
    error = torch.linalg.vector_norm(found - wanted) / torch.linalg.vector_norm(wanted)
    assert float(error) < tolerance


def stated(name: str, chunk: int) -> Problem:
    found = case(name)
    return from_objects(found.module, found.data, found.loss, batch_size=chunk, dtype="float64")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("ranks", "chunk"), [(2, 7), (3, 5)])
def test_as_one_process(name: str, ranks: int, chunk: int) -> None:
    """Loss, gradient and products; with chunks of 5 on 3 ranks, one has nothing of the last."""
    alone = stated(name, chunk)
    size = alone.space.size
    vectors = torch.randn(2, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    wanted = operator_of("hessian", alone)(vectors)
    slope, evaluation = gradient(alone), alone.evaluate(alone.theta)

    def one(team: Team) -> None:
        problem = ShardedProblem.of(alone, team)
        assert problem.space == alone.space
        assert repr(problem.module) == repr(alone.module)
        assert len(problem.theta) <= size / ranks + len(alone.space.names)
        found = problem.evaluate(problem.theta)
        assert found.loss == pytest.approx(evaluation.loss, rel=1e-12)
        assert found.weight == evaluation.weight
        assert found.accuracy == pytest.approx(evaluation.accuracy, nan_ok=True)
        close(gradient(problem), slope)
        close(problem.whole_of(problem.theta), alone.theta)
        operator = operator_of("hessian", problem)
        close(operator(vectors), wanted)
        close(operator_of("hessian", problem.in_float64())(vectors[0]), wanted[0])
        assert problem.shards.meter.held == 0

    on_ranks(ranks, one)


def test_certified_in_float64() -> None:
    """A float32 network's shares, frozen ones and buffers in float64, as of the whole network."""
    for name in ("conv", "attention"):
        found = case(name)
        alone = from_objects(found.module, found.data, found.loss)
        vector = torch.randn(alone.space.size, dtype=torch.float64)
        wanted = operator_of("hessian", alone.in_float64())(vector)

        def one(team: Team, alone: Problem = alone) -> torch.Tensor:
            return operator_of("hessian", ShardedProblem.of(alone, team).in_float64())(vector)  # noqa: B023

        for product in on_ranks(2, one):
            close(product, wanted)


class Watching(ThreadTeam):
    """A team that counts the storages of parameters that it joins, as long as they live."""

    held = peak = 0
    kind = torch.float32  # the network's; vectors are float64

    def joined(self, part: torch.Tensor, count: int, dim: int = -1) -> torch.Tensor:
        found = super().joined(part, count, dim)
        if part.ndim > 1 or part.dtype != self.kind:
            return found  # vectors, at home
        size = found.untyped_storage().nbytes()
        self.held += size
        self.peak = max(self.peak, self.held)
        weakref.finalize(found.untyped_storage(), self.let_go, size)
        return found

    def let_go(self, size: int) -> None:
        self.held -= size


def deep(layers: int, width: int) -> Problem:
    torch.manual_seed(0)
    parts = [part for _ in range(layers) for part in (nn.Linear(width, width), nn.Tanh())]
    data = torch.randn(2, width), torch.randn(2, width)
    return from_objects(nn.Sequential(*parts), data, "mse")


@pytest.mark.parametrize("layers", [4, 12])
def test_no_rank_holds_the_network(layers: int) -> None:
    """What is put together at a time is of one layer, however many there are."""
    width, ranks = 32, 2
    alone = deep(layers, width)
    layer = 4 * (width + 1) * width
    vector = torch.randn(alone.space.size, dtype=torch.float64)
    wanted = operator_of("hessian", alone)(vector)

    def one(team: ThreadTeam) -> None:
        problem = ShardedProblem.of(alone, team)
        assert problem.theta.untyped_storage().nbytes() == layers * layer / ranks
        assert not list(problem.module._parameters)
        assert team.peak == 0
        operator, watched = operator_of("hessian", problem), problem.shards.meter
        runs = (
            lambda: problem.evaluate(problem.theta),
            lambda: gradient(problem),
            lambda: operator(vector),
        )
        for run in runs:
            watched.peak = team.peak = 0
            run()
            assert watched.peak == team.peak == layer
            assert watched.held == team.held == 0
        close(operator(vector), wanted, 1e-5)

    on_ranks(ranks, one, Watching)


class Experts(nn.Module):
    """A network that chooses among its parameters by what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(3, 1), nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.one(x) if float(x[0, 0]) > 0 else self.other(x)


def test_parameters_chosen_by_samples_are_refused() -> None:
    """Not silently mixed: the two experts are alike in shape."""
    data = torch.tensor([[1.0, 0.0, 0.0]] * 3 + [[-1.0, 0.0, 0.0]] * 3), torch.zeros(6, 1)
    alone = from_objects(nn.Linear(3, 1), data, "mse")
    module = Experts()
    problem = alone.altered(
        objective=Objective(module, alone.objective.loss), space=ParameterSpace.of(module)
    )
    with pytest.raises(ProblemError, match="depends on the samples"):
        on_ranks(
            2,
            lambda team: operator_of("hessian", ShardedProblem.of(problem, team)).on(
                [alone.data.whole]
            )(torch.zeros(8, dtype=torch.float64)),
        )
