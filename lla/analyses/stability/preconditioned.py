"""The Hessian as an adaptive optimizer sees it: P^-½HP^-½ with P of the optimizer's state."""

from __future__ import annotations

import math

import numpy as np
import torch

from lla.analyses.estimates import Spectrum, extreme_estimate
from lla.analyses.spectral import spectral
from lla.analyses.stability.condition import ADAPTIVE, TrainingRun
from lla.analyses.workspace import Workspace
from lla.estimate import Estimate
from lla.krylov import Scaled, Search, certified, extreme_eigenpairs
from lla.problem import Problem
from lla.problem.moments import Moments
from lla.seeding import gaussian

__all__ = ["preconditioned_largest", "preconditioner"]

_TOLERANCE = 1e-3
_PRODUCTS = 150
_EPS = 1e-8  # torch's


def preconditioner(
    moments: Moments, optimizer: str, betas: tuple[float, float], eps: float | None
) -> torch.Tensor:
    """P, by which a step divides: the update is η P⁻¹ m with m the mean of the gradients.

    As torch does: Adam's step t divides η by 1−β₁ᵗ and the root of m₂/(1−β₂ᵗ), to which eps is
    added; RMSprop corrects nothing. (Cohen et al. 2022, with the same P.)

    Args:
        moments: The optimizer's state.
        optimizer: "adam", "adamw" or "rmsprop".
        betas: Adam's two decay rates.
        eps: Damping; None for torch's.

    Returns:
        float64, shape (P,).
    """
    damping = _EPS if eps is None else eps
    if optimizer == "rmsprop":
        return moments.divided.sqrt() + damping
    first, second = (1 - beta**moments.step if moments.step else 1.0 for beta in betas)
    return first * ((moments.divided / second).sqrt() + damping)


def preconditioned_largest(problem: Problem, run: TrainingRun, workspace: Workspace) -> Estimate:
    """λ_max of P^-½(H + λ)P^-½; the weight decay λ is in the loss for Adam and RMSprop.

    Returns:
        Missing for optimizers without a preconditioner, or where the state is not known.
    """
    if run.optimizer not in ADAPTIVE:
        return Estimate.missing(f"{run.optimizer} has no preconditioner")
    if problem.moments is None:
        return Estimate.missing(
            "the preconditioner is unknown: the checkpoint holds no optimizer state that fits"
        )
    scale = preconditioner(problem.moments, run.optimizer, run.betas, problem.training.eps).to(
        problem.device
    )
    if not bool((scale > 0).all()):
        return Estimate.missing("the preconditioner is zero somewhere: its eps is 0")
    root = scale.rsqrt()
    shift = 0.0 if run.optimizer == "adamw" else run.weight_decay
    hessian = spectral("hessian")
    operator = Scaled(workspace.get(hessian.operator, problem), root, shift)
    precise = Scaled(workspace.get(hessian.precise, problem), root, shift)
    size = operator.size
    search = Search(1, 0, _TOLERANCE, min(_PRODUCTS, 2 * size), rows=workspace.plan(problem).rows)
    pairs = extreme_eigenpairs(
        operator, lambda index: gaussian(size, workspace.seed, "preconditioned", index), search
    )
    pairs = certified(pairs, precise)
    rounding = 100 * precise.eps * pairs.norm
    found = Spectrum(pairs, rounding, np.full(1, math.nan), 0.0, operator.note)
    return extreme_estimate(found, 0, math.nan)
