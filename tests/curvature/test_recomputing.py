"""Blocks that are computed again: the same products, and less memory."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lla.curvature import GaussNewton, Hessian, Way
from lla.curvature.recomputing import blocks_of
from lla.curvature.tight import recomputable
from lla.problem import Problem, from_objects
from sample_checkpoints.models import charlm, digits_vit
from tests.oracles import columns


class Mixed(nn.Module):
    """A block of convolutions with a keyword, a constant beside its input, and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.gate = nn.Linear(3, 3)

    def forward(
        self, pair: tuple[torch.Tensor, torch.Tensor], *, scale: torch.Tensor, times: int = 1
    ) -> dict[str, torch.Tensor]:
        x, gates = pair
        for _ in range(times):
            x = torch.tanh(self.norm(self.conv(x))) * scale
        gates = gates + self.gate(x.mean(dim=(2, 3)))
        return {"x": x + gates[:, :, None, None], "gates": gates}


class Stacked(nn.Module):
    def __init__(self, shared: nn.Linear | None = None) -> None:
        super().__init__()
        self.parts = nn.ModuleList(Mixed() for _ in range(3))
        self.head = nn.Linear(3, 2)
        self.register_buffer("scale", torch.tensor(0.7))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gates = x.new_zeros(len(x), 3)
        for part in self.parts:
            found = part((x, gates), scale=self.scale, times=2)
            x, gates = found["x"], found["gates"]
        return self.head(gates + x.mean(dim=(2, 3)))


def stacked(**options: object) -> Problem:
    torch.manual_seed(0)
    module = Stacked()
    for part in module.parts:
        part.norm.running_mean.normal_()
        part.norm.running_var.uniform_(0.5, 2)
    data = (torch.randn(5, 3, 4, 4), torch.randint(0, 2, (5,)))
    return from_objects(module, data, dtype="float64", **options)


def text(**options: object) -> Problem:
    torch.manual_seed(0)
    tokens = torch.randint(0, 32, (3, 12))
    options = {"dtype": "float64", **options}
    return from_objects(charlm(depth=3, dim=16), (tokens[:, :-1], tokens[:, 1:]), **options)


def images(**options: object) -> Problem:
    torch.manual_seed(0)
    data = (torch.randn(3, 1, 8, 8), torch.randint(0, 10, (3,)))
    return from_objects(digits_vit(depth=3, dim=16), data, dtype="float64", **options)


def names_of(problem: Problem) -> tuple[str, ...]:
    batch = next(problem.data.chunks())
    return blocks_of(problem.module, lambda: problem.terms(problem.theta, batch))


@pytest.mark.parametrize("make", [stacked, text, images])
@pytest.mark.parametrize("params", [(), ("*.1.*",), ("*.0.*", "head.*")])
@pytest.mark.parametrize("operator", [Hessian, GaussNewton])
def test_products_are_those_of_graphs_that_are_held(make, params, operator) -> None:
    problem = make(params=params, batch_size=2)
    names = names_of(problem)
    assert len(names) == 3
    vectors = torch.randn(2, problem.space.size, dtype=torch.float64)
    expected = operator(problem)(vectors)
    for memory in (0, 1 << 30):
        again = operator(problem, way=Way(recompute=names), memory=memory)
        for _ in range(2):  # the second time on kept graphs
            off = torch.linalg.vector_norm(again(vectors) - expected)
            assert float(off) <= 1e-12 * float(torch.linalg.vector_norm(expected))


def test_the_whole_matrix_is_the_dense_hessian() -> None:
    problem = stacked(params=("parts.1.gate.*", "parts.2.norm.*", "head.*"))
    batch = next(problem.data.chunks())

    def loss(theta: torch.Tensor) -> torch.Tensor:
        terms = problem.terms(theta, batch)
        return terms.total / terms.weight

    expected = torch.autograd.functional.hessian(loss, problem.theta)
    found = columns(Hessian(problem, way=Way(recompute=names_of(problem))), problem.space.size)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_the_network_is_left_as_it_was() -> None:
    problem = stacked()
    before = [part.forward.__func__ for part in problem.module.parts]
    assert float(Hessian(problem, way=Way(recompute=names_of(problem)))(problem.theta).norm()) > 0
    assert [part.forward.__func__ for part in problem.module.parts] == before
    assert not any("forward" in vars(part) for part in problem.module.modules())


def test_graphs_hold_what_goes_from_block_to_block() -> None:
    """Of eight layers of attention, less than an eighth of what they hold in full."""
    torch.manual_seed(0)
    tokens = torch.randint(0, 32, (2, 64))
    problem = from_objects(charlm(depth=8), (tokens, tokens))
    batch = next(problem.data.chunks())
    held = Hessian(problem).graph_bytes(batch)
    less = Hessian(problem, way=Way(recompute=names_of(problem))).graph_bytes(batch)
    assert less < held / 8


class Twice(nn.Module):
    """The first block is gone through twice."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(4)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, *rest = self.body
        x = first(first(x))
        for part in rest:
            x = part(x)
        return x


def test_blocks_are_called_once_each() -> None:
    data = (torch.randn(4, 4), torch.randint(0, 4, (4,)))
    assert names_of(from_objects(Twice(), data)) == ("body.1", "body.2", "body.3")
    # Plain layers in a sequence are no blocks, and one block is none.
    plain = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    assert names_of(from_objects(plain, data)) == ()


class Borrowing(nn.Module):
    """A block that takes the first layer's weight as well, by a way that modules do not show."""

    def __init__(self, first: nn.Linear, share: float) -> None:
        super().__init__()
        self.own, self.act = nn.Linear(4, 4), nn.Tanh()
        self.borrowed, self.share = [first], share

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.own(x) + self.share * F.linear(x, self.borrowed[0].weight))


class Borrowed(nn.Module):
    def __init__(self, share: float) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.body = nn.ModuleList(Borrowing(self.first, share) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for part in self.body:
            x = part(x)
        return x


def test_a_block_that_would_lose_a_slope_is_found_out() -> None:
    torch.manual_seed(0)
    data = (torch.randn(4, 4), torch.randint(0, 4, (4,)))
    assert recomputable(stacked()) == ("parts.0", "parts.1", "parts.2")
    assert len(recomputable(from_objects(Borrowed(0.0), data))) == 3
    assert recomputable(from_objects(Borrowed(0.1), data)) == ()
