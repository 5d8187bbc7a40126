"""Linear operators on parameter space: Hessian, Gauss–Newton and empirical Fisher matrix."""

from lla.curvature.gauss_newton import EmpiricalFisher, GaussNewton
from lla.curvature.operators import Hessian, batch_curvature, gradient

__all__ = ["EmpiricalFisher", "GaussNewton", "Hessian", "batch_curvature", "gradient"]
