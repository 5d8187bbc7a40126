"""Criteria that summarize a spectrum in a number.

r_e, K_Hn and C_t are those of Gabdullin (arXiv 2412.10146 and 2504.17618). K_Hn is taken as the
ratio of the means over probes: the mean of the ratios is biased.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lla.estimate import Estimate, Label, mean_of, ratio_of_means, student_quantile
from lla.krylov import Probes, Quadrature

__all__ = [
    "MAINLY_NEGATIVE",
    "NEAR_ZERO",
    "QUASI_SINGULAR",
    "effective_rank",
    "extreme_ratio",
    "mass_ratio",
    "near_zero_share",
    "negative_ratio",
    "spectrum_type",
]

MAINLY_NEGATIVE = -0.6
"""C_t at or below which a spectrum is mainly negative (Gabdullin 2025)."""

NEAR_ZERO = 1e-3
"""Distance from zero, relative to ‖H‖₂, within which an eigenvalue counts as singular."""

QUASI_SINGULAR = 0.99
"""Share of singular eigenvalues from which a spectrum is called quasi-singular.

The literature names the type but publishes no threshold; this one is ours.
"""


def extreme_ratio(smallest: Estimate, largest: Estimate) -> Estimate:
    """r_e = |λ_min / λ_max|, by interval arithmetic on the certified eigenvalues."""
    ratio = _quotient(smallest, largest)
    if not ratio.exists:
        return ratio
    straddles = ratio.low <= 0.0 <= ratio.high
    low, high = sorted((abs(ratio.low), abs(ratio.high)))
    return Estimate(
        abs(ratio.value),
        0.0 if straddles else low,
        high,
        converged=ratio.converged,
        method=ratio.method,
    )


def negative_ratio(smallest: Estimate, largest: Estimate) -> Estimate:
    """C_t = λ_min / λ_max, defined where λ_min < 0 < λ_max."""
    if largest.low <= 0:
        return Estimate.missing("λ_max is not positive, so C_t is not defined")
    if smallest.value >= 0:
        return Estimate.missing("λ_min is not negative, so C_t is not defined")
    return _quotient(smallest, largest)


def _quotient(over: Estimate, under: Estimate) -> Estimate:
    if under.low <= 0 <= under.high:
        return Estimate.missing("λ_max is zero within its interval")
    ends = [a / b for a in (over.low, over.high) for b in (under.low, under.high)]
    return Estimate(
        over.value / under.value,
        min(ends),
        max(ends),
        converged=over.converged and under.converged,
        method="from the certified extreme eigenvalues",
    )


def mass_ratio(
    rules: Sequence[Quadrature],
    power: float,
    confidence: float,
    floor: float = 0.0,
    slack: float = 0.0,
) -> Estimate:
    """K_Hn = Σ_{θ<0} (|θ|w)ⁿ / Σ_{θ>0} (θw)ⁿ, each sum averaged over probes first.

    Args:
        rules: One quadrature; or two, whose errors have opposite signs: then their mean is taken,
            and half their difference is added to the half-width as the quadrature's error.
        power: n.
        confidence: Of the interval.
        floor: Nodes nearer to zero than this are rounding, and left out.
        slack: How far each of the sums may be off by the rounding of products.

    Returns:
        Missing where the denominator is zero up to ``slack``.
    """
    probes, nodes = rules[-1].nodes.shape
    sums = [[rule.power_sums(power, sign, floor) for sign in (-1, +1)] for rule in rules]
    over, under = np.mean(sums, axis=0)
    if under.mean() <= slack:
        return Estimate.missing("no eigenvalue is positive beyond rounding")
    method = f"quadrature, {probes} probes, {nodes} nodes, ratio of means"
    found = ratio_of_means(over, under, confidence, method=method)
    ends = [float(over.mean() / under.mean()) for over, under in sums if under.mean() > 0]
    if not found.exists or len(ends) < 2:
        return found
    # The quadrature's error is the same for all probes: no draw is likely to be lucky with it.
    half = found.high - found.value + (max(ends) - min(ends)) / 2
    half += (1 + found.value) * slack / float(under.mean())
    return replace(found, low=max(0.0, found.value - half), high=found.value + half)


def effective_rank(
    probes: Probes, confidence: float, slack: Sequence[float] | np.ndarray = (0.0, 0.0)
) -> Estimate:
    """tr(H)² / ‖H‖_F² with a delta-method interval over the same probes.

    Args:
        probes: The samples.
        confidence: Of the interval.
        slack: How far trace and square may be off by the error of products.
    """
    traces = np.array([sample.trace for sample in probes.samples])
    squares = np.array([sample.square for sample in probes.samples])
    trace, square = float(traces.mean()), float(squares.mean())
    if square <= 0:
        return Estimate.missing("the Hessian is zero")
    value = trace**2 / square
    influence = 2 * trace / square * (traces - trace) - value / square * (squares - square)
    stderr = float(influence.std(ddof=1)) / math.sqrt(len(traces))
    half = student_quantile(confidence, len(traces) - 1) * stderr
    half += abs(2 * trace / square) * float(slack[0]) + value / square * float(slack[1])
    return Estimate(
        value,
        value - half,
        value + half,
        confidence,
        stderr=stderr,
        method=f"ratio of estimates, {len(traces)} probes",
    )


def near_zero_share(
    probes: Probes, radius: float, confidence: float, slack: float = 0.0
) -> Estimate:
    """Share of eigenvalues within ``radius`` of zero, between the bounds that quadrature gives.

    Known Ritz values are counted, give or take the rank of their coupling to the rest; for the
    rest a Gauss rule gives bounds. Products that are off by ``slack`` move no eigenvalue further
    than that (Weyl): the bounds are those of a radius that is smaller, or larger, by it.
    """

    def known(within: float) -> float:
        return float((np.abs(probes.outer) <= within).sum()) / probes.size

    inside = probes.rest.share_within(radius)[0]
    lower = probes.rest.share_within(max(0.0, radius - slack))[1]
    upper = probes.rest.share_within(radius + slack)[2]
    rank = probes.coupled / probes.size
    least, most = known(max(0.0, radius - slack)) - rank, known(radius + slack) + rank
    low = max(0.0, least + mean_of(lower, confidence, method="").low)
    high = min(1.0, most + mean_of(upper, confidence, method="").high)
    count, steps = probes.rest.nodes.shape
    return Estimate(
        min(max(known(radius) + float(inside.mean()), low), high),
        low,
        high,
        confidence,
        converged=high - low <= 0.1,
        method=f"quadrature, {count} probes of {steps} steps, Chebyshev–Markov–Stieltjes bounds",
    )


def spectrum_type(
    smallest: Estimate, largest: Estimate, negative: Estimate, near_zero: Estimate
) -> Label:
    """The type of a spectrum: for a mainly negative one the other criteria do not apply."""
    if smallest.high < 0 and largest.low <= 0:
        return Label("mainly_negative", "no eigenvalue is positive: r_e and K_H do not apply")
    if negative.exists and negative.value <= MAINLY_NEGATIVE:
        return Label(
            "mainly_negative",
            f"C_t = {negative.value:.3g} ≤ {MAINLY_NEGATIVE}: r_e and K_H do not apply",
        )
    if near_zero.low >= QUASI_SINGULAR:
        return Label(
            "quasi_singular",
            f"at least {near_zero.low:.1%} of the eigenvalues are within {NEAR_ZERO}·‖H‖ of zero",
        )
    reason = f"C_t = {negative.value:.3g}" if negative.exists else "λ_min ≥ 0"
    reason += f", above {MAINLY_NEGATIVE}"
    if near_zero.high >= QUASI_SINGULAR:
        reason += "; whether it is quasi-singular is not decided"
    return Label("mainly_positive", reason)
