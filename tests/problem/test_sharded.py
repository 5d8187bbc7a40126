"""Parameters that are shared among ranks: every number is that of one process."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from lla.curvature import gradient, operator_of
from lla.errors import ProblemError
from lla.problem import ParameterSpace, Problem, from_objects
from lla.problem.problem import Objective
from lla.problem.sharded import ShardedProblem
from lla.team import Team
from tests.threads import ThreadTeam, on_threads


class Mlp(nn.Module):
    """A scalar parameter, a single row, sizes that no number of ranks divides."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 7), nn.Linear(7, 5)
        self.last = nn.Linear(5, 1)
        self.scale = nn.Parameter(torch.tensor(1.3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.first(x))
        hidden = torch.tanh(self.second(hidden) * self.scale)
        return self.last(hidden)


class Conv(nn.Module):
    """Convolutions and batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Tanh(), nn.Conv2d(3, 4, 3)
        )
        self.head = nn.Linear(4, 3)
        self.body[1].running_mean.uniform_(-0.3, 0.3)
        self.body[1].running_var.uniform_(0.5, 2.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


class Attention(nn.Module):
    """Attention with tied embeddings, a weight that another module uses, and a frozen one."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(11, 6), nn.Embedding(5, 6)
        self.norm = nn.LayerNorm(6)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.recurrent = nn.GRU(6, 6, batch_first=True)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.tokens.weight
        self.places.weight.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.tokens(x) + self.places.weight[: x.shape[1]]
        normed = self.norm(hidden)
        hidden = hidden + self.attention(normed, normed, normed, need_weights=False)[0]
        hidden = hidden + self.recurrent(hidden)[0]
        return self.head(hidden) + 0.1 * F.linear(hidden, self.tokens.weight).sin()


@dataclass
class Case:
    """A network, its data and loss."""

    module: nn.Module
    data: tuple[torch.Tensor, torch.Tensor]
    loss: Any


def penalized(module: nn.Module, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """A loss that lists the network's parameters."""
    error = (module(batch.inputs) - batch.targets).square().sum()
    decay = sum(part.square().sum() for part in module.parameters())
    return error + 0.01 * batch.samples * decay, torch.tensor(batch.samples)


def case(name: str) -> Case:
    torch.manual_seed(0)
    if name == "mlp":
        return Case(Mlp(), (torch.randn(7, 3), torch.randn(7, 1)), "mse")
    if name == "decay":
        return Case(Mlp(), (torch.randn(7, 3), torch.randn(7, 1)), penalized)
    if name == "conv":
        data = torch.randn(7, 1, 6, 6), torch.randint(0, 3, (7,))
        return Case(Conv(), data, "cross_entropy")
    tokens = torch.randint(0, 11, (7, 5))
    return Case(Attention(), (tokens, tokens.roll(1, 1)), "cross_entropy")


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    error = torch.linalg.vector_norm(found - wanted) / torch.linalg.vector_norm(wanted)
    assert float(error) < 1e-12


def stated(name: str, chunk: int) -> Problem:
    found = case(name)
    return from_objects(found.module, found.data, found.loss, batch_size=chunk, dtype="float64")


@pytest.fixture(autouse=True)
def flags(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ranks that are threads share torch's flags: set once for all of them."""
    monkeypatch.setattr("lla.curvature.operators.kernels_of", lambda precision: nullcontext())
    monkeypatch.setattr("lla.problem.problem.sdpa_kernel", lambda backend: nullcontext())
    monkeypatch.setattr(torch.backends.cudnn, "flags", lambda **flags: nullcontext())
    with sdpa_kernel(SDPBackend.MATH):
        yield


@pytest.mark.parametrize("name", ["mlp", "decay", "conv", "attention"])
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

    on_threads(ranks, one)


class Watching(ThreadTeam):
    """A team that counts the storages of parameters that it joins, as long as they live."""

    held = peak = 0

    def joined(self, part: torch.Tensor, count: int, dim: int = -1) -> torch.Tensor:
        found = super().joined(part, count, dim)
        if part.ndim > 1:
            return found  # blocks of vectors, at home
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
    return from_objects(nn.Sequential(*parts), data, "mse", dtype="float64")


@pytest.mark.parametrize("layers", [4, 12])
def test_no_rank_holds_the_network(layers: int) -> None:
    """What is put together at a time is of one layer, however many there are."""
    width, ranks = 32, 2
    alone = deep(layers, width)
    layer = 8 * (width + 1) * width
    vector = torch.randn(alone.space.size, dtype=torch.float64)
    wanted = operator_of("hessian", alone)(vector)

    def one(team: ThreadTeam) -> None:
        problem = ShardedProblem.of(alone, team)
        assert problem.theta.untyped_storage().nbytes() == layers * layer / ranks
        assert not list(problem.module._parameters)
        assert team.peak == 0
        for run in (lambda: problem.evaluate(problem.theta), lambda: operator(vector)):
            operator = operator_of("hessian", problem)
            watched = problem.shards.meter
            watched.peak = team.peak = 0
            run()
            assert watched.peak == team.peak == layer
            assert watched.held == team.held == 0
        close(operator(vector), wanted)

    on_threads(ranks, one, Watching)


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
        on_threads(
            2,
            lambda team: operator_of("hessian", ShardedProblem.of(problem, team)).on(
                [alone.data.whole]
            )(torch.zeros(8, dtype=torch.float64)),
        )
