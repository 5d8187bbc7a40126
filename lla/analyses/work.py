"""How much each analysis is going to do, for predictions of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lla.analyses.alignment import AlignConfig
from lla.analyses.analysis import Work
from lla.analyses.landscape import LandscapeConfig
from lla.analyses.saliency import SaliencyConfig
from lla.analyses.spectrum import SpectrumConfig
from lla.analyses.stability import StabilityConfig

if TYPE_CHECKING:
    from lla.problem import Problem

__all__ = [
    "of_alignment",
    "of_baseline",
    "of_landscape",
    "of_saliency",
    "of_spectrum",
    "of_stability",
]

_USUAL_STEPS = 60  # what networks of the sizes that were tried took
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
    return usual, Work(gradients=count, products=count, spectral=True)


def of_landscape(problem: Problem, config: LandscapeConfig) -> tuple[Work, Work]:
    """An evaluation at each point, and some to find the range."""

    def points(text: str) -> int:
        return int(text.rpartition(":")[2]) if text else config.points

    grid = points(config.x) * points(config.y)
    usual = Work(evaluations=grid + 10, spectral=True)
    return usual, Work(evaluations=grid + 40, spectral=True)


def of_saliency(problem: Problem, config: SaliencyConfig) -> tuple[Work, Work]:
    """A few gradients of some images."""
    share = min(config.images, len(problem.data)) / len(problem.data)
    work = Work(gradients=6 * share)
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
