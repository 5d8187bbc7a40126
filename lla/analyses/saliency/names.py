"""Names of virtual layers, aggregations and of the methods that are one pair of them.

Plain values: settings and figures read them, and neither loads torch.
"""

from __future__ import annotations

from itertools import product
from typing import Literal, NamedTuple, get_args

__all__ = [
    "AGGREGATIONS",
    "INPUT",
    "METHODS",
    "VIRTUAL",
    "Aggregation",
    "Method",
    "MethodName",
    "Pair",
    "Virtual",
    "all_pairs",
    "parse_pair",
]

Virtual = Literal["bias", "scaling", "conv1x1", "conv3x3", "depthwise3x3", "real"]
Aggregation = Literal["norm", "positive_norm", "sum", "max", "max_abs"]
MethodName = Literal[
    "normgrad", "selective_normgrad", "gradient", "input_x_gradient", "linear", "grad_cam"
]

VIRTUAL: tuple[Virtual, ...] = get_args(Virtual)
AGGREGATIONS: tuple[Aggregation, ...] = get_args(Aggregation)

INPUT: Literal["input"] = "input"
"""The name of the images themselves among the layers."""


class Pair(NamedTuple):
    """A virtual layer (phase 1) and an aggregation over its contribution (phase 2)."""

    virtual: Virtual
    aggregation: Aggregation

    def __str__(self) -> str:
        return f"{self.virtual}/{self.aggregation}"


class Method(NamedTuple):
    """A published method as a pair.

    Attributes:
        pair: The phases.
        at: The layer it is meant for: "input", "last" (the last one chosen automatically), or ""
            for one of each resolution.
        averaged: Whether the gradient is first averaged over locations, and a negative map cut
            off at zero in the end.
    """

    pair: Pair
    at: Literal["", "input", "last"] = ""
    averaged: bool = False


METHODS: dict[MethodName, Method] = {
    "normgrad": Method(Pair("conv1x1", "norm")),
    "selective_normgrad": Method(Pair("conv1x1", "positive_norm")),
    "gradient": Method(Pair("bias", "max_abs"), INPUT),
    "input_x_gradient": Method(Pair("scaling", "sum"), INPUT),
    "linear": Method(Pair("scaling", "sum"), "last"),
    "grad_cam": Method(Pair("scaling", "sum"), "last", averaged=True),
}


def all_pairs(*, real: bool = False) -> tuple[Pair, ...]:
    """Every virtual layer with every aggregation.

    Args:
        real: With the layer's own convolution, which only convolutions and linear layers have.
    """
    layers = VIRTUAL if real else tuple(name for name in VIRTUAL if name != "real")
    return tuple(Pair(one, other) for one, other in product(layers, AGGREGATIONS))


def parse_pair(text: str) -> Pair:
    """Read ``virtual/aggregation``.

    Raises:
        ValueError: One of the two does not exist.
    """
    first, _, second = text.partition("/")
    for virtual in VIRTUAL:
        for aggregation in AGGREGATIONS:
            if (first, second) == (virtual, aggregation):
                return Pair(virtual, aggregation)
    raise ValueError(
        f"'{text}' is no pair of a virtual layer ({', '.join(VIRTUAL)}) and an aggregation "
        f"({', '.join(AGGREGATIONS)}), as conv1x1/norm"
    )
