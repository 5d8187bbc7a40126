"""The page on the baseline."""

from __future__ import annotations

from collections.abc import Sequence

from lla.analyses.baseline import BaselineResult
from lla.numbers import interval
from lla_plots.parts import Section
from lla_plots.phrases import told
from lla_plots.tables import metrics

__all__ = ["sections"]


def sections(result: BaselineResult) -> Sequence[Section]:
    """How well the network fits, and whether it lies at rest."""
    loss, accuracy, gradient = result.value, result.accuracy, result.gradient_norm
    lead = f"The loss over the analysed data is {told(loss)}"
    answer = f"loss {interval(loss)}"
    if accuracy.exists:
        lead += f", and the share of right predictions {told(accuracy)}"
        answer += f", accuracy {interval(accuracy)}"
    lead += "."
    if gradient.exists:
        lead += (
            f" The gradient's norm is {told(gradient)}; at a minimum it would be 0, and above that "
            "the loss still slopes here."
        )
    table = metrics(result, "loss")
    return (Section("baseline", "How well does it fit?", answer, lead, 5, tables=(table,)),)
