"""Network and loss as one module, and what a loss is: sums and weights."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import nn

from lla.problem.dataset import Batch

__all__ = ["Evaluation", "LossFunction", "Metric", "Objective", "Terms", "copied"]

M = TypeVar("M", bound=nn.Module)


def copied(module: M, known: dict[int, Any] | None = None) -> M:
    """A copy of a module that shares nothing with it.

    Args:
        module: The module.
        known: What stands in the copy for some of its objects, by their ``id``.
    """
    with warnings.catch_warnings():
        # Copying an exported program meets classes that torch itself is about to rename.
        warnings.filterwarnings("ignore", "`isinstance\\(treespec", FutureWarning)
        return copy.deepcopy(module, known)


class Terms(NamedTuple):
    """What a batch adds to the loss: sums to be added up, then divided once.

    Attributes:
        total: Sum of the losses, a scalar tensor.
        weight: What the sum is divided by in the end: number of samples, tokens or elements.
        correct: Number of right predictions and the number of predictions, or None.
    """

    total: torch.Tensor
    weight: torch.Tensor
    correct: tuple[torch.Tensor, torch.Tensor] | None = None


LossFunction = Callable[[nn.Module, Batch], Terms]


class Evaluation(NamedTuple):
    """Loss and accuracy over all data at one parameter vector; accuracy is NaN without classes.

    ``further`` are the values of the problem's metrics, in their order.
    """

    loss: float
    accuracy: float
    weight: float
    further: tuple[float, ...] = ()


class Metric(Protocol):
    """A further number from the pass that gives the loss."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def version(self) -> str:
        """Digest of the code it comes from."""

    def __call__(self, returned: list[Any], batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum and count of a batch, of what the network returned at each of its calls."""


class Objective(nn.Module):
    """A network and its loss as one module, so that parameters can be replaced for one call."""

    def __init__(self, module: nn.Module, loss: LossFunction) -> None:
        super().__init__()
        self.module = module
        self.loss = loss

    def forward(self, batch: Batch) -> Terms:
        """The loss terms of a batch."""
        return self.loss(self.module, batch)
