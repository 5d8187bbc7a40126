"""Linear operators on parameter space: Hessian, Gauss–Newton and Fisher matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lla.lazy import lazy_exports

if TYPE_CHECKING:
    from lla.curvature.fisher import MonteCarloFisher
    from lla.curvature.gauss_newton import EmpiricalFisher, GaussNewton
    from lla.curvature.hessian import Hessian, batch_curvature, gradient
    from lla.curvature.making import operator_of
    from lla.curvature.names import OPERATORS, OperatorName
    from lla.curvature.operators import SummedOperator
    from lla.curvature.ways import Way

__all__ = [
    "OPERATORS",
    "EmpiricalFisher",
    "GaussNewton",
    "Hessian",
    "MonteCarloFisher",
    "OperatorName",
    "SummedOperator",
    "Way",
    "batch_curvature",
    "gradient",
    "operator_of",
]

# Settings need the names where torch is not: everything else loads on first use.
__getattr__ = lazy_exports(
    __name__,
    {
        "lla.curvature.fisher": ("MonteCarloFisher",),
        "lla.curvature.gauss_newton": ("EmpiricalFisher", "GaussNewton"),
        "lla.curvature.hessian": ("Hessian", "batch_curvature", "gradient"),
        "lla.curvature.making": ("operator_of",),
        "lla.curvature.names": ("OPERATORS", "OperatorName"),
        "lla.curvature.operators": ("SummedOperator",),
        "lla.curvature.ways": ("Way",),
    },
)
