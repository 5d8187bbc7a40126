"""How a chunk's products are made, and the two ways in which that fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

__all__ = ["ONE_BY_ONE", "Way", "lacks_second_derivative", "out_of_memory", "refuses_another"]


@dataclass(frozen=True)
class Way:
    """How a chunk's products are made.

    All but "difference" change time and memory, and results to rounding only.

    Attributes:
        method: "reverse" differentiates the gradient's graph backwards, which can be kept between
            products; "forward" differentiates the gradient forwards, several vectors at once
            under ``vmap``; "difference" approximates by central differences of gradients, for
            networks that have no second derivative.
        together: Vectors that one pass takes.
        step: Distance from θ at which "difference" takes gradients; 0 to choose it.
    """

    method: Literal["reverse", "forward", "difference"] = "reverse"
    together: int = 1
    step: float = 0.0

    @property
    def approximate(self) -> bool:
        """Whether products are off by more than rounding."""
        return self.method == "difference"


ONE_BY_ONE = Way()


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that memory ran out, on a GPU or on the CPU."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return any(words in str(error) for words in ("not enough memory", "can't allocate memory"))


def lacks_second_derivative(error: RuntimeError) -> bool:
    """Whether an error says that an operation has a first derivative only.

    torch has no class for it: a backward pass without a derivative, one that is marked
    ``once_differentiable``, and kernels that refuse each have their own words.
    """
    words = ("is not implemented", "once_differentiable", "differentiate twice", "double backward")
    return isinstance(error, NotImplementedError) or any(part in str(error) for part in words)


def refuses_another(slope: torch.Tensor) -> bool:
    """Whether some operation behind a gradient is marked as differentiable once only.

    What ``once_differentiable`` leaves in the graph raises only where differentiation passes
    through it, and it has no inputs: a derivative by parameters goes around, and silently leaves
    out what that operation adds.
    """
    seen: set[torch.autograd.graph.Node] = set()
    ahead = [slope.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        if node.name() == "torch::autograd::Error":
            return True
        seen.add(node)
        ahead += [following for following, _ in node.next_functions]
    return False
