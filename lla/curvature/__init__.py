"""Linear operators on parameter space: the Hessian of a problem's loss."""

from lla.curvature.operators import Hessian, batch_curvature, gradient

__all__ = ["Hessian", "batch_curvature", "gradient"]
