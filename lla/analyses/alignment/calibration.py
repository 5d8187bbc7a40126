"""How far confidences are to be believed, per domain: NLL, Brier score, ECE and AURC."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from lla.analyses.alignment.bootstrap import counts_of, spread_of

__all__ = ["BINS", "Scores", "Tally", "area_under_risk", "expected_error"]

BINS = 15
_LEAST_GROUPS = 8


@dataclass(frozen=True)
class Scores:
    """Scores of one domain, in the order NLL, Brier, ECE, AURC, and its reliability diagram.

    Attributes:
        value: Shape (4,).
        low: Lower ends of bootstrap intervals over samples, NaN without a bootstrap; (4,).
        high: Upper ends.
        confidence: Mean confidence in each bin, NaN for empty ones, shape (BINS,).
        accuracy: Share of right predictions in each, shape (BINS,).
        count: Predictions in each, shape (BINS,).
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray


def expected_error(bins: np.ndarray) -> np.ndarray:
    """ECE = Σ_b |Σ correct − Σ confidence| / n (Guo et al. 2017).

    Args:
        bins: Sums of confidence, of right predictions and of predictions: shape (…, BINS, 3).
    """
    gaps: np.ndarray = np.abs(bins[..., 0] - bins[..., 1]).sum(axis=-1)
    found: np.ndarray = gaps / bins[..., 2].sum(axis=-1)
    return found


def area_under_risk(
    confidence: np.ndarray, wrong: np.ndarray, counts: np.ndarray | None = None
) -> float:
    """Mean over coverages of the error among the most confident (Geifman et al. 2019).

    Predictions of equal confidence are taken together: their order says nothing.

    Args:
        confidence: Shape (n,).
        wrong: 1 for a wrong prediction, shape (n,).
        counts: How often each counts; once by default.
    """
    weights = np.ones(len(confidence)) if counts is None else counts
    levels, place = np.unique(-confidence, return_inverse=True)
    weight = np.bincount(place, weights, len(levels))
    errors = np.bincount(place, weights * wrong, len(levels))
    covered = np.cumsum(weight)
    risk = np.divide(np.cumsum(errors), covered, out=np.zeros_like(covered), where=covered > 0)
    return float((risk * weight).sum() / covered[-1])


@dataclass
class Tally:
    """Sums over groups of a domain's predictions, and each one's confidence for the AURC.

    Attributes:
        groups: G.
        sums: NLL, Brier score and predictions, shape (G, 3).
        bins: As for :func:`expected_error`, shape (G, BINS, 3).
        each: Group, confidence and wrongness of each prediction, two numbers and one of them.
    """

    groups: int
    sums: np.ndarray = field(init=False)
    bins: np.ndarray = field(init=False)
    each: list[tuple[int, np.ndarray, np.ndarray]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sums = np.zeros((self.groups, 3))
        self.bins = np.zeros((self.groups, BINS, 3))

    def add(self, group: int, outputs: torch.Tensor, labels: torch.Tensor) -> None:
        """Add predictions that have a label.

        Args:
            group: Which group they are of.
            outputs: Logits, shape (m, K), float64.
            labels: Shape (m,), −1 for none.
        """
        kept = labels >= 0
        logs, labels = outputs[kept].log_softmax(dim=1), labels[kept]
        share = logs.exp()
        truth = torch.nn.functional.one_hot(labels, logs.shape[1]).to(share.dtype)
        confidence, chosen = share.max(dim=1)
        right = (chosen == labels).cpu().numpy().astype(float)
        sure = confidence.cpu().numpy()
        nll = -float((truth * logs).sum())
        self.sums[group] += nll, float((share - truth).square().sum()), len(labels)
        place = np.clip(np.ceil(sure * BINS).astype(int) - 1, 0, BINS - 1)
        for column, values in enumerate((sure, right, np.ones_like(sure))):
            self.bins[group, :, column] += np.bincount(place, values, BINS)
        self.each.append((group, sure, 1 - right))

    def scores(self, name: str, seed: int, replicates: int, confidence: float) -> Scores:
        """The scores with their bootstrap over the same draws as the distances."""
        groups = np.concatenate([np.full(len(sure), index) for index, sure, _ in self.each])
        sure = np.concatenate([part for _, part, _ in self.each])
        wrong = np.concatenate([part for _, _, part in self.each])

        def made(counts: np.ndarray) -> np.ndarray:
            nll, brier, total = counts @ self.sums
            error = expected_error(np.tensordot(counts, self.bins, axes=1))
            area = area_under_risk(sure, wrong, counts[groups])
            return np.array([nll / total, brier / total, error, area])

        value = made(np.ones(self.groups))
        drawn = [
            made(counts_of(self.groups, index, seed, name).numpy())
            for index in range(replicates if self.groups >= _LEAST_GROUPS else 0)
        ]
        spread = spread_of(value, np.array(drawn).reshape(-1, 4), self.groups, confidence, 0.0)
        whole = self.bins.sum(axis=0)
        empty = np.where(whole[:, 2] > 0, whole[:, 2], np.nan)
        return Scores(
            value,
            spread.low,
            spread.high,
            whole[:, 0] / empty,
            whole[:, 1] / empty,
            whole[:, 2],
        )
