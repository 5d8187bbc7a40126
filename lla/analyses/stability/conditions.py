"""Conditions of dynamical stability as pure functions of a few numbers.

Each gives the largest learning rate it allows, or the reason why it does not apply. Here are those
that need the Hessian's own numbers: 1, λ_max ≤ 2/η; 2, tr(H) ≤ 2/η at batch size 1, and 3, trace
and Frobenius norm (Wu & Su, ICML 2023); 7, the batch sharpness (Andreyev & Beneventano,
arXiv 2412.20553). Those of the samples' curvature are in :mod:`lla.analyses.stability.stochastic`.
"""

from __future__ import annotations

import math
from dataclasses import replace

from lla.analyses.accuracy import shifted
from lla.analyses.stability.condition import (
    ADAPTIVE,
    FULL,
    UNITS,
    Condition,
    Curvature,
    TrainingRun,
    excluded_adaptive,
    excluded_with_noise,
    inverse,
)
from lla.analyses.stability.second_moments import gradient_descent_factor
from lla.estimate import Estimate

__all__ = [
    "adaptive_rule",
    "batch_sharpness_rule",
    "gradient_descent_rule",
    "trace_frobenius_rule",
    "trace_rule",
]

_NO_BATCH_SIZE = "the batch size is unknown; pass --batch-size"


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
        excluded=run.elsewhere or excluded_adaptive(run),
        note=note,
    )
