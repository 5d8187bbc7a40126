"""What conditions say of a learning rate; needs no torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lla.estimate import Estimate, Outcome, Verdict
from lla.numbers import interval

if TYPE_CHECKING:
    from lla.analyses.stability.condition import Condition

__all__ = ["judge", "left_open"]


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
    sizes = f"η = {lr:.4g}, largest stable {interval(limit)}"
    if abs(lr / limit.value - 1) <= edge:
        return Verdict(condition.id, "at_edge", f"{sizes}: within {100 * edge:.3g} %{note}")
    if lr > limit.high:
        if condition.indicates:
            return Verdict(
                condition.id, "inconclusive", f"{sizes}: above it, and {condition.indicates}{note}"
            )
        return Verdict(condition.id, "violated", f"{sizes}: above it{note}")
    if lr < limit.low:
        return Verdict(condition.id, "consistent", f"{sizes}: below it{note}")
    return Verdict(condition.id, "inconclusive", f"{sizes}: inside the interval{note}")


def left_open(limit: Estimate, lr: float, edge: float) -> frozenset[Outcome]:
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
