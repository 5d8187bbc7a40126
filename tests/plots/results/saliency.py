"""Results of saliency maps: with their checks, without, none."""

from dataclasses import replace

import numpy as np

from lla.analyses.saliency import (
    CurvatureMaps,
    Deletion,
    PairMaps,
    Randomization,
    Ranking,
    SaliencyMap,
    SaliencyResult,
    Sheet,
)
from lla.estimate import Estimate
from tests.plots.results.values import exact, sampled


def saliency(count=3, **changes):
    random = np.random.default_rng(0)
    degenerate = np.zeros(count, dtype=bool)
    degenerate[-1] = True
    maps = {
        name: SaliencyMap(raw, raw, degenerate)
        for name, raw in (("a", random.random((count, 4, 4))), ("b", random.random((count, 2, 2))))
    }
    off = Estimate.missing("it was not asked for")
    result = SaliencyResult(
        class_sensitivity=sampled(0.5, 0.1),
        meta_class_sensitivity=sampled(0.4, 0.1),
        meta_agreement=sampled(0.95, 0.02),
        randomized=sampled(0.7, 0.1),
        randomized_beyond=sampled(0.1, 0.1),
        randomized_on_ink=off,
        untrained_agreement=sampled(0.8, 0.05),
        image_agreement=sampled(0.6, 0.1),
        deletion_gain=sampled(0.2, 0.05),
        insertion_gain=sampled(0.3, 0.05),
        noise_agreement=sampled(0.99, 0.005),
        ink_share=off,
        ink_uniform=off,
        degenerate=exact(1 / count),
        mean_sharpness=off,
        sharpest_share=off,
        images=random.random((count, 3, 8, 8)),
        indices=np.arange(count),
        predicted=np.full(count, 7),
        explained=np.full(count, 7),
        targets=np.array([7] * (count - 1) + [4]),
        combined=random.random((count, 8, 8)),
        weights=np.full((count, 2), 0.5),
        meta=None,
        maps=maps,
        pairs={},
        sheet=None,
        randomization=None,
        curves=None,
        curvature=None,
        ranking=None,
    )
    return replace(result, **changes)


def saliency_checks(count=3):
    """What the checks add to a result of saliency maps."""
    random = np.random.default_rng(1)
    share = np.linspace(0, 1, 9)
    down, up = 0.9 * (1 - share) ** 2 + 0.1, 0.9 * share**0.5 + 0.1
    level = np.array([1.0, 0.8, 0.72])
    beyond = np.array([1.0, 0.3, 0.05])
    shown = np.arange(count)
    return {
        "pairs": {
            "scaling_sum": PairMaps(random.random((count, 8, 8)), sampled(0.1), sampled(0.4)),
            "bias_norm": PairMaps(random.random((count, 8, 8)), sampled(0.2), sampled(0.5)),
        },
        "sheet": Sheet(shown, np.array([4, 7]), random.random((count, 2, 8, 8))),
        "randomization": Randomization(
            ("", "head", "conv"), level, level - 0.05, level + 0.05,
            beyond, beyond - 0.1, beyond + 0.1,
        ),
        "curves": Deletion(
            share, down, down - 0.05, down + 0.05, up, up - 0.05, up + 0.05,
            1 - 0.9 * share, 0.1 + 0.9 * share,
        ),
        "curvature": CurvatureMaps(
            np.array([10.0]), np.array([1e-3]), random.normal(size=(1, count, 8, 8)),
            random.normal(size=(1, count)), random.normal(size=(1, count)),
            random.random(count), random.normal(size=(count, 3, 8, 8)), {},
        ),
        "ranking": Ranking(
            np.arange(20), np.linspace(9, -1, 20), np.array([0, 1, 18, 19]),
            random.random((4, 3, 8, 8)), np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5]),
        ),
        "mean_sharpness": exact(4.0),
        "sharpest_share": exact(0.22),
    }  # fmt: skip


def no_saliency():
    why = Estimate.missing("the inputs are no images")
    plain = saliency()
    nothing = {
        name: why if isinstance(value, Estimate) else {} if isinstance(value, dict) else None
        for name, value in vars(plain).items()
    }
    return SaliencyResult(**nothing)
