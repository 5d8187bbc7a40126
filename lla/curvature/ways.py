"""How a chunk's products are made, and the two ways in which that fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from lla.curvature.names import Precision
from lla.errors import ConfigurationError
from lla.problem import Problem

__all__ = [
    "ONE_BY_ONE",
    "Way",
    "in_precision",
    "kernels_of",
    "lacks_second_derivative",
    "out_of_memory",
    "refuses_another",
]


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
        precision: What products are computed in: "same" is the model's dtype, "tf32" the tensor
            cores' for float32, "bfloat16" a copy of network and data.
        recompute: Names of blocks of the network whose activations are computed again where they
            are needed (:mod:`lla.curvature.recomputing`); with "reverse".
    """

    method: Literal["reverse", "forward", "difference"] = "reverse"
    together: int = 1
    step: float = 0.0
    precision: Precision = "same"
    recompute: tuple[str, ...] = ()

    @property
    def certifying(self) -> Way:
        """The same for float64: one by one, since numbers take twice the memory."""
        return replace(self, together=1, step=0.0, precision="same")

    @property
    def approximate(self) -> bool:
        """Whether products are off by more than rounding."""
        return self.method == "difference"

    @property
    def note(self) -> str:
        """What is to be said of the products where they are not exact to the model's rounding."""
        if self.approximate:
            return " by central differences"
        return {"same": "", "tf32": " in TF32", "bfloat16": " in bfloat16"}[self.precision]

    def eps(self, kind: torch.dtype) -> float:
        """Relative error of a product by a model of that dtype."""
        if self.precision == "tf32":
            return _TF32
        unit = torch.bfloat16 if self.precision == "bfloat16" else kind
        return float(torch.finfo(unit).eps ** (2 / 3 if self.approximate else 1))


ONE_BY_ONE = Way()
_TF32 = 2.0**-10  # ten bits behind the point


def in_precision(problem: Problem, precision: Precision) -> Problem:
    """The problem as products in a precision see it.

    Raises:
        ConfigurationError: Device or dtype do not know the precision.
    """
    if precision == "bfloat16" and problem.theta.dtype != torch.bfloat16:
        return problem.in_bfloat16()
    if precision == "tf32" and problem.device.type != "cuda":
        raise ConfigurationError(
            f"TF32 is a format of NVIDIA's tensor cores, and the device is {problem.device.type}",
            "leave --products out, or use --device cuda; bfloat16 works on any device",
        )
    if precision == "tf32" and problem.theta.dtype != torch.float32:
        raise ConfigurationError(
            "TF32 is a shortcut for float32 products, and the model computes in "
            f"{str(problem.theta.dtype).partition('.')[2]}",
            "leave --products out, or use --dtype float32",
        )
    return problem


@contextmanager
def kernels_of(precision: Precision) -> Iterator[None]:
    """Within it, float32 is computed in TF32 on CUDA if that is the precision, and not otherwise.

    By default torch lets cuDNN's convolutions take TF32, whose error no float32 interval holds.
    """
    cudnn: Any = torch.backends.cudnn
    places: tuple[Any, ...] = (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn)
    before = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = "tf32" if precision == "tf32" else "ieee"
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.fp32_precision = value


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
