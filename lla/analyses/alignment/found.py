"""What was measured of the domains, whichever way."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np

from lla.analyses.alignment.bootstrap import Spread, spread_of
from lla.analyses.alignment.distances import Measures, Moments
from lla.analyses.alignment.meaning import Extras

__all__ = ["Found", "Values", "exact_values", "plain"]

_NORMS = (
    "spectral",
    "frobenius",
    "gradient",
    "hgp",
    "diagonal",
    "hgp_penalty",
    "hutchinson_penalty",
)


@dataclass(frozen=True)
class Values:
    """A quantity with what is known of its errors; all of one shape, () or (E,) or (E, E).

    Attributes:
        value: For the data analysed.
        low: Lower end of its interval, for the data analysed.
        high: Upper end.
        stderr: Standard error over samples; NaN where unknown.
        sampling_low: Lower end of the interval over samples.
        sampling_high: Upper end.
        noise: What sampling alone gives; NaN where that means nothing.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    stderr: np.ndarray
    sampling_low: np.ndarray
    sampling_high: np.ndarray
    noise: np.ndarray


@dataclass(frozen=True)
class Found:
    """All quantities of a run.

    Attributes:
        values: By name: the measures, ``hgp_penalty``, ``hutchinson_penalty``, ``domain_loss`` and
            ``domain_accuracy``.
        gradient_norm: ‖g_e‖, shape (E,).
        trace: tr H_e, shape (E,).
        scope: By which parameters.
        method: How.
        confidence: Of the intervals of what is random, by name; the rest is exact.
        unsure: What has not converged.
        extras: Where the domains differ, if the head is linear.
        methods: How a quantity was obtained where it is otherwise than ``method``.
    """

    values: Mapping[str, Values]
    gradient_norm: np.ndarray
    trace: np.ndarray
    scope: str
    method: str
    confidence: Mapping[str, float] = field(default_factory=dict)
    unsure: frozenset[str] = frozenset()
    methods: Mapping[str, str] = field(default_factory=dict)
    extras: Extras | None = None

    def sureness(self, name: str) -> tuple[float, bool]:
        """The confidence of an interval, and whether the value has converged."""
        return self.confidence.get(name, 1.0), name not in self.unsure

    def how(self, name: str) -> str:
        """How a quantity was obtained."""
        return self.methods.get(name, self.method)


def plain(moments: Moments, found: Measures) -> dict[str, np.ndarray]:
    """Everything that has a value of its own, by name."""
    values = {item.name: getattr(found, item.name).cpu().numpy() for item in fields(Measures)}
    loss, accuracy = moments.loss.cpu().numpy(), moments.accuracy.cpu().numpy()
    return {**values, "domain_loss": loss, "domain_accuracy": accuracy}


def exact_values(
    values: Mapping[str, np.ndarray],
    drawn: Mapping[str, np.ndarray],
    noise: Mapping[str, np.ndarray],
    groups: int,
    confidence: float,
) -> dict[str, Values]:
    """Values that are exact for the data analysed, with their bootstrap.

    Args:
        values: By name.
        drawn: Replicates of each, shape (count, …); empty without a bootstrap.
        noise: Replicates of the distances with the difference taken out, by name.
        groups: Groups of samples in the smallest domain.
        confidence: Of the intervals over samples.
    """
    made = {}
    for name, value in values.items():
        spread = _spread(name, value, drawn, groups, confidence)
        floor = np.full(np.shape(value), math.nan)
        if name in noise:
            floor = np.quantile(noise[name], confidence, axis=0) * math.sqrt(groups / (groups - 1))
        made[name] = Values(
            value, value, value, spread.stderr, spread.low, spread.high, np.asarray(floor)
        )
    return made


def _spread(
    name: str, value: np.ndarray, drawn: Mapping[str, np.ndarray], groups: int, confidence: float
) -> Spread:
    least = 0.0 if name in _NORMS else -1.0 if name == "cosine" else -math.inf
    if name == "domain_accuracy":
        least = 0.0
    replicates = drawn.get(name, np.empty((0, *np.shape(value))))
    found = spread_of(value, replicates, groups, confidence, least)
    if name in ("cosine", "domain_accuracy"):
        return Spread(found.stderr, np.minimum(found.low, 1.0), np.minimum(found.high, 1.0))
    return found
