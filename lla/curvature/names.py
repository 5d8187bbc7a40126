"""What curvature matrices and ways of multiplying them are called in settings; loads no torch."""

from __future__ import annotations

from typing import Literal

__all__ = ["OPERATORS", "Method", "OperatorName", "Precision"]

OperatorName = Literal["hessian", "ggn", "fisher", "empirical_fisher"]
OPERATORS: dict[OperatorName, str] = {
    "hessian": "Hessian",
    "ggn": "generalized Gauss–Newton matrix",
    "fisher": "Fisher matrix, targets drawn from the model",
    "empirical_fisher": "empirical Fisher matrix",
}
Method = Literal["auto", "reverse", "forward", "difference"]
Precision = Literal["same", "tf32", "bfloat16"]
