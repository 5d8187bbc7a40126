"""How much each analysis is going to do, for predictions of time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lla.analyses.alignment import AlignConfig
from lla.analyses.analysis import Work
from lla.analyses.checkpoints import files_in
from lla.analyses.landscape import LandscapeConfig
from lla.analyses.saliency import SaliencyConfig
from lla.analyses.sharpness import SharpnessConfig
from lla.analyses.spectrum import SpectrumConfig
from lla.analyses.stability import StabilityConfig

if TYPE_CHECKING:
    from lla.problem import Problem

__all__ = [
    "of_alignment",
    "of_baseline",
    "of_landscape",
    "of_saliency",
    "of_sharpness",
    "of_spectrum",
    "of_stability",
]

_USUAL_STEPS = 60  # what networks of the sizes that were tried took
_MOST_STEPS = 300
_PRECISE = 2.0  # a product in float64, in products


def of_baseline(problem: Problem, config: object) -> tuple[Work, Work]:
    """One evaluation and one gradient."""
    work = Work(evaluations=1, gradients=1)
    return work, work


def of_spectrum(problem: Problem, config: SpectrumConfig) -> tuple[Work, Work]:
    """Lanczos, certificates, probes."""
    size = problem.space.size
    certified = _PRECISE * (config.largest + config.smallest)
    probed = max(config.steps - _USUAL_STEPS, 5 * config.probes)
    usual = Work(products=min(_USUAL_STEPS, config.max_steps, size), blocks=certified + probed)
    most = Work(
        products=min(config.max_steps, size),
        blocks=certified + probed + config.max_probes,
    )
    return usual, most


def of_stability(problem: Problem, config: StabilityConfig) -> tuple[Work, Work]:
    """A gradient and a product on each of some training batches."""
    batch = problem.training.batch_size or 0
    share = batch / len(problem.data)
    count = config.max_batches * share
    usual = Work(gradients=10 * share, products=10 * share, spectral=True)
    most = Work(gradients=count, products=count, spectral=True)
    if not config.series:
        return usual, most
    # Each checkpoint of a series takes all of that once more, without a density.
    times = 1 + len(files_in(config.series))
    steps, probed = min(_USUAL_STEPS, problem.space.size), 20
    return (
        replace(
            usual,
            evaluations=times - 1,
            gradients=times * usual.gradients,
            products=times * usual.products + (times - 1) * steps,
            blocks=(times - 1) * 3 * probed,
        ),
        replace(
            most,
            evaluations=times - 1,
            gradients=times * most.gradients,
            products=times * most.products + (times - 1) * _MOST_STEPS,
            blocks=(times - 1) * 10 * probed,
        ),
    )


def of_sharpness(problem: Problem, config: SharpnessConfig) -> tuple[Work, Work]:
    """Two ascents, some products, pairs of evaluations and a few batches."""
    # In float64: a gradient and the two ends of each ascent; certified products.
    gradients, products = 2 * (config.ascent + _PRECISE), 3 * _PRECISE
    share = (config.m or problem.training.batch_size or 0) / len(problem.data)
    step = _PRECISE * min(share, 1.0)

    def work(pairs: int, batches: int) -> Work:
        return Work(
            evaluations=2 * (config.ascent + 2 * _PRECISE) + 4 * pairs + 2 * step * batches,
            gradients=gradients + step * batches,
            products=products,
            blocks=10,
            spectral=True,
        )

    return work(config.max_pairs // 2, 10), work(config.max_pairs, config.max_batches)


def of_landscape(problem: Problem, config: LandscapeConfig) -> tuple[Work, Work]:
    """An evaluation at each point, and some to find the range."""

    def points(text: str) -> int:
        return int(text.rpartition(":")[2]) if text else config.points

    grid = points(config.x) * points(config.y)
    usual = Work(evaluations=grid + 10, spectral=True)
    return usual, Work(evaluations=grid + 40, spectral=True)


def of_saliency(problem: Problem, config: SaliencyConfig) -> tuple[Work, Work]:
    """Passes over some images: maps, their checks; and over all samples where they are ranked."""
    whole = len(problem.data)
    images = len(config.files or config.indices) or min(config.images, whole)
    passes = 3 + config.sheet + 6 * config.meta
    passes += (8 + 5 * config.randomize) * bool(config.randomize)
    passes += config.noise_draws * bool(config.noise)
    ranked = min(config.ranked or whole, whole) / whole if config.curvature else 0.0
    share = images / whole
    work = Work(
        evaluations=4 * (config.curve_steps + 1) * share,
        gradients=passes * share,
        products=2 * ranked + 4 * config.curvature * share,
        spectral=bool(config.curvature),
    )
    return work, work


def of_alignment(problem: Problem, config: AlignConfig) -> tuple[Work, Work]:
    """A few passes over each domain, taken to be as large as the analysed data.

    Without a closed form, which is seen only once the network is run, products with each domain.
    """
    count = len(config.domains) + len(problem.domains) + (0 if config.by else 1)
    if count < 2 and not config.by:
        return Work(), Work()
    count = max(count, 2)
    passes = Work(evaluations=4 * count, gradients=count)
    products = (config.probes + 2) * count + config.max_products * count * (count - 1)
    most = Work(evaluations=4 * count, gradients=2 * count, blocks=products)
    return (most if config.scope != "head" else passes), most
