"""Loss and gradient at the checkpoint, and the problem in float64, each made once in a run."""

from __future__ import annotations

import torch

from lla.analyses.workspace import Shared, Workspace
from lla.curvature import gradient
from lla.problem import Evaluation, Problem

__all__ = ["BASE_EVALUATION", "DOUBLE", "GRADIENT"]


def _base_evaluation(problem: Problem, workspace: Workspace) -> Evaluation:
    return problem.evaluate(problem.theta)


def _gradient(problem: Problem, workspace: Workspace) -> torch.Tensor:
    found = gradient(problem)
    workspace.tally("gradients")(1)
    return found


def _double(problem: Problem, workspace: Workspace) -> Problem:
    """The problem in float64, or itself where it is so already or cannot be.

    Networks that fix a lower precision in their code cannot be computed in float64.
    """
    if problem.theta.dtype == torch.float64:
        return problem
    double = problem.in_float64()
    try:
        with torch.no_grad():
            double.terms(double.theta, next(double.batches()))
    except RuntimeError:
        return problem
    return double


BASE_EVALUATION = Shared("base evaluation", _base_evaluation)
GRADIENT = Shared("gradient", _gradient)
DOUBLE = Shared("problem in float64", _double)
