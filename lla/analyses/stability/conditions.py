"""The conditions of dynamical stability as pure functions of a few numbers.

Each gives the largest learning rate it allows, or the reason why it does not apply. Numbers follow
Wu & Su (ICML 2023): 1 is λ_max ≤ 2/η, 2 is tr(H) ≤ 2/η at batch size 1, 3 combines trace and
Frobenius norm; the batch sharpness is Andreyev & Beneventano's (arXiv 2412.20553).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from lla.estimate import Estimate, Outcome, Verdict

__all__ = [
    "Condition",
    "Curvature",
    "TrainingRun",
    "batch_sharpness_rule",
    "gradient_descent_rule",
    "judge",
    "noise_share",
    "smallest_limit",
    "trace_frobenius_rule",
    "trace_rule",
    "within",
]

_UNITS = "learning rate"
_NO_BATCH_SIZE = "the batch size is unknown; pass --batch-size"


@dataclass(frozen=True)
class TrainingRun:
    """What the conditions need to know of the training.

    Attributes:
        optimizer: "sgd", "adam", "adamw" or "rmsprop".
        lr: Learning rate η, or None.
        momentum: Heavy-ball or Nesterov momentum β.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: Of SGD, in the loss: it shifts the Hessian by as much.
        batch_size: B, or None.
        samples: n, size of the training set.
        elsewhere: Why the analysed data is not the training data, or "".
        frozen: Why the analysed loss is not the one trained on, or "".
        subset: Whether only a part of the training set was analysed.
        square_loss: Whether the loss is the square loss.
        outputs: K, number of network outputs per sample.
        interpolates: Whether every sample is fitted.
    """

    optimizer: str = "sgd"
    lr: float | None = None
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    batch_size: int | None = None
    samples: int = 0
    elsewhere: str = ""
    frozen: str = ""
    subset: bool = False
    square_loss: bool = False
    outputs: int = 1
    interpolates: bool = False

    @property
    def full_batch(self) -> bool:
        """Whether every step sees the whole training set."""
        return self.batch_size is not None and self.batch_size >= self.samples


@dataclass(frozen=True)
class Curvature:
    """What the conditions need to know of the Hessian."""

    largest: Estimate
    trace: Estimate
    frobenius: Estimate


@dataclass(frozen=True)
class Condition:
    """One condition at this checkpoint.

    Attributes:
        id: Name of its verdict.
        title: Name in figures and tables.
        max_lr: Largest learning rate it allows.
        excluded: Why it does not apply here, or "".
        note: What else to know of it.
    """

    id: str
    title: str
    max_lr: Estimate
    excluded: str = ""
    note: str = ""


def noise_share(batch_size: int, samples: int) -> float:
    """P = (n − B) / (B (n − 1)), sampling without replacement: 1 at B = 1, 0 at B = n."""
    if batch_size >= samples:
        return 0.0
    return (samples - batch_size) / (batch_size * (samples - 1))


def gradient_descent_rule(run: TrainingRun, curvature: Curvature) -> Condition:
    """Rule 1: λ_max ≤ 2/η for GD and for the mean iterate of SGD at any batch size.

    With momentum β the factor 2 becomes 2(1+β) (heavy ball) or 2(1+β)/(1+2β) (Nesterov).
    """
    factor = 2 * (1 + run.momentum)
    if run.nesterov:
        factor /= 1 + 2 * run.momentum
    shift = run.weight_decay if run.optimizer == "sgd" else 0.0
    largest = replace(
        curvature.largest,
        value=curvature.largest.value + shift,
        low=curvature.largest.low + shift,
        high=curvature.largest.high + shift,
    )
    words = f"{factor:.4g} / (λ_max + {shift:.3g})" if shift else f"{factor:.4g} / λ_max"
    limit = _inverse(largest, factor, words, "λ_max is not positive: any learning rate is stable")
    adaptive = "" if run.optimizer == "sgd" else f"{run.optimizer} needs the preconditioned Hessian"
    return Condition(
        "stability.gd",
        "λ_max (GD)",
        limit,
        excluded=run.elsewhere or run.frozen or adaptive,
        note="estimated from a subset of the training data" if run.subset else "",
    )


def trace_rule(run: TrainingRun, curvature: Curvature) -> Condition:
    """Rule 2: tr(H) ≤ 2K/η for SGD at batch size 1; for larger batches it raises false alarms.

    K is the number of outputs under the square loss (form 6b with rank-K samples), else 1.
    """
    outputs = max(run.outputs, 1) if run.square_loss else 1
    words = f"{2 * outputs} / tr(H)"
    limit = _inverse(curvature.trace, 2.0 * outputs, words, "tr(H) is not positive")
    excluded = run.elsewhere or run.frozen or _excluded_with_noise(run)
    if not excluded and not run.square_loss:
        excluded = "it holds for the square loss only"
    if not excluded and run.full_batch:
        excluded = "full batches have no sampling noise: rule 1 is exact"
    if not excluded and run.batch_size is None:
        excluded = _NO_BATCH_SIZE
    if not excluded and run.batch_size != 1:
        excluded = f"it holds for batches of 1, and training used {run.batch_size}"
    if not excluded and not run.interpolates:
        excluded = "it holds at interpolating minima, and some samples are not fitted"
    return Condition("stability.trace", "tr H (SGD, B = 1)", limit, excluded)


def trace_frobenius_rule(run: TrainingRun, curvature: Curvature) -> Condition:
    """Rule 3: η ≤ 2tr / ((1−p)‖H‖_F² + p·tr²/K), square loss with K outputs, interpolation.

    From the necessary form 6b of Mulayoff & Michaeli with rank-K per-sample Hessians, for which
    ‖H_i‖_F² ≥ tr(H_i)²/K; K = 1 is the rule of Wu & Su.
    """
    excluded = run.elsewhere or run.frozen or _excluded_with_noise(run)
    if not excluded and not run.square_loss:
        excluded = "it holds for the square loss only"
    if not excluded and run.full_batch:
        excluded = "full batches have no sampling noise: rule 1 is exact"
    if not excluded and not run.interpolates:
        excluded = "it holds at interpolating minima, and some samples are not fitted"
    if not excluded and run.batch_size is None:
        excluded = _NO_BATCH_SIZE
    id, title = "stability.trace_frobenius", "tr H and ‖H‖ (SGD)"
    if excluded or run.batch_size is None:
        return Condition(id, title, Estimate.missing(excluded, units=_UNITS), excluded)
    p = noise_share(run.batch_size, run.samples)

    def limit(trace: float, frobenius: float) -> float:
        return 2 * trace / ((1 - p) * frobenius**2 + p * trace**2 / max(run.outputs, 1))

    trace, norm = curvature.trace, curvature.frobenius
    if trace.low <= 0:
        why = "tr(H) is not positive within its interval"
        return Condition(id, title, Estimate.missing(why, units=_UNITS), why)
    corners = [limit(t, f) for t in (trace.low, trace.high) for f in (norm.low, norm.high)]
    # Neither end need be a corner in the trace: the limit is largest at tr² = (1−p)‖H‖²K/p.
    peak = math.sqrt((1 - p) * max(run.outputs, 1) / p) * norm.low
    if trace.low < peak < trace.high:
        corners.append(limit(peak, norm.low))
    # Both intervals hold together with at least this confidence (Bonferroni).
    joint = max(0.0, trace.confidence + norm.confidence - 1)
    found = Estimate(
        limit(trace.value, norm.value),
        min(corners),
        max(corners),
        joint,
        converged=trace.converged and norm.converged,
        method=f"p = {p:.3g}, K = {run.outputs}",
        units=_UNITS,
    )
    return Condition(id, title, found)


def batch_sharpness_rule(run: TrainingRun, sharpness: Estimate) -> Condition:
    """Batch sharpness settles near 2/η, also away from minima (Andreyev & Beneventano)."""
    limit = _inverse(
        sharpness,
        2.0,
        "2 / batch sharpness",
        sharpness.why or "the batch sharpness is not positive",
    )
    return Condition(
        "stability.batch_sharpness",
        "batch sharpness",
        limit,
        excluded=_excluded_with_noise(run),
        note="estimated from a subset of the training data" if run.subset else "",
    )


def _excluded_with_noise(run: TrainingRun) -> str:
    """Why the conditions on plain SGD do not apply, or ""."""
    if run.elsewhere:
        return run.elsewhere
    if run.optimizer != "sgd":
        return f"{run.optimizer} needs the preconditioned Hessian"
    if run.momentum:
        return "momentum needs the recursion of second moments"
    if run.weight_decay:
        return "weight decay shifts every sample's Hessian"
    return ""


def _inverse(estimate: Estimate, factor: float, method: str, otherwise: str) -> Estimate:
    """Factor / estimate, with an open upper end where the interval reaches zero."""
    if not estimate.exists or estimate.value <= 0:
        return Estimate.missing(otherwise, units=_UNITS)
    return Estimate(
        factor / estimate.value,
        factor / estimate.high,
        factor / estimate.low if estimate.low > 0 else math.inf,
        estimate.confidence,
        converged=estimate.converged,
        method=method,
        units=_UNITS,
    )


def judge(condition: Condition, lr: float | None, edge: float) -> Verdict:
    """What a condition says of the learning rate in use.

    Args:
        condition: The condition with the largest learning rate it allows.
        lr: Learning rate in use, or None.
        edge: |η/η_max − 1| within which the verdict is ``at_edge``.
    """
    limit = condition.max_lr
    reason = condition.excluded or ("" if limit.exists else limit.why)
    if not reason and lr is None:
        reason = "the learning rate is unknown; pass --lr"
    if reason or lr is None:
        return Verdict(condition.id, "not_applicable", reason)
    if not limit.converged and limit.confidence >= 1:
        return Verdict(condition.id, "inconclusive", "the eigenvalue has not converged")
    note = f" ({condition.note})" if condition.note else ""
    sizes = f"η = {lr:.4g}, largest stable {limit.value:.4g} [{limit.low:.4g}, {limit.high:.4g}]"
    if abs(lr / limit.value - 1) <= edge:
        return Verdict(condition.id, "at_edge", f"{sizes}: within {edge:.0%}{note}")
    if lr > limit.high:
        return Verdict(condition.id, "violated", f"{sizes}: above it{note}")
    if lr < limit.low:
        return Verdict(condition.id, "consistent", f"{sizes}: below it{note}")
    return Verdict(condition.id, "inconclusive", f"{sizes}: inside the interval{note}")


def within(limit: Estimate, lr: float, edge: float) -> frozenset[Outcome]:
    """Which verdicts the interval of a largest stable learning rate leaves open.

    :func:`judge` takes its value for what is at the edge; whoever must not change their mind with
    the draws asks for all of them.

    Args:
        limit: The largest stable learning rate.
        lr: Learning rate in use.
        edge: |η/η_max − 1| within which it is the edge.
    """
    shares = (lr / limit.high, lr / limit.low if limit.low > 0 else math.inf)  # of the limit
    found: set[Outcome] = set()
    if shares[0] < 1 - edge:
        found.add("consistent")
    if shares[1] > 1 + edge:
        found.add("violated")
    if shares[1] >= 1 - edge and shares[0] <= 1 + edge:
        found.add("at_edge")
    return frozenset(found)


def smallest_limit(conditions: Iterable[Condition]) -> Estimate:
    """The smallest learning rate that any applicable condition allows."""
    applicable = [item for item in conditions if not item.excluded and item.max_lr.exists]
    if not applicable:
        return Estimate.missing("no condition applies", units=_UNITS)
    highest = min(item.max_lr.high for item in applicable)
    # A condition that lies above another's whole interval has no part in the smallest.
    near = [item for item in applicable if item.max_lr.low <= highest]
    limits = [item.max_lr for item in near]
    # Each interval holds alone at its confidence; all together at least at this one (Bonferroni).
    joint = max(0.0, 1 - sum(1 - limit.confidence for limit in limits))
    return Estimate(
        min(limit.value for limit in limits),
        min(limit.low for limit in limits),
        min(limit.high for limit in limits),
        joint,
        converged=all(limit.converged for limit in limits),
        method="smallest over: " + ", ".join(item.title for item in near),
        units=_UNITS,
    )
