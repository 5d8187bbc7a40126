"""Loss and gradient at the checkpoint, each computed once in a run."""

from __future__ import annotations

import torch

from lla.analyses.workspace import Shared, Workspace
from lla.curvature import gradient
from lla.problem import Evaluation, Problem

__all__ = ["BASE_EVALUATION", "GRADIENT"]


def _base_evaluation(problem: Problem, workspace: Workspace) -> Evaluation:
    return problem.evaluate(problem.theta)


def _gradient(problem: Problem, workspace: Workspace) -> torch.Tensor:
    found = gradient(problem)
    workspace.tally("gradients")(1)
    return found


BASE_EVALUATION = Shared("base evaluation", _base_evaluation)
GRADIENT = Shared("gradient", _gradient)
