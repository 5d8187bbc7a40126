"""Loss, accuracy and gradient norm at the checkpoint."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lla.analyses.analysis import Analysis, Compared, Config
from lla.analyses.fields import metric
from lla.estimate import Estimate

if TYPE_CHECKING:
    from lla.analyses.workspace import Workspace
    from lla.problem import Problem

__all__ = ["ANALYSIS", "BaselineConfig", "BaselineResult", "run"]


class BaselineConfig(Config):
    """The baseline has no settings."""


@dataclass(frozen=True)
class BaselineResult:
    """The loss at the checkpoint, exact for the data analysed."""

    value: Estimate = metric("loss over the analysed data", units="loss")
    accuracy: Estimate = metric("share of right predictions")
    gradient_norm: Estimate = metric("Euclidean norm of the gradient", units="loss")


def run(problem: Problem, config: BaselineConfig, workspace: Workspace) -> BaselineResult:
    """Evaluate loss, accuracy and gradient once."""
    from lla.analyses.shared import BASE_EVALUATION, GRADIENT

    evaluation = workspace.get(BASE_EVALUATION, problem)
    slope = workspace.get(GRADIENT, problem)
    method = f"exact, {len(problem.data)} samples"
    accuracy = (
        Estimate.missing("the loss has no classes")
        if math.isnan(evaluation.accuracy)
        else Estimate.exact(evaluation.accuracy, method=method)
    )
    return BaselineResult(
        value=Estimate.exact(evaluation.loss, method=method, units="loss"),
        accuracy=accuracy,
        gradient_norm=Estimate.exact(float(slope.norm()), method=method, units="loss"),
    )


ANALYSIS = Analysis(
    name="baseline",
    about="Loss, accuracy and gradient norm at the checkpoint",
    group="loss",
    config=BaselineConfig,
    result=BaselineResult,
    run="lla.analyses.baseline:run",
    work="lla.analyses.work:of_baseline",
    sharded=True,
    depends=(),
    compared=Compared(alike=(), also={"gradient_norm": ("network",)}),
    question="How well does it fit?",
    summary=("value", "accuracy", "gradient_norm"),
    headline=(("value", "loss"), ("accuracy", "accuracy")),
    sections="lla_plots.words.baseline:sections",
)
