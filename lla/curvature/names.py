"""What curvature matrices and ways of multiplying them are called in settings; loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["OPERATORS", "Method", "Needs", "OperatorName", "Precision"]

OperatorName = Literal["hessian", "ggn", "fisher", "empirical_fisher"]
OPERATORS: dict[OperatorName, str] = {
    "hessian": "Hessian",
    "ggn": "generalized Gauss–Newton matrix",
    "fisher": "Fisher matrix, targets drawn from the model",
    "empirical_fisher": "empirical Fisher matrix",
}
Method = Literal["auto", "reverse", "forward", "difference"]
Precision = Literal["same", "tf32", "bfloat16"]


@dataclass(frozen=True)
class Needs:
    """What a run is going to hold.

    Attributes:
        rows: Krylov basis vectors, at most.
        least_rows: Without so many there is nothing to begin with.
        vectors: Further vectors of length P held at a time.
        pairs: Eigenpairs that are looked for.
        block: Vectors that the iteration starts from.
        steps: Lanczos steps behind a probe's density.
        diagonal: Whether the diagonal is wanted.
        sketched: Vectors that a sketch for the trace holds.
        others: Vectors that other analyses hold.
    """

    rows: int = 400
    least_rows: int = 20
    vectors: int = 40
    pairs: int = 7
    block: int = 1
    steps: int = 10
    diagonal: bool = False
    sketched: int = 0
    others: int = 0
