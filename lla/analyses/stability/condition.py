"""What a condition of stability is made of: the training run, its curvature, the limit on η."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from lla.analyses.stability.second_moments import Rule
from lla.estimate import Estimate

__all__ = [
    "ADAPTIVE",
    "FULL",
    "UNITS",
    "Condition",
    "Curvature",
    "TrainingRun",
    "excluded_adaptive",
    "excluded_with_noise",
    "inverse",
    "noise_share",
    "smallest_limit",
]

UNITS = "learning rate"
FULL = "full batches have no sampling noise: rule 1 is exact"
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


def excluded_adaptive(run: TrainingRun) -> str:
    """Why what holds of plain SGD does not apply to an adaptive optimizer, or ""."""
    if run.optimizer in ADAPTIVE:
        return f"{run.optimizer} steps by the preconditioned Hessian: it is of plain SGD"
    return ""


def excluded_with_noise(run: TrainingRun) -> str:
    """Why the conditions on SGD's noise do not apply, whatever the batch size, or ""."""
    return run.elsewhere or run.frozen or excluded_adaptive(run)


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
