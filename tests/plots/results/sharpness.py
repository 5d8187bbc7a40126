"""The result of sharpness measures."""

from dataclasses import replace

from lla.analyses.sharpness import MEASURES, Measures, SharpnessResult
from lla.estimate import Estimate, Label
from tests.plots.results.values import certified, exact, sampled


def sharpness(**changes):
    missing = Estimate.missing("the batch size is unknown; pass --m or --batch-size")
    result = SharpnessResult(
        sam=certified(0.02, 1e-4),
        sam_order1=exact(0.01),
        sam_order2=certified(0.018, 1e-4),
        m_sharpness=missing,
        asam=certified(0.03, 1e-4),
        asam_order1=exact(0.015),
        asam_order2=certified(0.028, 1e-4),
        average=sampled(0.004, 0.0004),
        average_order2=sampled(0.0012, 0.0001),
        scaled_average=sampled(0.006, 0.0005),
        scaled_average_order2=sampled(0.005, 0.001),
        fisher_rao=certified(0.2, 1e-3),
        relative_flatness=certified(3.0),
        layer=Label("head", "the last linear layer that is called"),
        measures=Measures(
            tuple(MEASURES),
            tuple(invariant for invariant, _ in MEASURES.values()),
            tuple(source for _, source in MEASURES.values()),
        ),
    )
    return replace(result, **changes)
