"""Conditions of dynamical stability as pure functions of a few numbers.

Each gives the largest learning rate it allows, or the reason why it does not apply. Here are those
that need the Hessian's own numbers: 1, λ_max ≤ 2/η; 2, tr(H) ≤ 2/η at batch size 1, and 3, trace
and Frobenius norm (Wu & Su, ICML 2023); 7, the batch sharpness (Andreyev & Beneventano,
arXiv 2412.20553). Those of the samples' curvature are in :mod:`lla.analyses.stability.stochastic`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from lla.analyses.accuracy import shifted
from lla.analyses.stability.second_moments import Rule, gradient_descent_factor
from lla.estimate import Estimate

__all__ = [
    "FULL",
    "UNITS",
    "Condition",
    "Curvature",
    "TrainingRun",
    "adaptive_rule",
    "batch_sharpness_rule",
    "excluded_with_noise",
    "gradient_descent_rule",
    "inverse",
    "noise_share",
    "smallest_limit",
    "trace_frobenius_rule",
    "trace_rule",
]

UNITS = "learning rate"
FULL = "full batches have no sampling noise: rule 1 is exact"
_NO_BATCH_SIZE = "the batch size is unknown; pass --batch-size"
ADAPTIVE = ("adam", "adamw", "rmsprop")


@dataclass(frozen=True)
class TrainingRun:
    """What the conditions need to know of the training.

    Attributes:
        optimizer: "sgd", "adam", "adamw" or "rmsprop".
        lr: Learning rate η, or None.
        momentum: Heavy-ball or Nesterov momentum β.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: Of SGD, in the loss: it shifts the Hessian by as much.
        betas: Adam's two decay rates.
        batch_size: B, or None.
        samples: n, size of the training set.
        replacement: Whether batches are drawn with replacement.
        elsewhere: Why the analysed data is not the training data, or "".
        frozen: Why the analysed loss is not the one trained on, or "".
        away: Why these weights are not near a minimum, or "".
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
    betas: tuple[float, float] = (0.9, 0.999)
    batch_size: int | None = None
    samples: int = 0
    replacement: bool = False
    elsewhere: str = ""
    frozen: str = ""
    away: str = ""
    subset: bool = False
    square_loss: bool = False
    outputs: int = 1
    interpolates: bool = False

    @property
    def full_batch(self) -> bool:
        """Whether every step sees the whole training set."""
        full = self.batch_size is not None and self.batch_size >= self.samples
        return full and not self.replacement

    @property
    def rule(self) -> Rule:
        """How SGD's steps are made of gradients."""
        return Rule(self.momentum, self.nesterov)

    @property
    def share(self) -> float:
        """The share p of the samples' noise in a batch; 1 where the batch size is unknown."""
        size = self.batch_size or 1
        return 1 / size if self.replacement else noise_share(size, self.samples)


@dataclass(frozen=True)
class Curvature:
    """What the conditions need to know of the Hessian, or of the matrix in its place.

    Attributes:
        largest: λ_max.
        trace: tr(H).
        frobenius: ‖H‖_F.
        note: Which matrix it is, where it is not the Hessian.
    """

    largest: Estimate
    trace: Estimate
    frobenius: Estimate
    note: str = ""


@dataclass(frozen=True)
class Condition:
    """One condition at this checkpoint.

    Attributes:
        id: Name of its verdict.
        title: Name in figures and tables.
        max_lr: Largest learning rate it allows.
        excluded: Why it does not apply here, or "".
        note: What else to know of it.
        indicates: Why a learning rate above it is not yet unstable, or "".
    """

    id: str
    title: str
    max_lr: Estimate
    excluded: str = ""
    note: str = ""
    indicates: str = ""


def noise_share(batch_size: int, samples: int) -> float:
    """The share p = (n − B) / (B (n − 1)), sampling without replacement: 1 at B = 1, 0 at B = n."""
    if batch_size >= samples:
        return 0.0
    return (samples - batch_size) / (batch_size * (samples - 1))


def gradient_descent_rule(run: TrainingRun, curvature: Curvature) -> Condition:
    """Rule 1: λ_max ≤ 2/η for GD and for the mean iterate of SGD at any batch size.

    With momentum β the factor 2 becomes 2(1+β) (heavy ball) or 2(1+β)/(1+2β) (Nesterov).
    """
    factor = gradient_descent_factor(run.rule)
    shift = run.weight_decay if run.optimizer == "sgd" else 0.0
    words = f"{factor:.4g} / (λ_max + {shift:.3g})" if shift else f"{factor:.4g} / λ_max"
    otherwise = "λ_max is not positive: any learning rate is stable"
    limit = inverse(shifted(curvature.largest, shift), factor, words, otherwise)
    adaptive = (
        f"{run.optimizer} steps by the preconditioned Hessian" if run.optimizer in ADAPTIVE else ""
    )
    return Condition(
        "stability.gd",
        "λ_max (GD)",
        limit,
        excluded=run.elsewhere or run.frozen or adaptive,
        note=_subset(run),
    )


def adaptive_rule(run: TrainingRun, largest: Estimate) -> Condition:
    """Rule 1 of adaptive optimizers: the largest eigenvalue of the preconditioned Hessian.

    With P of the optimizer's state (:mod:`lla.analyses.stability.preconditioned`), Adam is stable
    up to 2(1+β₁)/((1−β₁)λ_max(P^-½HP^-½)) where P hardly changes, as it settles (Cohen et al.
    2022, "Adaptive gradient methods at the edge of stability"); RMSprop up to 2(1+β)/λ_max.
    AdamW's decay acts outside of P and momentum: for x ← (1−ηλ)x − ηm and m of decay β₁, -1 is an
    eigenvalue at η((1−β₁)h + (1+β₁)λ) = 2(1+β₁).
    """
    title = "preconditioned λ_max"
    if run.optimizer == "rmsprop":
        factor = 2 * (1 + run.momentum)
    else:
        beta = run.betas[0]
        factor = 2 * (1 + beta) / (1 - beta)
    shift = run.weight_decay * factor / 2 if run.optimizer == "adamw" else 0.0
    words = f"{factor:.4g} / (λ_max(P^-½HP^-½){f' + {shift:.3g}' if shift else ''})"
    why = largest.why or "no direction bends upwards: any learning rate is stable"
    return Condition(
        "stability.preconditioned",
        title,
        inverse(shifted(largest, shift), factor, words, why),
        excluded=run.elsewhere or run.frozen,
        note=_subset(run),
    )


def _subset(run: TrainingRun) -> str:
    return "estimated from a subset of the training data" if run.subset else ""


def trace_rule(run: TrainingRun, curvature: Curvature) -> Condition:
    """Rule 2: tr(H) ≤ 2K/η for SGD at batch size 1; for larger batches it raises false alarms.

    K is the number of outputs under the square loss (form 6b with rank-K samples), else 1.
    """
    outputs = max(run.outputs, 1) if run.square_loss else 1
    words = f"{2 * outputs} / tr(H)"
    limit = inverse(curvature.trace, 2.0 * outputs, words, "tr(H) is not positive")
    excluded = _excluded_by_rank(run)
    if not excluded and run.momentum:
        excluded = "with momentum, rule 3 is its form"
    if not excluded and run.batch_size is None:
        excluded = _NO_BATCH_SIZE
    if not excluded and run.batch_size != 1:
        excluded = f"it holds for batches of 1, and training used {run.batch_size}"
    return Condition("stability.trace", "tr H (SGD, B = 1)", limit, excluded)


def trace_frobenius_rule(run: TrainingRun, curvature: Curvature) -> Condition:
    """Rule 3: η ≤ 2tr / ((1−p)‖H‖_F² + p·tr²/K), square loss with K outputs, interpolation.

    From the necessary form 6b of Mulayoff & Michaeli with rank-K per-sample Hessians, for which
    ‖H_i‖_F² ≥ tr(H_i)²/K; K = 1 is the rule of Wu & Su. With heavy-ball momentum β, the same X = I
    in :mod:`lla.analyses.stability.second_moments`: 2(1−β)tr / ((1−p−2β/(1+β))‖H‖_F² + p·tr²/K).
    """
    excluded = _excluded_by_rank(run)
    if not excluded and run.batch_size is None:
        excluded = _NO_BATCH_SIZE
    id, title = "stability.trace_frobenius", "tr H and ‖H‖ (SGD)"
    full = excluded == FULL
    if (excluded and not full) or run.batch_size is None:
        return Condition(id, title, Estimate.missing(excluded, units=UNITS), excluded)
    p, beta, outputs = run.share, run.momentum, max(run.outputs, 1)
    kept = 1 - p - 2 * beta / (1 + beta)
    trace, norm = curvature.trace, curvature.frobenius
    if trace.low <= 0:
        why = "tr(H) is not positive within its interval"
        return Condition(id, title, Estimate.missing(why, units=UNITS), why)

    def limit(trace: float, frobenius: float) -> float:
        below = kept * frobenius**2 + p * trace**2 / outputs
        return 2 * (1 - beta) * trace / below if below > 0 else math.inf

    corners = [limit(t, f) for t in (trace.low, trace.high) for f in (norm.low, norm.high)]
    # Neither end need be a corner in the trace: the limit is largest at tr² = (1−p)‖H‖²K/p.
    peak = math.sqrt(max(kept, 0.0) * outputs / p) * norm.low if p else 0.0
    if trace.low < peak < trace.high:
        corners.append(limit(peak, norm.low))
    if not math.isfinite(limit(trace.value, norm.value)):
        why = "with this much momentum it sets no limit"
        return Condition(id, title, Estimate.missing(why, units=UNITS), why)
    # Both intervals hold together with at least this confidence (Bonferroni).
    joint = max(0.0, trace.confidence + norm.confidence - 1)
    found = Estimate(
        limit(trace.value, norm.value),
        min(corners),
        max(corners),
        joint,
        converged=trace.converged and norm.converged,
        method=f"p = {p:.3g}, K = {run.outputs}{curvature.note}",
        units=UNITS,
    )
    return Condition(id, title, found, excluded)


def _excluded_by_rank(run: TrainingRun) -> str:
    """Why rules 2 and 3, which rest on samples of rank K at interpolation, do not apply, or ""."""
    excluded = excluded_with_noise(run)
    if not excluded and not run.square_loss:
        excluded = "it holds for the square loss only"
    if not excluded and run.weight_decay:
        excluded = "weight decay gives every sample's Hessian full rank"
    if not excluded and run.rule.looks_ahead:
        excluded = "Nesterov's momentum has no such form"
    if not excluded and not run.interpolates:
        excluded = "it holds at interpolating minima, and some samples are not fitted"
    if not excluded and run.full_batch:
        excluded = FULL
    return excluded


def batch_sharpness_rule(run: TrainingRun, sharpness: Estimate) -> Condition:
    """Rule 7: batch sharpness settles near 2/η, also away from minima (Andreyev & Beneventano).

    With momentum it settles between 2(1−β)/η, of small batches, and 2(1+β)/η, of large ones
    (Andreyev et al. 2026, arXiv 2604.14108): in between nothing is decided.
    """
    why = sharpness.why or "the batch sharpness is not positive"
    factor, words = 2.0, "2 / batch sharpness"
    note = _subset(run)
    if run.full_batch:
        factor = gradient_descent_factor(run.rule)
        words = f"{factor:.4g} / batch sharpness"
    limit = inverse(sharpness, factor, words, why)
    if run.momentum and not run.full_batch and limit.exists:
        below, above = 1 - run.momentum, gradient_descent_factor(run.rule) / 2
        limit = replace(
            limit,
            value=limit.value * below,
            low=limit.low * below,
            high=limit.high * above,
            method=f"2(1−β) / batch sharpness, of small batches, to {2 * above:.4g} over it",
        )
    return Condition(
        "stability.batch_sharpness",
        "batch sharpness",
        limit,
        excluded=run.elsewhere or _adaptive(run),
        note=note,
    )


def _adaptive(run: TrainingRun) -> str:
    if run.optimizer in ADAPTIVE:
        return f"{run.optimizer} steps by the preconditioned Hessian: it is of plain SGD"
    return ""


def excluded_with_noise(run: TrainingRun) -> str:
    """Why the conditions on SGD's noise do not apply, whatever the batch size, or ""."""
    return run.elsewhere or run.frozen or _adaptive(run)


def inverse(estimate: Estimate, factor: float, method: str, otherwise: str) -> Estimate:
    """Factor / estimate, with an open upper end where the interval reaches zero."""
    if not estimate.exists or estimate.value <= 0:
        return Estimate.missing(otherwise, units=UNITS)
    return Estimate(
        factor / estimate.value,
        factor / estimate.high,
        factor / estimate.low if estimate.low > 0 else math.inf,
        estimate.confidence,
        converged=estimate.converged,
        method=method,
        units=UNITS,
    )


def smallest_limit(conditions: Iterable[Condition]) -> Estimate:
    """The smallest learning rate that any applicable condition allows; indicators left out."""
    applicable = [
        item
        for item in conditions
        if not item.excluded and not item.indicates and item.max_lr.exists
    ]
    if not applicable:
        return Estimate.missing("no condition applies", units=UNITS)
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
        units=UNITS,
    )
