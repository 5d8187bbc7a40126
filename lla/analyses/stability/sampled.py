"""The samples' curvature of a problem: what conditions 4 to 6 are made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from lla.analyses.shared import BASE_EVALUATION, GRADIENT
from lla.analyses.spectral import spectral
from lla.analyses.stability import StabilityConfig
from lla.analyses.stability.ascent import ascended
from lla.analyses.stability.drawn import Draws, all_samples, draw_samples, pair_sums
from lla.analyses.stability.noise import Directions, Norms, SampleCurvature
from lla.analyses.stability.nonuniformity import nonuniformity
from lla.analyses.stability.second_moments import MomentOperator, Rule, Threshold, exact_threshold
from lla.analyses.workspace import Workspace
from lla.curvature.samples import SampleForms, Samples
from lla.curvature.sampling import population
from lla.errors import NoSecondDerivativeError
from lla.estimate import Estimate
from lla.problem import Batch, Problem
from lla.problem.losses import BatchLoss
from lla.seeding import gaussian

__all__ = ["sample_curvature"]

_OUTPUTS = 64  # per sample, up to which Jacobians are made
_EXACT_WORK = 3e8  # n·K·P², up to which the exact threshold takes seconds
_JACOBIANS = 1 << 30  # bytes that the drawn samples' Jacobians may take
_CHUNK = 1 << 27  # bytes of Jacobians made at a time
_RANK = 1e-12
_ROUNDING = 1e3
_ALIKE = 1e4  # in units of eps, how near vᵀH_iv and vᵀG_iv are where H_i is G_i
_PROBED = 32


def sample_curvature(
    problem: Problem, config: StabilityConfig, workspace: Workspace, share: float, outputs: int
) -> SampleCurvature:
    """What is to be known of the samples' curvature.

    Args:
        problem: Network, parameters, data and loss; nothing of it is changed.
        config: How many samples, and up to which size the exact threshold is computed.
        workspace: Of the run.
        share: p at the training batch size, for the ascent.
        outputs: K, numbers that the network gives for a sample.
    """
    reason = _unfit(problem, workspace)
    if reason:
        missing = Estimate.missing(reason)
        return SampleCurvature(why={"": reason}, nonuniformity=missing)
    try:
        return _Gathering(problem, config, workspace, share, outputs).found()
    except NoSecondDerivativeError:
        reason = "the network cannot be differentiated twice"
        return SampleCurvature(why={"": reason}, nonuniformity=Estimate.missing(reason))


def _unfit(problem: Problem, workspace: Workspace) -> str:
    if isinstance(problem.objective.loss, BatchLoss):
        return "a loss fn(module, batch) does not say what of it is the network"
    if problem.coupled_layers:
        return "batch norm takes the statistics of all samples: none has a curvature of its own"
    if workspace.plan(problem).way.approximate:
        return "the network cannot be differentiated twice"
    return ""


@dataclass
class _Gathering:
    """One problem's samples on the way to what is known of them."""

    problem: Problem
    config: StabilityConfig
    workspace: Workspace
    share: float
    outputs: int

    def __post_init__(self) -> None:
        self.why: dict[str, str] = {}
        self.n = len(self.problem.data)
        # Losses are sums over samples divided by the sum of their weights.
        self.unit = self.workspace.get(BASE_EVALUATION, self.problem).weight / self.n
        size = self.problem.theta.element_size() * self.problem.space.size * max(self.outputs, 1)
        self.samples = Samples(
            self.problem,
            chunk=max(1, min(32, _CHUNK // size)),
            on_samples=self.workspace.tally("samples"),
        )
        self.size = size

    def found(self) -> SampleCurvature:
        """Gather, cheapest first."""
        directions, matrix = self._directions()
        norms = self._norms()
        return SampleCurvature(
            matrix=matrix,
            directions=directions,
            norms=norms,
            exact=self._exact(),
            nonuniformity=self._nonuniformity(),
            loss=self.workspace.get(BASE_EVALUATION, self.problem).loss,
            mean_form=self._mean_form() if norms and self.problem.loss_name == "mse" else 0.0,
            why=self.why,
        )

    @cached_property
    def draws(self) -> Draws:
        """The drawn samples, as many as memory allows."""
        wanted = self.config.curvature_samples
        narrow = self.outputs <= _OUTPUTS
        return draw_samples(
            self.problem, self.samples if narrow else None, wanted, self.workspace.seed
        )

    def _batch(self, draws: Draws) -> Batch:
        return self.problem.data.select(draws.positions)

    def _forms(self, batches: list[Batch] | None = None, memory: int = 0) -> SampleForms:
        return SampleForms(
            self.problem, batches, memory=memory, on_products=self.workspace.tally("matvecs")
        )

    def _subset(self) -> SampleForms:
        batch = self._batch(self.draws)
        parts = list(batch.chunks(self.problem.data.chunk))
        return self._forms(parts, self.workspace.memory // 4)

    def _directions(self) -> tuple[Directions | None, str]:
        """Forms of all samples along v₁ and what an ascent on some of them found."""
        top = self.workspace.get(spectral("hessian").ends, self.problem).vectors[0]
        subset, shares = self._subset(), self.draws.shares.to(self.problem.device)
        vectors = [top]
        seed = self.workspace.seed
        noise = gaussian(len(top), seed, "ascent of samples", 0).to(top.device)
        for share, starts in ((1.0, ()), (self.share, (top,))):
            if share:
                vectors += ascended(subset, starts, noise, shares, share, self.unit)
        forms, sums = self._forms().forms(torch.stack(vectors))
        matrix = self._matrix(noise, subset)
        subset.release()
        forms, sums = forms / self.unit, sums / (self.unit * self.n)
        mean = forms.mean(1)
        if not float(mean[0]) > 0:
            self.why["directions"] = "the Gauss–Newton matrix has no curvature along v₁"
        centred = forms - mean[:, None]
        moments = torch.stack([centred.pow(k).mean(1) for k in (2, 3, 4)], dim=1)
        directions = Directions(
            mean.cpu().numpy(),
            sums.square().sum(1).cpu().numpy(),
            moments.cpu().numpy(),
            self.n,
            population(self.problem),
            _ROUNDING * torch.finfo(self.problem.theta.dtype).eps,
        )
        return (None if "directions" in self.why else directions), matrix

    def _matrix(self, probe: torch.Tensor, subset: SampleForms) -> str:
        """Whether H_i are their Gauss–Newton matrices: by vᵀH_iv of a random v on some samples."""
        positions = self.draws.positions[:_PROBED]
        unit = probe / probe.norm()
        gauss_newton = subset.forms(unit[None], sums=False)[0][0, : len(positions)]
        batch = self.problem.data.select(positions)
        products = [self.samples.products(part, unit) for part in self.samples.chunks(batch)]
        exact = torch.cat(products) @ unit
        eps = torch.finfo(self.problem.theta.dtype).eps
        largest = float(gauss_newton.abs().max())
        alike = float((exact - gauss_newton).abs().max()) <= _ALIKE * eps * largest
        return "H_i" if alike else "Gauss–Newton"

    def _norms(self) -> Norms | None:
        """From the Jacobians of the drawn samples."""
        if self.outputs > _OUTPUTS:
            words = f"the network gives {self.outputs} numbers for a sample"
            self.why["norms"] = f"{words}, and Jacobians are made of up to {_OUTPUTS}"
            return None
        draws = self.draws
        needed = self.size * len(draws.positions)
        if needed > _JACOBIANS:
            room = (
                f"Jacobians of {len(draws.positions)} samples would take {needed / 2**30:.1f} GiB"
            )
            self.why["norms"] = f"{room}, more than 1; pass fewer: --curvature-samples"
            return None
        try:
            factors, coordinates = self.samples.factors(self._batch(draws))
        except ValueError as error:
            self.why["norms"] = self.why["exact"] = f"H_i are not positive semi-definite: {error}"
            return None
        found = pair_sums(factors, coordinates, draws)
        unit = self.unit
        found = found / np.array([unit, unit**2, unit**2, unit**3])
        if not found[0, 0] > 0:
            self.why["norms"] = "the Gauss–Newton matrix is zero"
            return None
        return Norms(found[0], found[1:], self.problem.space.size, self.workspace.confidence)

    def _mean_form(self) -> float:
        """ḡᵀGḡ."""
        slope = self.workspace.get(GRADIENT, self.problem)
        if not float(slope.norm()):
            return 0.0
        forms, _ = self._forms().forms(slope[None])
        return float(forms.mean()) / self.unit

    def _exact(self) -> Callable[[Rule, float, float], Threshold] | None:
        """The exact threshold where the network is small."""
        size = self.problem.space.size
        work = float(self.n) * self.outputs * size**2
        if size > self.config.exact_parameters or self.outputs > _OUTPUTS or work > _EXACT_WORK:
            self.why.setdefault(
                "exact",
                f"for networks of up to {self.config.exact_parameters} parameters "
                f"and n·K·P² up to {_EXACT_WORK:.0e} only: here {size} and {work:.0e}",
            )
        if "exact" in self.why:
            return None
        try:
            factors, _ = self.samples.factors(self._batch(all_samples(self.n)))
        except ValueError as error:
            self.why["exact"] = f"H_i are not positive semi-definite: {error}"
            return None
        factors = factors.double() / math.sqrt(self.unit)
        rows = factors.flatten(0, 1)
        values, turn = torch.linalg.eigh(rows.T @ rows / self.n)
        eps = torch.finfo(self.problem.theta.dtype).eps
        kept = values > max(_RANK, eps) * values[-1]
        if not bool(kept.any()):
            self.why["exact"] = "the Gauss–Newton matrix is zero"
            return None
        return _Exact(factors @ turn[:, kept], values[kept])

    def _nonuniformity(self) -> Estimate:
        draws = self.draws
        return nonuniformity(
            self.problem, self.samples, draws, self.workspace, self.unit,
            self.workspace.get(spectral("hessian").ends, self.problem).vectors[0],
        )  # fmt: skip


class _Exact:
    """The exact threshold at any batch size; each solution is the next one's start."""

    def __init__(self, factors: torch.Tensor, values: torch.Tensor) -> None:
        self._factors, self._values = factors, values
        self._start: torch.Tensor | None = None
        self._known: dict[tuple[Rule, float, float], Threshold] = {}

    def __call__(self, rule: Rule, share: float, shift: float) -> Threshold:
        key = (rule, share, shift)
        if key not in self._known:
            operator = MomentOperator(self._factors, self._values, share, shift)
            self._known[key], self._start = exact_threshold(operator, rule, self._start)
        return self._known[key]
