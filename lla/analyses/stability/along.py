"""Curvature at each checkpoint of a training, each computed as for a checkpoint alone."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lla.analyses.analysis import Config
from lla.analyses.checkpoints import checkpoints_of, digest_of_checkpoints, problem_at
from lla.analyses.keeping import Forgetful, Tiles
from lla.analyses.shared import BASE_EVALUATION
from lla.analyses.spectral import spectral
from lla.analyses.spectrum import SpectrumConfig
from lla.analyses.stability import ANALYSIS, StabilityConfig
from lla.analyses.stability.condition import Curvature, TrainingRun
from lla.analyses.stability.conditions import gradient_descent_rule
from lla.analyses.stability.series import BETWEEN_NOTES, TrainingSeries
from lla.analyses.workspace import Workspace
from lla.estimate import Estimate
from lla.problem import Problem
from lla.progress import Silent

__all__ = ["along", "check"]

_OPTION = "--series"
# No density is asked for, and one eigenvalue of each end.
_LEAN = {"operator": "hessian", "largest": 1, "smallest": 1, "steps": 2}

Facts = Callable[[Problem, StabilityConfig, Workspace], tuple[TrainingRun, Estimate]]


@dataclass(frozen=True)
class _Point:
    """What is known of one checkpoint, in plain values."""

    name: str
    epoch: float
    lr: float
    edge: float
    two_over_lr: float
    loss: float
    accuracy: float
    lambda_max: tuple[float, float, float]
    trace: tuple[float, float, float]
    batch_sharpness: tuple[float, float, float]
    converged: bool
    note: str


def check(problem: Problem, config: StabilityConfig, _: Mapping[str, Config]) -> None:
    """See that every checkpoint of the series can be read and is of the analysed network.

    Raises:
        LlaError: One is not; or the problem is of live objects.
    """
    for path in checkpoints_of(config.series, _OPTION):
        problem_at(problem, path, _OPTION)


def along(
    problem: Problem,
    config: StabilityConfig,
    workspace: Workspace,
    facts_at: Facts,
) -> TrainingSeries | None:
    """λ_max, trace and batch sharpness at each checkpoint of the series, in the given order.

    Args:
        problem: The analysed checkpoint; data, loss and precision are its.
        config: Names the series.
        workspace: Of the run: plan, tolerances, and what keeps finished checkpoints.
        facts_at: What the conditions need to know of a problem's training, and its batch sharpness.

    Returns:
        One row for each checkpoint; None where no series is named.

    Raises:
        LlaError: A checkpoint cannot be read or is of another network.
    """
    if not config.series:
        return None
    paths = checkpoints_of(config.series, _OPTION)
    points: list[_Point] = []
    # Named by what the files hold: a checkpoint that was written anew is not taken for the former.
    tiles = Tiles(
        workspace.keeper,
        f"series {digest_of_checkpoints(paths)}",
        (ANALYSIS.name, *(ANALYSIS.depends or ())),
        lambda: _packed(points),
    )
    kept = tiles.load()
    if kept:
        points = _unpacked(kept)
    with tiles.running():
        for path in paths[len(points) :]:
            workspace.progress.update(len(points), len(paths), "checkpoints")
            other = problem_at(problem, path, _OPTION)
            points.append(_at(other, Path(path).name, config, workspace, facts_at))
            workspace.tally("checkpoints")(1)
            tiles.step()
    return _table(points)


def _at(
    problem: Problem,
    name: str,
    config: StabilityConfig,
    workspace: Workspace,
    facts_at: Facts,
) -> _Point:
    """One checkpoint, in a workspace of its own."""
    own = _workspace_at(workspace)
    evaluation = own.get(BASE_EVALUATION, problem)
    products = spectral("hessian")
    if math.isfinite(evaluation.loss):
        run, sharpness = facts_at(problem, config, own)
        found = (own.get(products.lambda_max, problem), own.get(products.trace, problem), sharpness)
    else:
        # A training that diverged: there is no curvature, and the rest of the series counts.
        run = TrainingRun(lr=problem.training.lr)
        found = (Estimate.missing(f"the loss is {evaluation.loss}"),) * 3
    edge, why = _edge(run)
    words = ("λ_max", "trace", "batch sharpness")
    notes = [f"{word}: {one.why}" for word, one in zip(words, found, strict=True) if not one.exists]
    notes += [f"λ_max is not held against 2/η: {why}"] if why else []
    rows = [(one.value, one.low, one.high) for one in found]
    return _Point(
        name=name,
        epoch=math.nan if problem.training.epoch is None else problem.training.epoch,
        lr=run.lr or math.nan,
        edge=edge,
        two_over_lr=2 / run.lr if run.lr else math.nan,
        loss=evaluation.loss,
        accuracy=evaluation.accuracy,
        lambda_max=rows[0],
        trace=rows[1],
        batch_sharpness=rows[2],
        converged=found[0].converged,
        note=BETWEEN_NOTES.join(notes),
    )


def _workspace_at(workspace: Workspace) -> Workspace:
    """A workspace for another checkpoint: the same settings and plan, and nothing shared."""
    lean = workspace.config("spectrum", SpectrumConfig).model_copy(update=_LEAN)
    plan = workspace.measured
    if plan is not None:  # a step of differences is of one checkpoint
        plan = replace(plan, way=replace(plan.way, step=0.0))
    return Workspace(
        configs={**workspace.configs, "spectrum": lean},
        seed=workspace.seed,
        confidence=workspace.confidence,
        tolerance=workspace.tolerance,
        memory=workspace.memory,
        progress=Silent(),
        counts=workspace.counts,
        measured=plan,
        steps_down=workspace.steps_down,
        keeper=Forgetful(),
        stop=workspace.stop,
    )


def _edge(run: TrainingRun) -> tuple[float, str]:
    """The λ_max up to which rule 1 calls the learning rate stable, and why there is none."""
    if run.lr is None:
        return math.nan, "the learning rate is unknown; pass --lr"
    unit = Estimate.exact(1.0, method="")
    # Of curvature 1 the rule's limit is its factor: 2, or with momentum 2(1+β) and the like.
    rule = gradient_descent_rule(replace(run, weight_decay=0.0), Curvature(unit, unit, unit))
    if rule.excluded:
        return math.nan, rule.excluded
    return rule.max_lr.value / run.lr - run.weight_decay, ""


def _packed(points: list[_Point]) -> dict[str, np.ndarray]:
    text = json.dumps([asdict(point) for point in points])
    return {"points": np.frombuffer(text.encode(), np.uint8)}


def _unpacked(arrays: Any) -> list[_Point]:
    rows = json.loads(arrays["points"].tobytes())
    triples = ("lambda_max", "trace", "batch_sharpness")
    return [_Point(**{**row, **{name: tuple(row[name]) for name in triples}}) for row in rows]


def _table(points: list[_Point]) -> TrainingSeries:
    def column(name: str) -> np.ndarray:
        return np.array([getattr(point, name) for point in points])

    plain = ("epoch", "lr", "edge", "two_over_lr", "loss", "accuracy", "converged")
    columns = {name: column(name) for name in plain}
    for name in ("lambda_max", "trace", "batch_sharpness"):
        ends = column(name)
        columns |= {name: ends[:, 0], f"{name}_low": ends[:, 1], f"{name}_high": ends[:, 2]}
    return TrainingSeries(
        names=tuple(point.name for point in points),
        note=tuple(point.note for point in points),
        **columns,
    )
