"""Sums over samples on many ranks are those of one, whatever the shares are."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd.function import once_differentiable

from lla.curvature import Hessian, gradient, operator_of
from lla.curvature.samples import SampleForms
from lla.curvature.sampling import groups_of
from lla.errors import NoSecondDerivativeError, ProblemError, RankFailedError
from lla.execution import memory_of
from lla.krylov import Search, extreme_eigenpairs
from lla.krylov.basis import Basis
from lla.krylov.known import Known
from lla.krylov.lanczos import Krylov
from lla.problem import LossSpec, Problem, from_objects
from lla.seeding import gaussian
from lla.settings import resolve
from lla.sources import Source
from lla.team import share_of
from tests.distributed.threads import ThreadTeam, on_ranks

SAMPLES = 11  # over two and three ranks: shares of unequal size


def problem_of(*, samples: int = SAMPLES, chunk: int = 3, ignored: bool = False) -> Problem:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))
    x, y = torch.randn(samples, 3), torch.randint(0, 3, (samples,))
    if ignored:  # samples of no weight: shares weigh unequally
        y[1:6] = -100
    return from_objects(
        network, (x, y), LossSpec(name="cross_entropy"), batch_size=chunk, dtype="float64"
    )


def dense_hessian(problem: Problem) -> torch.Tensor:
    """By torch's own double differentiation of the mean loss."""

    def mean(theta: torch.Tensor) -> torch.Tensor:
        terms = problem.terms(theta, problem.data.whole)
        return terms.total / terms.weight

    found: torch.Tensor = torch.autograd.functional.hessian(mean, problem.theta)
    return found.detach()


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 5, 12])
def test_shares_are_disjoint_and_leave_nothing_out(count: int, size: int) -> None:
    shares = [share_of(count, rank, size) for rank in range(size)]
    assert [place for share in shares for place in range(share.start, share.stop)] == list(
        range(count)
    )
    lengths = [share.stop - share.start for share in shares]
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("samples", [SAMPLES, 2])  # of two samples, one of three ranks has none
@pytest.mark.parametrize("size", [2, 3])
def test_products_gradients_and_losses(size: int, samples: int) -> None:
    problem = problem_of(samples=samples, ignored=samples == SAMPLES)
    matrix = dense_hessian(problem)
    block = torch.stack([gaussian(problem.space.size, 0, "test", k) for k in range(3)])
    leaf = problem.theta.clone().requires_grad_(True)
    terms = problem.terms(leaf, problem.data.whole)
    (slope,) = torch.autograd.grad(terms.total / terms.weight, leaf)

    def found(team: ThreadTeam) -> tuple[torch.Tensor, ...]:
        mine = problem.replica(problem.device).shared_by(team)
        evaluation = mine.evaluate(mine.theta)
        values = torch.tensor(evaluation[:3], dtype=torch.float64)
        operator = Hessian(mine, memory=1 << 30)
        return operator(block), operator(block[0]), gradient(mine), values

    for products, one, slopes, values in on_ranks(size, found):
        torch.testing.assert_close(products, block @ matrix, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(one, matrix @ block[0], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(slopes, slope, rtol=1e-10, atol=1e-14)
        loss = float(terms.total.detach() / terms.weight)
        assert values[0].item() == pytest.approx(loss, rel=1e-12)
        assert values[2].item() == float(terms.weight)


@pytest.mark.parametrize("name", ["ggn", "empirical_fisher", "fisher"])
def test_other_matrices_and_their_samples(name: str) -> None:
    problem = problem_of()
    block = torch.stack([gaussian(problem.space.size, 0, "test", k) for k in range(2)])
    weights = torch.rand(2, SAMPLES, dtype=torch.float64)
    groups = groups_of(SAMPLES, problem.device)

    def found(team: ThreadTeam | None) -> tuple[torch.Tensor, ...]:
        mine = problem if team is None else problem.replica(problem.device).shared_by(team)
        operator = operator_of(name, mine)  # type: ignore[arg-type]
        forms = SampleForms(mine).forms(block, weights)
        return (operator(block), *operator.over_groups(block, groups), *forms)

    expected = found(None)
    for parts in on_ranks(3, found):
        for part, whole in zip(parts, expected, strict=True):
            torch.testing.assert_close(part, whole, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("size", [2, 3])
def test_a_basis_in_columns_is_the_basis(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lla.krylov.basis._ROWS", 3)
    monkeypatch.setattr("lla.krylov.basis._COLUMNS", 2)
    rows = torch.linalg.qr(torch.randn(13, 7, dtype=torch.float64))[0].T.contiguous()
    turn = torch.linalg.qr(torch.randn(5, 3, dtype=torch.float64))[0].T.contiguous()
    expected = torch.cat([turn @ rows[:5], rows[5:]])
    block, coordinates = torch.randn(2, 13).double(), torch.randn(2, 5).double()
    places = [slice(0, 2), slice(5, 6), slice(6, 12)]

    def found(team: ThreadTeam) -> tuple[torch.Tensor, ...]:
        basis = Basis(13, torch.device("cpu"), team=team)
        basis.append(rows[:5])
        basis.compress(turn)
        basis.append(rows[5:])
        rest = block.clone()
        removed = basis.remove(rest)
        held = sum(slab.shape[1] for slab in basis._slabs) / len(basis._slabs)
        assert held <= -(-13 // size)  # columns of its own alone
        return (
            basis.matrix(), basis.project(block), basis.combine(coordinates), removed, rest,
            basis.gram(places),
        )  # fmt: skip

    over = torch.cat([expected[:, place] for place in places], dim=1)
    answers = (
        expected, expected @ block.T, coordinates @ expected, expected @ block.T,
        block - block @ expected.T @ expected, over @ over.T,
    )  # fmt: skip
    for parts in on_ranks(size, found):
        for part, answer in zip(parts, answers, strict=True):
            torch.testing.assert_close(part, answer, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("size", [2, 3])
def test_what_a_space_knows_is_the_same_in_columns(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lla.krylov.basis._COLUMNS", 2)
    rows = torch.linalg.qr(torch.randn(13, 7, dtype=torch.float64))[0].T.contiguous()
    inner, coupling = torch.randn(5, 5).double(), torch.randn(2, 5).double()
    inner = inner + inner.T
    places = [slice(0, 2), slice(5, 6), slice(6, 13)]
    across = rows[5:].T @ coupling @ rows[:5]
    dense = rows[:5].T @ inner @ rows[:5] + across + across.T

    def found(team: ThreadTeam) -> tuple[torch.Tensor, torch.Tensor]:
        basis = Basis(13, torch.device("cpu"), team=team)
        basis.append(rows[:5])
        known = Known.of(Krylov(basis, inner.numpy(), rows[5:], coupling.numpy(), 3, 5))
        return torch.from_numpy(known.traces(places)), known.diagonal()

    diagonal = dense.diagonal()
    traces = torch.stack([diagonal[place].sum() for place in places])
    for own, along in on_ranks(size, found):
        torch.testing.assert_close(own, traces, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(along, diagonal, rtol=1e-12, atol=1e-13)


def test_eigenpairs_with_a_restarted_basis_in_columns() -> None:
    problem = problem_of()
    values = torch.linalg.eigvalsh(dense_hessian(problem)).flip(0)

    def found(team: ThreadTeam) -> tuple[torch.Tensor, bytes]:
        operator = Hessian(problem.replica(problem.device).shared_by(team))
        search = Search(2, 1, 1e-9, 200, rows=16)
        pairs = extreme_eigenpairs(operator, lambda k: gaussian(operator.size, 0, "t", k), search)
        return torch.from_numpy(pairs.values), pairs.vectors.numpy().tobytes()

    first, second, third = on_ranks(3, found)
    assert first[1] == second[1] == third[1]  # the same bits: the same decisions
    expected = torch.cat([values[:2], values[-1:]])
    torch.testing.assert_close(first[0], expected, rtol=1e-9, atol=1e-12)


def test_all_ranks_step_down_where_one_is_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others give up the same, and the products stay right."""
    problem = problem_of()
    block = torch.stack([gaussian(problem.space.size, 0, "test", k) for k in range(3)])
    expected = block @ dense_hessian(problem)

    def found(team: ThreadTeam, lasting: bool = False) -> tuple[torch.Tensor, list[str]]:
        given_up: list[str] = []
        mine = problem.replica(problem.device).shared_by(team)
        operator = Hessian(mine, memory=1 << 30, on_step_down=given_up.append)
        build, tight = operator._build, team.rank == 1

        def failing(batch):  # type: ignore[no-untyped-def]
            if tight and (lasting or batch.samples > 1):
                raise RuntimeError("not enough memory: you tried to allocate 1 byte")
            return build(batch)

        monkeypatch.setattr(operator, "_build", failing)
        return operator(block), given_up

    for products, given_up in on_ranks(2, found):
        torch.testing.assert_close(products, expected, rtol=1e-10, atol=1e-12)
        assert given_up == ["graphs made anew", "chunks of 2", "chunks of 1"]
    with pytest.raises((RankFailedError, RuntimeError), match=r"memory") as caught:
        on_ranks(2, lambda team: found(team, lasting=True))
    if isinstance(caught.value, RankFailedError):
        assert caught.value.rank == 1


class Once(torch.autograd.Function):
    """A square that can be differentiated once."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return 2 * slope * x


class Bent(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Once.apply(super().forward(x))  # type: ignore[no-untyped-call,no-any-return]


def test_a_rank_without_samples_is_told_that_there_is_no_second_derivative() -> None:
    data = torch.randn(2, 3), torch.tensor([0, 2])
    problem = from_objects(Bent(3, 3), data, LossSpec(name="cross_entropy"), dtype="float64")

    def found(team: ThreadTeam) -> str:
        operator = Hessian(problem.replica(problem.device).shared_by(team))
        try:
            operator(gaussian(operator.size, 0, "test", 0))
        except NoSecondDerivativeError:
            return "told"
        return "went on"

    assert on_ranks(3, found) == ["told"] * 3


def test_the_smallest_budget_of_all_ranks_is_everyone_s() -> None:
    budgets = (5 << 30, 2 << 30, 3 << 30)

    def found(team: ThreadTeam) -> int:
        given = Source("flags", {"run": {"memory": budgets[team.rank]}})
        return memory_of(resolve([given]), torch.device("cpu"), team)

    assert on_ranks(3, found) == [2 << 30] * 3


def test_a_batch_that_may_not_be_cut_is_one_rank_s() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    data = torch.randn(6, 3), torch.randint(0, 3, (6,))
    problem = from_objects(
        network, data, LossSpec(name="cross_entropy"), dtype="float64", batch_norm="batch"
    )
    vector = gaussian(problem.space.size, 0, "test", 0)
    expected, slope = Hessian(problem)(vector), gradient(problem)

    def found(team: ThreadTeam) -> tuple[torch.Tensor, torch.Tensor]:
        mine = problem.replica(problem.device).shared_by(team)
        with pytest.raises(ProblemError, match="statistics of the batch"):
            Hessian(mine).over_groups(vector[None], groups_of(6, mine.device) * 2)
        return Hessian(mine)(vector), gradient(mine)

    for product, own in on_ranks(2, found):
        torch.testing.assert_close(product, expected, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(own, slope, rtol=1e-12, atol=1e-14)
