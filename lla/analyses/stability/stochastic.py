"""Conditions 4 to 6 on SGD's noise, as pure functions of what is known of the samples' curvature.

6 is the exact threshold of Mulayoff & Michaeli, "Exact mean square linear stability analysis for
SGD" (COLT 2024): η* = 2/λ_max(C†D). Every symmetric matrix X in place of the eigenmatrix gives a
condition that is necessary: 6a takes v₁v₁ᵀ of the top eigenvector, 6b the identity, 6c the best vvᵀ
that was found. With momentum the same X go into :mod:`lla.analyses.stability.second_moments`.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from lla.analyses.stability.condition import (
    FULL,
    UNITS,
    Condition,
    Curvature,
    TrainingRun,
    excluded_with_noise,
)
from lla.analyses.stability.conditions import gradient_descent_rule
from lla.analyses.stability.noise import Directions, SampleCurvature, jackknifed
from lla.analyses.stability.second_moments import limit_of_form
from lla.estimate import Estimate

__all__ = [
    "alignment",
    "alignment_rule",
    "directions_rule",
    "eigenvector_rule",
    "exact_rule",
    "nonuniformity_rule",
    "norms_rule",
]

_SPREAD = 0.02  # of ‖Hv − (vᵀHv)v‖ over vᵀHv, up to which v is an eigenvector for Nesterov's form


def _excluded(run: TrainingRun) -> str:
    """Why a condition on the noise at a minimum does not apply, or ""."""
    found = excluded_with_noise(run) or run.away
    if not found and run.full_batch:
        found = FULL
    if not found and run.batch_size is None:
        found = "the batch size is unknown; pass --batch-size"
    return found


def _condition(
    run: TrainingRun, id: str, title: str, limit: Estimate, note: str = "", indicates: str = ""
) -> Condition:
    parts = [note, "estimated from a subset of the training data" if run.subset else ""]
    words = "; ".join(part for part in parts if part)
    return Condition(f"stability.{id}", title, limit, _excluded(run), words, indicates)


def _labelled(known: SampleCurvature) -> str:
    return "" if known.matrix == "H_i" else f"{known.matrix} matrices in place of H_i"


def nonuniformity_rule(run: TrainingRun, curvature: Curvature, known: SampleCurvature) -> Condition:
    """Condition 4, an indicator: λ_max ≤ 2/η and s ≤ 1/(η√p) (Wu, Ma & E 2018).

    Beyond one dimension it is not strictly necessary, so it never says ``violated``.
    """
    sharp = gradient_descent_rule(run, curvature).max_lr
    s, p = known.nonuniformity, run.share
    limit = sharp
    if run.momentum:
        limit = Estimate.missing("it is of SGD without momentum", units=UNITS)
    elif p and not s.exists:
        limit = Estimate.missing(s.why, units=UNITS)
    elif p and s.value > 0 and sharp.exists:
        noisy = s.map(lambda x: 1 / (x * math.sqrt(p)) if x > 0 else math.inf, method="")
        limit = Estimate(
            min(sharp.value, noisy.value), min(sharp.low, noisy.low), min(sharp.high, noisy.high),
            max(0.0, sharp.confidence + noisy.confidence - 1),
            converged=sharp.converged and noisy.converged,
            method=f"the smaller of {sharp.method} and 1/(s√p), p = {p:.3g}", units=UNITS,
        )  # fmt: skip
    words = "an indicator: stable learning rates slightly above it are known"
    return _condition(run, "nonuniformity", "λ_max and non-uniformity", limit, indicates=words)


def alignment(known: SampleCurvature, *, centred: bool = True) -> Estimate:
    """Condition 5's μ = Tr(ΣG)/(2L‖G‖_F²), square loss (Wu, Wang & Su 2022).

    In Gram form, with A_i and c_i of ∇ℓ_i = A_iᵀc_i: Tr(ΣG) = mean_ij ‖A_jA_iᵀc_i‖², which for one
    output is n Σ_ij e_i²K_ij² / (Σ e_i² Σ K_ij²).

    Args:
        known: Of the samples.
        centred: Whether Σ is the gradients' covariance, or their second moment.
    """
    if known.norms is None:
        return Estimate.missing(known.reason("norms"))
    if not known.loss > 0:
        return Estimate.missing("the loss is zero: there is no noise")
    mean = known.mean_form if centred else 0.0
    words = "centred" if centred else "uncentred"
    return jackknifed(
        lambda row: (row[3] - mean) / (2 * known.loss * row[2]),
        known.norms.values, known.norms.left, known.norms.confidence,
        method=f"Gram matrix of the samples' Jacobians, Σ {words}",
    )  # fmt: skip


def alignment_rule(run: TrainingRun, known: SampleCurvature) -> Condition:
    """Condition 5: ‖G‖_F ≤ 1/(η√(pμ)), from E[L(θ⁺)] ≥ ½η²p Tr(ΣG) = η²pμ‖G‖_F² L.

    Square loss, at an interpolating minimum; Σ is the covariance, whose share in a batch is p.
    """
    id, title = "alignment", "alignment μ and ‖G‖"
    p = run.share
    limit = alignment(known)
    if limit.exists and not p:
        limit = Estimate.missing(FULL)
    elif limit.exists and known.norms is not None:
        norms = known.norms
        limit = jackknifed(
            lambda row: math.sqrt(2 * known.loss / (p * max(row[3] - known.mean_form, 1e-300))),
            norms.values, norms.left, norms.confidence,
            method=f"1/(‖G‖_F √(pμ)), p = {p:.3g}, Σ centred", units=UNITS,
        )  # fmt: skip
    else:
        limit = replace(limit, units=UNITS)
    found = _condition(run, id, title, limit, "G is the Gauss–Newton matrix")
    reason = ""
    if not run.square_loss:
        reason = "it holds for the square loss only"
    elif run.momentum or run.weight_decay:
        reason = "it is of SGD without momentum and weight decay"
    elif not run.interpolates:
        reason = "it holds at interpolating minima, and some samples are not fitted"
    return replace(found, excluded=found.excluded or reason)


def _along(run: TrainingRun, known: Directions, index: int) -> tuple[float, float]:
    """The limit that X = vvᵀ sets, and its standard error from the samples left out."""
    p, shift = run.share, run.weight_decay
    square = float(known.mean[index]) ** 2
    beyond = float(known.squares[index]) - square
    # An eigenvector has none but for rounding, which would set Nesterov's limit beyond its range.
    spread = math.sqrt(beyond) if beyond > 10 * known.rounding * square else 0.0

    def limit(mean: float, variance: float) -> float:
        centre = mean + shift
        if mean <= 0 or (run.rule.looks_ahead and spread > _SPREAD * centre):
            return math.inf
        # Two nodes have the first two moments of v's spectral measure, which is all that the forms
        # of plain SGD and heavy ball ask; Nesterov's asks for more, but not of an eigenvector.
        nodes = np.array([centre - spread, centre + spread])
        return limit_of_form(centre**2 + p * variance, nodes, np.full(2, 0.5), run.rule)

    mean, (second, third, fourth) = float(known.mean[index]), known.moments[index].tolist()
    value = limit(mean, second)
    if known.population <= known.samples or not math.isfinite(value):
        return value, 0.0
    step = 1e-4
    by_mean = (limit(mean * (1 + step), second) - limit(mean * (1 - step), second)) / (2 * step)
    by_mean /= mean
    size = step * max(second, mean**2)
    by_variance = (limit(mean, second + size) - limit(mean, second)) / size
    spread_of = by_mean**2 * second + 2 * by_mean * by_variance * third
    spread_of += by_variance**2 * (fourth - second**2)
    left = 1 - known.samples / known.population
    return value, math.sqrt(max(spread_of, 0.0) * left / known.samples)


def eigenvector_rule(run: TrainingRun, known: SampleCurvature) -> Condition:
    """Condition 6a: X = v₁v₁ᵀ of the top eigenvector, η ≤ 2λ₁/(λ₁² + p Var_i(v₁ᵀH_iv₁))."""
    return _directed(run, known, "eigenvector", "noise along v₁", slice(0, 1))


def directions_rule(run: TrainingRun, known: SampleCurvature) -> Condition:
    """Condition 6c: max over unit v of vᵀHv + p Var_i(vᵀH_iv)/(vᵀHv) ≤ 2/η.

    The maximum is over the vectors that an ascent found, so it bounds the true one from below:
    the condition is necessary, and the true one may be stricter.
    """
    return _directed(run, known, "directions", "noise along any v", slice(None))


def _directed(
    run: TrainingRun, known: SampleCurvature, id: str, title: str, which: slice
) -> Condition:
    if known.directions is None:
        why = known.reason("directions")
        return _condition(run, id, title, Estimate.missing(why, units=UNITS))
    count = range(len(known.directions.mean))[which]
    found = [_along(run, known.directions, index) for index in count]
    value, error = min(found)
    if not math.isfinite(value):
        why = "along these vectors the samples' curvature sets no limit"
        if run.rule.looks_ahead:
            why = "Nesterov's form is of eigenvectors, and none of these vectors is one of H"
        return _condition(run, id, title, Estimate.missing(why, units=UNITS))
    half = known.directions.rounding * value
    if run.rule.looks_ahead:
        half += _SPREAD**2 * value
    words = f"largest over {len(found)} vectors of an ascent" if len(found) > 1 else "X = v₁v₁ᵀ"
    whole = known.directions.population <= known.directions.samples
    limit = Estimate(
        value, value - half, value + half, sampling_stderr=0.0 if whole else error,
        method=f"{words}, p = {run.share:.3g}", units=UNITS,
    )  # fmt: skip
    return _condition(run, id, title, limit, _labelled(known))


def norms_rule(run: TrainingRun, known: SampleCurvature) -> Condition:
    """Condition 6b: X = I, η ≤ 2tr H / ((1−p)‖H‖_F² + p·mean ‖H_i‖_F²).

    With heavy-ball momentum β: 2(1−β)tr / ((1−p−2β/(1+β))‖H‖_F² + p·mean ‖H_i‖_F²).
    """
    id, title = "norms", "norms of samples' H"
    norms, p, beta, shift = known.norms, run.share, run.momentum, run.weight_decay
    why = "" if norms else known.reason("norms")
    if run.rule.looks_ahead:
        why = "Nesterov's momentum has no form of these norms alone"
    if norms is None or why:
        return _condition(run, id, title, Estimate.missing(why, units=UNITS))

    def limit(row: np.ndarray) -> float:
        more = 2 * shift * row[0] + shift**2 * norms.parameters
        trace, own, whole = row[0] + shift * norms.parameters, row[1] + more, row[2] + more
        below = (1 - p - 2 * beta / (1 + beta)) * whole + p * own
        return float(2 * (1 - beta) * trace / below) if below > 0 else math.inf

    if not math.isfinite(limit(norms.values)):
        why = "with this much momentum it sets no limit"
        return _condition(run, id, title, Estimate.missing(why, units=UNITS))
    method = f"Jacobians of {len(norms.left) or 'all'} samples, p = {p:.3g}"
    found = jackknifed(limit, norms.values, norms.left, norms.confidence, method=method,
                       units=UNITS)  # fmt: skip
    return _condition(run, id, title, found, _labelled(known))


def exact_rule(run: TrainingRun, known: SampleCurvature) -> Condition:
    """Condition 6: η* itself, by an eigenvalue of an operator on symmetric matrices."""
    id, title = "exact", "exact (second moments)"
    if known.exact is None:
        why = known.reason("exact")
        return _condition(run, id, title, Estimate.missing(why, units=UNITS))
    found = known.exact(run.rule, run.share, run.weight_decay)
    limit = Estimate(
        found.value, found.low, found.high,
        sampling_stderr=None if run.subset else 0.0,
        method=f"second-moment operator, p = {run.share:.3g}", units=UNITS,
    )  # fmt: skip
    return _condition(run, id, title, limit, _labelled(known))
