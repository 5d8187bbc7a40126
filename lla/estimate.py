"""A number with its interval and how it was obtained."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

__all__ = [
    "GRAVEST",
    "OUTCOMES",
    "Estimate",
    "Label",
    "Outcome",
    "Verdict",
    "alike",
    "finite_or_none",
    "mean_of",
    "ratio_of_means",
    "samples_needed",
    "student_quantile",
]

Outcome = Literal["violated", "at_edge", "consistent", "inconclusive", "not_applicable"]
OUTCOMES: dict[Outcome, str] = {
    "violated": "the learning rate in use is above the whole interval of the largest stable one",
    "at_edge": "it is as large as the largest stable one, within the setting stability.edge (5 %)",
    "consistent": "it is below the whole interval of the largest stable one",
    "inconclusive": "it lies inside that interval, or the eigenvalue has not converged",
    "not_applicable": "the condition does not hold for this training, or a number is unknown",
}


def finite_or_none(value: Any) -> Any:
    """The value, or None for a number that JSON cannot say."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True, slots=True)
class Estimate:
    """A scalar, the interval that holds it, and how both were obtained.

    ``low`` and ``high`` bound the value *for the data analysed* at ``confidence``; a confidence of
    1 means that the interval is certified or the value exact, NaN that the interval indicates the
    error without a stated level. ``stderr`` is the standard error of
    a stochastic estimate. ``sampling_stderr`` is the error from having analysed a sample of a
    larger set. A value that does not exist is NaN, and ``why`` says why.
    """

    value: float
    low: float
    high: float
    confidence: float = 1.0
    stderr: float | None = None
    sampling_stderr: float | None = None
    converged: bool = True
    method: str = ""
    units: str = ""
    why: str = ""

    @classmethod
    def exact(cls, value: float, *, method: str, units: str = "") -> Estimate:
        """A value without uncertainty other than rounding.

        Raises:
            ValueError: The value is not a number.
        """
        if math.isnan(value):
            raise ValueError("a value that is not a number cannot be exact")
        return cls(value, value, value, method=method, units=units)

    @classmethod
    def missing(cls, why: str, *, units: str = "") -> Estimate:
        """The place of a value that does not apply here, with the reason."""
        nan = math.nan
        return cls(nan, nan, nan, converged=False, units=units, why=why)

    @property
    def exists(self) -> bool:
        """Whether there is a value."""
        return not math.isnan(self.value)

    def plain(self) -> dict[str, Any]:
        """As plain values for JSON: non-finite numbers as None, ``why`` only where there is one."""
        found = {name: finite_or_none(value) for name, value in asdict(self).items()}
        if not self.why:
            del found["why"]
        return found

    def within(self, tolerance: float) -> Estimate:
        """The estimate, marked as not converged if its interval is wider than asked.

        Args:
            tolerance: Largest half-width, relative to the value. A twentieth more is let pass:
                the number of samples was chosen for a mean that has since moved a little.
        """
        half = (self.high - self.low) / 2
        return replace(self, converged=half <= 1.05 * tolerance * abs(self.value))

    def map(self, function: Callable[[float], float], *, method: str, units: str = "") -> Estimate:
        """The estimate of ``function(value)`` for a function monotone over the interval."""
        if not self.exists:
            return replace(self, units=units)
        ends = sorted((function(self.low), function(self.high)))
        return Estimate(
            function(self.value),
            ends[0],
            ends[1],
            self.confidence,
            converged=self.converged,
            method=method,
            units=units,
        )


@dataclass(frozen=True, slots=True)
class Label:
    """A result in words, and what it rests on."""

    value: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a condition says of a checkpoint, and the reason in one sentence."""

    id: str
    verdict: Outcome
    why: str

    def __post_init__(self) -> None:
        if self.verdict not in get_args(Outcome):
            raise ValueError(f"'{self.verdict}' is not one of {get_args(Outcome)}")


GRAVEST: tuple[Outcome, ...] = (
    "violated", "at_edge", "inconclusive", "consistent", "not_applicable",
)  # fmt: skip
"""Outcomes of verdicts, the most serious first."""


def alike(verdicts: Iterable[Verdict]) -> list[tuple[Outcome, str, list[Verdict]]]:
    """Verdicts that say the same for the same reason, together; the most serious first."""
    found: dict[tuple[Outcome, str], list[Verdict]] = {}
    for verdict in verdicts:
        found.setdefault((verdict.verdict, verdict.why), []).append(verdict)
    groups = [(outcome, why, those) for (outcome, why), those in found.items()]
    return sorted(groups, key=lambda group: GRAVEST.index(group[0]))


def student_quantile(confidence: float, degrees: int) -> float:
    """Two-sided Student quantile: P(|t| ≤ q) = confidence, with ``degrees`` of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.5 + confidence / 2))


def mean_of(
    samples: ArrayLike,
    confidence: float,
    *,
    pilot: int | None = None,
    method: str,
    units: str = "",
) -> Estimate:
    """The mean of independent samples with its Student interval.

    Args:
        samples: One value per probe, shape (n,).
        confidence: Probability that the interval covers the mean, in (0, 1).
        pilot: If the number of samples was decided from the first ``pilot`` of them, the interval
            is no narrower than their variance and degrees of freedom give: it then keeps its
            level (Stein 1945), which stopping as soon as an interval is narrow does not. Nor is
            it narrower than all samples give, which a skewed distribution needs.
        method: How the samples were obtained.
        units: Units of the value.
    """
    import numpy as np

    values = np.asarray(samples, dtype=np.float64)
    if values.size < 2:
        raise ValueError("an interval needs at least two samples")
    mean = float(values.mean())
    halves = []
    for base in (values, values[: pilot or values.size]):
        stderr = float(base.std(ddof=1)) / math.sqrt(values.size)
        halves.append((student_quantile(confidence, base.size - 1) * stderr, stderr))
    half, stderr = max(halves)
    return Estimate(
        mean, mean - half, mean + half, confidence, stderr=stderr, method=method, units=units
    )


def samples_needed(pilot: ArrayLike, tolerance: float, confidence: float) -> int:
    """How many samples bring the mean's half-width within a relative tolerance (Stein 1945).

    Args:
        pilot: The first samples, shape (n,), n ≥ 2.
        tolerance: Half-width asked for, relative to the mean.
        confidence: Of the interval.

    Returns:
        A number of samples in all, at least n; very large where the mean is zero.
    """
    import numpy as np

    values = np.asarray(pilot, dtype=np.float64)
    deviation = float(values.std(ddof=1))
    allowed = tolerance * abs(float(values.mean()))
    if deviation == 0.0:
        return values.size
    if allowed == 0.0:
        return 1 << 30
    quantile = student_quantile(confidence, values.size - 1)
    return max(values.size, math.ceil((quantile * deviation / allowed) ** 2))


def ratio_of_means(
    numerator: ArrayLike, denominator: ArrayLike, confidence: float, *, method: str
) -> Estimate:
    """The ratio of two means over the same probes, with its delta-method interval.

    The ratio of the means, not the mean of the ratios: the latter is biased for any finite number
    of probes. Returns a missing estimate where the denominator's mean is not positive.

    Args:
        numerator: One value per probe, shape (n,).
        denominator: One value per probe, shape (n,).
        confidence: Probability that the interval covers the ratio, in (0, 1).
        method: How the samples were obtained.
    """
    import numpy as np

    over = np.asarray(numerator, dtype=np.float64)
    under = np.asarray(denominator, dtype=np.float64)
    if under.mean() <= 0:
        return Estimate.missing("the denominator's mean is not positive")
    ratio = float(over.mean() / under.mean())
    influence: np.ndarray = (over - ratio * under) / under.mean()
    stderr = float(influence.std(ddof=1)) / math.sqrt(over.size)
    half = student_quantile(confidence, over.size - 1) * stderr
    return Estimate(ratio, ratio - half, ratio + half, confidence, stderr=stderr, method=method)
