"""A curvature matrix by its name."""

from __future__ import annotations

from typing import Any

from lla.curvature.fisher import MonteCarloFisher
from lla.curvature.gauss_newton import EmpiricalFisher, GaussNewton
from lla.curvature.hessian import Hessian
from lla.curvature.names import OPERATORS, OperatorName
from lla.curvature.operators import SummedOperator
from lla.curvature.sharded import ShardedHessian
from lla.errors import ConfigurationError
from lla.problem import Problem
from lla.problem.sharded import ShardedProblem

__all__ = ["operator_of"]

_TYPES: dict[OperatorName, type[SummedOperator[Any]]] = {
    "hessian": Hessian,
    "ggn": GaussNewton,
    "fisher": MonteCarloFisher,
    "empirical_fisher": EmpiricalFisher,
}


def operator_of(
    name: OperatorName, problem: Problem, *, seed: int = 0, **options: Any
) -> SummedOperator[Any]:
    """The operator of a name.

    Args:
        name: Which matrix.
        problem: Network, parameters and loss.
        seed: Of the targets that the Fisher matrix draws.
        options: As for :class:`lla.curvature.SummedOperator`.

    Raises:
        ProblemError: The problem's loss is not of the form that the matrix is made of.
        ConfigurationError: Parameters are shared among ranks, and the matrix needs them whole.
    """
    if isinstance(problem, ShardedProblem):
        if name != "hessian":
            raise ConfigurationError(
                f"products of the {OPERATORS[name]} put all parameters together at once, and they "
                "are shared among ranks because one device cannot hold them",
                "leave --operator out: the Hessian is made piece by piece",
            )
        return ShardedHessian(problem, **options)
    if name == "fisher":
        options["seed"] = seed
    return _TYPES[name](problem, **options)
