"""The domains by products of the curvature engine: any head, and whole networks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from lla.analyses.alignment import AlignConfig
from lla.analyses.alignment.distances import Moments, measures, pairs_of
from lla.analyses.alignment.found import Found, Values, plain
from lla.analyses.alignment.products import (
    Diagonals,
    distance_of_diagonals,
    moments_by_products,
    random_products,
    spectral_difference,
)
from lla.analyses.workspace import Workspace
from lla.curvature import SummedOperator, gradient, operator_of
from lla.estimate import mean_of
from lla.problem import Dataset, ParameterSpace, Problem
from lla.seeding import gaussian, rademacher

__all__ = ["measured_by_products"]

_ROUNDING = 100.0  # a product's error in units of eps·‖H‖_F, generously


@dataclass(frozen=True)
class _Domain:
    """A domain as the engine sees it."""

    operator: SummedOperator[Any]
    gradient: torch.Tensor
    loss: float
    accuracy: float


def measured_by_products(
    problem: Problem,
    space: ParameterSpace,
    scope: str,
    why: str,
    domains: Mapping[str, Dataset],
    config: AlignConfig,
    workspace: Workspace,
) -> Found:
    """All quantities, some with an interval from random signs; none over samples.

    Args:
        problem: Network and loss.
        space: By which parameters.
        scope: The same in words.
        why: Why there is no closed form.
        domains: The domains.
        config: Settings.
        workspace: Of the run.
    """
    known = [_domain(problem, space, data, workspace) for data in domains.values()]
    operators = [one.operator for one in known]
    draw = partial(rademacher, space.size, workspace.seed, "alignment")
    random = random_products(operators, draw, config.probes)
    moments = moments_by_products(
        operators,
        torch.tensor([one.loss for one in known], dtype=torch.float64),
        torch.tensor([one.accuracy for one in known], dtype=torch.float64),
        torch.stack([one.gradient for one in known]),
        random.diagonal,
    )
    values = _values(moments, operators, random, config, workspace)
    note = operators[0].note
    probes = len(next(iter(random.squares.values())))
    signs = f"{probes} random signs{note}, {why}"
    confidence = workspace.confidence
    unsure = {
        name for name in ("frobenius", "diagonal") if _wide(values[name], workspace.tolerance)
    }
    unsure |= {name for name in ("spectral",) if _wide(values[name], 10 * workspace.tolerance)}
    return Found(
        values=values,
        gradient_norm=torch.linalg.vector_norm(moments.gradient, dim=1).cpu().numpy(),
        trace=moments.diagonal.sum(dim=1).cpu().numpy(),
        scope=scope,
        method=f"products of the curvature engine{note}: {why}",
        confidence={
            "frobenius": confidence,
            "diagonal": confidence,
            "hutchinson_penalty": math.nan,
        },
        unsure=frozenset(unsure),
        methods={
            "frobenius": f"root of the mean of ‖(H_a − H_b)z‖², {signs}",
            "diagonal": f"Hutchinson, noise of the estimates taken out, {signs}",
            "hutchinson_penalty": f"Hutchinson, its noise included, {signs}",
            "spectral": f"Lanczos on H_a − H_b, interval from the residual{note}: {why}",
        },
    )


def _domain(
    problem: Problem, space: ParameterSpace, data: Dataset, workspace: Workspace
) -> _Domain:
    own = dict(problem.module.named_parameters())
    theta = torch.cat([own[name].detach().reshape(-1) for name in space.names])
    part = problem.altered(space=space, theta=theta, data=data)
    plan = workspace.plan(problem)
    # A step of differences is found for other parameters: it is looked for anew.
    way = replace(plan.way, precision="same", step=0.0)
    operator = operator_of(
        "hessian",
        part,
        way=way,
        on_products=workspace.tally("matvecs"),
        on_step_down=workspace.steps_down.append,
    )
    slope = gradient(part)
    workspace.tally("gradients")(1)
    found = part.evaluate(part.theta)
    return _Domain(operator, slope, found.loss, found.accuracy)


def _values(
    moments: Moments,
    operators: Sequence[SummedOperator[Any]],
    random: Diagonals,
    config: AlignConfig,
    workspace: Workspace,
) -> dict[str, Values]:
    count = len(operators)
    low, high = ({name: np.zeros((count, count)) for name in _RANDOM} for _ in range(2))
    found = {name: np.zeros((count, count)) for name in _RANDOM}
    for place, (one, other) in enumerate(pairs_of(count)):
        change = random.batches[one] - random.batches[other]
        ends = {
            "spectral": _spectral(one, other, operators, random.norms, config, workspace),
            "frobenius": _frobenius(random.squares[one, other], workspace.confidence),
            "diagonal": distance_of_diagonals(change, workspace.confidence),
        }
        for name, parts in ends.items():
            for matrix, value in zip((found, low, high), parts, strict=True):
                matrix[name][one, other] = matrix[name][other, one] = value
        workspace.progress.update(place + 1, count * (count - 1) // 2, "pairs of domains")

    def known(one: int, other: int) -> tuple[float, float]:
        return float(found["spectral"][one, other]), float(found["frobenius"][one, other])

    weights = (config.hgp_alpha, config.hgp_beta), (config.hutchinson_alpha, config.hutchinson_beta)
    whole = measures(moments, known, hgp=weights[0], hutchinson=weights[1])
    values = plain(moments, whole)
    values["diagonal"] = found["diagonal"]
    return {
        name: _without_samples(value, low.get(name, value), high.get(name, value))
        for name, value in values.items()
    }


_RANDOM = ("spectral", "frobenius", "diagonal")


def _spectral(
    one: int,
    other: int,
    operators: Sequence[SummedOperator[Any]],
    norms: np.ndarray,
    config: AlignConfig,
    workspace: Workspace,
) -> tuple[float, float, float]:
    first = operators[one]
    found = spectral_difference(
        first,
        operators[other],
        lambda index: gaussian(first.size, workspace.seed, f"difference {one} {other}", index),
        tolerance=1e-6 if first.eps < 1e-12 else 1e-3,
        products=min(config.max_products, 2 * first.size),
        rounding=_ROUNDING * first.eps * float(norms[one] + norms[other]),
    )
    return found.value, found.low, found.high


def _frobenius(squares: np.ndarray, confidence: float) -> tuple[float, float, float]:
    found = mean_of(squares, confidence, method="")
    value, low, high = (math.sqrt(max(0.0, n)) for n in (found.value, found.low, found.high))
    return value, low, high


def _without_samples(value: np.ndarray, low: np.ndarray, high: np.ndarray) -> Values:
    nothing = np.full(np.shape(value), math.nan)
    return Values(value, low, high, nothing, nothing, nothing, nothing)


def _wide(values: Values, tolerance: float) -> bool:
    """Whether the interval of the largest entry is wider than asked."""
    place = np.unravel_index(int(np.argmax(values.value)), values.value.shape)
    half = float(values.high[place] - values.low[place]) / 2
    return half > 1.05 * tolerance * float(values.value[place])
