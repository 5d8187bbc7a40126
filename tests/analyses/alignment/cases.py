"""Small networks with a linear head, and two or three domains."""

from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as F

from lla.problem import Dataset, LossSpec, Problem, from_objects
from lla.problem.inputs import in_dtype

CLASSES, WIDTH = 3, 4


class Net(nn.Module):
    """Features by a tanh layer, and a linear head."""

    def __init__(self, outputs: int = CLASSES, bias: bool = True) -> None:
        super().__init__()
        self.body = nn.Linear(5, WIDTH)
        self.head = nn.Linear(WIDTH, outputs, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.body(x)))


def inputs_of(count: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 5, generator=generator, dtype=torch.float64) + shift


def labels_of(count: int, seed: int, classes: int = CLASSES) -> torch.Tensor:
    return torch.randint(0, classes, (count,), generator=torch.Generator().manual_seed(seed + 100))


def problem_of(
    net: nn.Module | None = None, loss: str | LossSpec = "cross_entropy", **more
) -> Problem:
    torch.manual_seed(1)
    made = Net() if net is None else net
    data = more.pop("data", (inputs_of(20, 0), labels_of(20, 0)))
    return from_objects(made, data, loss, dtype="float64", batch_size=7, **more)


def domain(problem: Problem, inputs: torch.Tensor, targets: torch.Tensor) -> Dataset:
    kind = problem.theta.dtype
    return replace(problem.data, inputs=in_dtype(inputs, kind), targets=in_dtype(targets, kind))


def three(problem: Problem) -> list[Dataset]:
    """Three domains of different sizes and shifts."""
    return [
        domain(problem, inputs_of(count, seed, shift), labels_of(count, seed))
        for count, seed, shift in ((20, 0, 0.0), (31, 1, 0.5), (17, 2, -1.0))
    ]


def features_of(net: Net, inputs: torch.Tensor) -> torch.Tensor:
    """Features with a 1 behind."""
    with torch.no_grad():
        found = torch.tanh(F.linear(inputs, net.body.weight, net.body.bias))
    return torch.cat([found, torch.ones(len(found), 1, dtype=found.dtype)], dim=1)
