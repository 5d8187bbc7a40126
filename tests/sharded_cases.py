"""Networks with all that sharing their parameters may stumble over, their data and losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["CASES", "Case", "case"]

CASES = ("mlp", "decay", "conv", "attention")


class Mlp(nn.Module):
    """A scalar parameter, a single row, tied weights, sizes that no number of ranks divides."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 7), nn.Linear(7, 5)
        self.third, self.last = nn.Linear(5, 5), nn.Linear(5, 1)
        self.fourth = nn.Linear(5, 5)
        self.fourth.weight = self.third.weight
        self.scale = nn.Parameter(torch.tensor(1.3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.first(x))
        hidden = torch.tanh(self.second(hidden) * self.scale)
        return self.last(torch.tanh(self.fourth(torch.tanh(self.third(hidden)))))


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
