"""Gather what the conditions rest on, apply them, give the verdicts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lla.analyses.spectral import spectral
from lla.analyses.stability import BatchSizes, Conditions, StabilityConfig, StabilityResult
from lla.analyses.stability.along import along
from lla.analyses.stability.batches import batch_sharpness
from lla.analyses.stability.condition import (
    ADAPTIVE,
    FULL,
    Condition,
    Curvature,
    TrainingRun,
    excluded_with_noise,
    smallest_limit,
)
from lla.analyses.stability.conditions import (
    adaptive_rule,
    batch_sharpness_rule,
    gradient_descent_rule,
    trace_frobenius_rule,
    trace_rule,
)
from lla.analyses.stability.facts import distance_from_minimum, interpolation, training_run
from lla.analyses.stability.noise import SampleCurvature
from lla.analyses.stability.preconditioned import preconditioned_largest
from lla.analyses.stability.sampled import sample_curvature
from lla.analyses.stability.stochastic import (
    alignment,
    alignment_rule,
    directions_rule,
    eigenvector_rule,
    exact_rule,
    nonuniformity_rule,
    norms_rule,
)
from lla.analyses.stability.verdicts import judge
from lla.analyses.workspace import Workspace
from lla.estimate import Estimate, Label, Verdict
from lla.problem import Problem

__all__ = ["run"]

_SIZES = 13
_NO_RATE = "the learning rate is unknown; pass --lr"


@dataclass(frozen=True)
class _Known:
    """All that the conditions rest on, whatever the batch size."""

    curvature: Curvature
    preconditioned: Estimate
    samples: SampleCurvature
    sharpness: Estimate


def run(problem: Problem, config: StabilityConfig, workspace: Workspace) -> StabilityResult:
    """Conditions 1 to 7, with verdicts on the learning rate in use."""
    interpolates = interpolation(problem, workspace)
    away = distance_from_minimum(problem, workspace, interpolates)
    training = training_run(problem, interpolates, away, config.replacement)
    known = _known(problem, config, workspace, training)
    rules = _rules(training, known)
    verdicts = tuple(judge(rule, training.lr, config.edge) for rule in rules.values())
    limits = {name: rule.max_lr for name, rule in rules.items()}
    smallest = smallest_limit(rules.values())
    return StabilityResult(
        lr=_given(training.lr, _NO_RATE),
        batch_size=_given(training.batch_size, "the batch size is unknown; pass --batch-size"),
        momentum=_given(training.momentum, ""),
        samples=_given(training.samples, ""),
        optimizer=Label(training.optimizer, _rule_in_words(training)),
        interpolates=interpolates,
        sharpness_times_lr=_times_lr(known.curvature.largest, training.lr),
        lr_over_max_lr=_over(training.lr, smallest),
        gd_max_lr=limits["gd"],
        preconditioned_lambda_max=known.preconditioned,
        preconditioned_max_lr=limits.get("preconditioned", known.preconditioned),
        trace_max_lr=limits["trace"],
        trace_frobenius_max_lr=limits["trace_frobenius"],
        nonuniformity=known.samples.nonuniformity,
        nonuniformity_max_lr=limits["nonuniformity"],
        alignment=_alignment(training, known.samples),
        alignment_max_lr=limits["alignment"],
        eigenvector_max_lr=limits["eigenvector"],
        norms_max_lr=limits["norms"],
        directions_max_lr=limits["directions"],
        exact_max_lr=limits["exact"],
        batch_sharpness=known.sharpness,
        batch_sharpness_max_lr=limits["batch_sharpness"],
        sgd_max_lr=smallest,
        conditions=_table(rules, verdicts),
        batch_sizes=_over_batch_sizes(training, known),
        verdicts=verdicts,
        series=along(problem, config, workspace, _facts_at),
    )


def _known(
    problem: Problem, config: StabilityConfig, workspace: Workspace, training: TrainingRun
) -> _Known:
    hessian = spectral("hessian")
    curvature = Curvature(
        largest=workspace.get(hessian.lambda_max, problem),
        trace=workspace.get(hessian.trace, problem),
        frobenius=workspace.get(hessian.frobenius, problem),
    )
    reason = excluded_with_noise(training)
    if reason:
        samples = SampleCurvature(why={"": reason}, nonuniformity=Estimate.missing(reason))
    else:
        samples = sample_curvature(problem, config, workspace, training.share, training.outputs)
    return _Known(
        curvature=curvature,
        preconditioned=preconditioned_largest(problem, training, workspace),
        samples=samples,
        sharpness=batch_sharpness(problem, training, config, workspace),
    )


def _rules(training: TrainingRun, known: _Known) -> dict[str, Condition]:
    """Every condition by its name in ids and metrics, in the order of the figure."""
    curvature, samples = known.curvature, known.samples
    found = {"gd": gradient_descent_rule(training, curvature)}
    if training.optimizer in ADAPTIVE:
        found["preconditioned"] = adaptive_rule(training, known.preconditioned)
    found |= {
        "trace": trace_rule(training, curvature),
        "trace_frobenius": trace_frobenius_rule(training, _of_rank(curvature, samples)),
        "nonuniformity": nonuniformity_rule(training, curvature, samples),
        "alignment": alignment_rule(training, samples),
        "eigenvector": eigenvector_rule(training, samples),
        "norms": norms_rule(training, samples),
        "directions": directions_rule(training, samples),
        "exact": exact_rule(training, samples),
        "batch_sharpness": batch_sharpness_rule(training, known.sharpness),
    }
    return found


def _of_rank(curvature: Curvature, samples: SampleCurvature) -> Curvature:
    """The Hessian's trace and norm; those of Gauss–Newton where H_i are not of rank K."""
    if samples.matrix == "H_i" or samples.norms is None:
        return curvature
    trace, frobenius = (samples.norms.estimate(column) for column in (0, 2))
    return replace(
        curvature,
        trace=trace,
        frobenius=frobenius.map(lambda x: x**0.5, method=frobenius.method),
        note=f", {samples.matrix} in place of H",
    )


def _alignment(training: TrainingRun, samples: SampleCurvature) -> Estimate:
    if not training.square_loss:
        return Estimate.missing("it is of the square loss")
    return alignment(samples)


def _table(rules: dict[str, Condition], verdicts: tuple[Verdict, ...]) -> Conditions:
    limits = [rule.max_lr for rule in rules.values()]
    return Conditions(
        names=tuple(rule.title for rule in rules.values()),
        max_lr=np.array([limit.value for limit in limits]),
        low=np.array([limit.low for limit in limits]),
        high=np.array([limit.high for limit in limits]),
        verdict=tuple(verdict.verdict for verdict in verdicts),
    )


def _over_batch_sizes(training: TrainingRun, known: _Known) -> BatchSizes:
    """What each condition allows at other batch sizes; NaN where it does not apply."""
    rows = []
    sizes = _sizes(training)
    for size in sizes:
        at = replace(training, batch_size=size)
        rules = _rules(at, known)
        if size != training.batch_size:
            # It was measured at one batch size, and is another number at others.
            unknown = Estimate.missing("it was measured at the training batch size alone")
            rules["batch_sharpness"] = batch_sharpness_rule(at, unknown)
        rows.append((rules, smallest_limit(rules.values())))
    names = tuple(rule.title for rule in rows[0][0].values())
    columns = []
    for end in ("value", "low", "high"):
        limits = [
            [
                # At B = n a form of the noise ends in one of gradient descent; rule 2 knows no B.
                getattr(rule.max_lr, end)
                if not rule.excluded or (rule.excluded == FULL and name != "trace")
                else np.nan
                for name, rule in rules.items()
            ]
            for rules, _ in rows
        ]
        columns.append((np.array(limits), np.array([getattr(least, end) for _, least in rows])))
    return BatchSizes(
        batch_size=np.array(sizes, dtype=np.float64),
        names=names,
        max_lr=columns[0][0],
        low=columns[1][0],
        high=columns[2][0],
        smallest=columns[0][1],
        smallest_low=columns[1][1],
        smallest_high=columns[2][1],
    )


def _sizes(training: TrainingRun) -> list[int]:
    """Batch sizes from 1 to n, evenly on a logarithmic axis, with the one in use."""
    n = max(training.samples, 1)
    found = {round(float(x)) for x in np.geomspace(1, n, _SIZES)}
    return sorted(found | ({min(training.batch_size, n)} if training.batch_size else set()))


def _facts_at(
    problem: Problem, config: StabilityConfig, workspace: Workspace
) -> tuple[TrainingRun, Estimate]:
    """What the conditions need at a checkpoint of a series, and the batch sharpness there."""
    unasked = Estimate.missing("not asked for along a series")
    training = training_run(problem, unasked, "", config.replacement)
    return training, batch_sharpness(problem, training, config, workspace)


def _given(value: float | None, why: str) -> Estimate:
    return Estimate.missing(why) if value is None else Estimate.exact(value, method="as given")


def _times_lr(largest: Estimate, lr: float | None) -> Estimate:
    if lr is None:
        return Estimate.missing(_NO_RATE)
    return largest.map(lambda value: value * lr / 2, method="λ_max · η / 2")


def _over(lr: float | None, smallest: Estimate) -> Estimate:
    if lr is None:
        return Estimate.missing(_NO_RATE)
    if not smallest.exists:
        return Estimate.missing(smallest.why)
    return smallest.map(lambda value: lr / value if value else np.inf, method=smallest.method)


def _rule_in_words(training: TrainingRun) -> str:
    if training.optimizer != "sgd":
        return "as given"
    kind = "Nesterov momentum" if training.nesterov else "heavy-ball momentum"
    found = f"{kind} {training.momentum:g}" if training.momentum else "without momentum"
    decay = f", weight decay {training.weight_decay:g} in the loss" * bool(training.weight_decay)
    drawn = ", batches drawn with replacement" * training.replacement
    return f"{found}{decay}{drawn}"
