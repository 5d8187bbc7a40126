"""Linear operators on parameter space: Hessian, Gauss–Newton and Fisher matrices."""

from lla.curvature.fisher import MonteCarloFisher
from lla.curvature.gauss_newton import EmpiricalFisher, GaussNewton
from lla.curvature.hessian import Hessian, batch_curvature, gradient
from lla.curvature.operators import SummedOperator, Way

__all__ = [
    "EmpiricalFisher",
    "GaussNewton",
    "Hessian",
    "MonteCarloFisher",
    "SummedOperator",
    "Way",
    "batch_curvature",
    "gradient",
]
