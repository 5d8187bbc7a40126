"""Fisher–Rao norm and relative flatness: measures that ReLU's rescaling leaves unchanged."""

from __future__ import annotations

import math

import torch

from lla.analyses.accuracy import widened
from lla.analyses.estimates import with_sampling
from lla.analyses.sampling import PILOT, draws_until
from lla.analyses.shared import DOUBLE
from lla.analyses.sharpness import ANALYSIS, DEPENDS, SharpnessConfig
from lla.analyses.sharpness.features import Layer, exact_flatness, layer_of
from lla.analyses.spectral import spectral
from lla.analyses.workspace import Workspace
from lla.curvature import operator_of
from lla.curvature.sampling import sampled_groups
from lla.errors import NotApplicableError, ProblemError
from lla.estimate import Estimate, Label, mean_of
from lla.problem import Problem
from lla.seeding import rademacher

__all__ = ["fisher_rao", "relative_flatness"]

_ROUNDING = 100.0


def fisher_rao(problem: Problem, workspace: Workspace) -> Estimate:
    """θᵀFθ = mean_i (θᵀ∇ℓ_i)², by one product with the empirical Fisher matrix.

    F is the second moment of the samples' gradients with the data's own targets, and the loss the
    mean of the ℓ_i over samples (Liang et al. 2019). Of a network of k layers without biases whose
    activations are homogeneous it is k² mean_i ⟨∂ℓ_i/∂f, f⟩², as they show.
    """
    double = workspace.get(DOUBLE, problem)
    theta = double.theta.double()[None]
    groups = sampled_groups(problem)
    try:
        operator = operator_of("empirical_fisher", double, on_products=workspace.tally("matvecs"))
        quotients: list[float] = []
        if groups:
            product, forms = operator.over_groups(theta, groups)
            quotients = forms.flatten().tolist()
            weight = _weight(double)
        else:
            product = operator(theta)
            weight = operator.weight
    except ProblemError as error:
        return Estimate.missing(error.reason)
    # The operator adds up gradients of losses' sums, and divides once by their weights.
    factor = len(problem.data) / weight
    value = float((theta * product).sum()) * factor
    slack = _ROUNDING * operator.eps * abs(value)
    found = Estimate(value, value - slack, value + slack, method="one product with F, in float64")
    return with_sampling(found, [factor * form for form in quotients], problem)


def _weight(problem: Problem) -> float:
    return problem.evaluate(problem.theta).weight


def relative_flatness(
    problem: Problem, config: SharpnessConfig, workspace: Workspace
) -> tuple[Estimate, Label]:
    """Σ ⟨w_s, w_s'⟩ tr(H_ss') of a linear layer with the rows w_s, and the layer's name.

    It is the measure of Petzka et al. 2021: tr((WWᵀ ⊗ 1) H), and so the mean of vec(WR)ᵀ H vec(WR)
    over matrices R of random signs: the curvature under relative changes φ + Rφ of the features
    that the layer is given. Where the layer gives the network's outputs the sum is exact.

    Raises:
        ConfigurationError: The layer that was asked for does not exist.
    """
    double = workspace.get(DOUBLE, problem)
    try:
        layer = layer_of(double, config.layer)
    except NotApplicableError as error:
        return Estimate.missing(error.reason, units="loss"), Label("none", error.reason)
    known = Label(layer.name, "the last linear layer that is called" if not config.layer else "")
    value = exact_flatness(double, layer)
    if value is None:
        return _by_probes(problem, layer, config, workspace), known
    slack = _ROUNDING * torch.finfo(double.theta.dtype).eps * abs(value)
    found = Estimate(
        value, value - slack, value + slack, method="closed form from features", units="loss"
    )
    return with_sampling(found, (), problem), known


def _by_probes(
    problem: Problem, layer: Layer, config: SharpnessConfig, workspace: Workspace
) -> Estimate:
    """The mean of vec(WR)ᵀ H vec(WR) over random signs R."""
    operator = workspace.get(spectral("hessian").precise, problem)
    if operator.coarser() is not None:
        why = "it is estimated from exact products, and the network has no second derivative"
        return Estimate.missing(why, units="loss")
    weight = problem.theta.double()[layer.place].view(layer.shape)
    features = layer.shape[1]

    def form(index: int) -> float:
        signs = rademacher(features**2, workspace.seed, "relative flatness", index)
        vector = torch.zeros(operator.size, dtype=torch.float64, device=problem.device)
        vector[layer.place] = (weight @ signs.to(weight).view(features, features)).reshape(-1)
        return float(vector @ operator(vector))

    found = draws_until(
        form,
        workspace,
        name="relative flatness",
        depends=(ANALYSIS.name, *DEPENDS),
        tolerance=config.share,
        most=config.max_pairs,
    )
    estimate = mean_of(
        found,
        workspace.confidence,
        pilot=min(PILOT, len(found)),
        method=f"Hutchinson, {len(found)} probes",
        units="loss",
    )
    rounding = math.sqrt(operator.size) * operator.eps * abs(estimate.value)
    return with_sampling(widened(estimate, rounding).within(config.share), (), problem)
