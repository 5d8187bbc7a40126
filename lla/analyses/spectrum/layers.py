"""How trace and sharpness are shared among layers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lla.analyses.accuracy import widened
from lla.analyses.estimates import rounding_of_sums
from lla.analyses.spectral import SpectralProducts
from lla.analyses.spectrum import Layers, SpectrumConfig
from lla.analyses.workspace import Workspace
from lla.estimate import Estimate, mean_of
from lla.krylov import Krylov, Probes, Restricted, Search, extreme_eigenpairs
from lla.problem import Problem
from lla.problem.parameters import ParameterSpace
from lla.seeding import gaussian

__all__ = ["layer_traces", "layers_of"]

_TOLERANCE = 1e-3


class _Bounds(NamedTuple):
    """A largest eigenvalue between its bounds."""

    value: float
    low: float
    high: float


def layers_of(
    problem: Problem, shared: SpectralProducts, config: SpectrumConfig, workspace: Workspace
) -> Layers:
    """Trace and largest eigenvalue of each layer's block."""
    probes = workspace.get(shared.probes, problem)
    found = workspace.get(shared.spectrum, problem)
    errors = workspace.get(shared.errors, problem)
    slack = found.product_error if found.note else 0.0
    space = problem.space
    owners = [name.rpartition(".")[0] or name for name in space.names]
    names = tuple(dict.fromkeys(owners))
    member = np.array([[owner == name for owner in owners] for name in names], dtype=float)
    traces = layer_traces(probes, member, workspace.confidence)
    sizes = member @ np.array(space.sizes)
    if errors:
        halves = member @ errors.half[2:]
    else:
        unit = rounding_of_sums(probes, workspace.get(shared.operator, problem).eps)[0]
        halves = unit * np.sqrt(sizes / space.size)
    traces = [widened(one, half) for one, half in zip(traces, halves, strict=True)]
    whole = sum(trace.value for trace in traces)
    values = np.array([trace.value for trace in traces])
    sharpness = []
    for index, name in enumerate(names):
        places = _places(space, owners, name)
        if config.layer_steps:
            restricted = Restricted(workspace.get(shared.operator, problem), places)
            sharpness.append(
                _iterated(restricted, config.layer_steps, workspace.seed, index, slack)
            )
        else:
            error = found.product_error
            sharpness.append(_from_known(found.pairs.krylov, probes, places, error))
    return Layers(
        names=names,
        parameters=sizes.astype(np.int64),
        trace=values,
        low=np.array([trace.low for trace in traces]),
        high=np.array([trace.high for trace in traces]),
        share=values / whole if whole else np.zeros_like(values),
        lambda_max=np.array([bounds.value for bounds in sharpness]),
        lambda_max_low=np.array([bounds.low for bounds in sharpness]),
        lambda_max_high=np.array([bounds.high for bounds in sharpness]),
    )


def layer_traces(probes: Probes, member: np.ndarray, confidence: float) -> list[Estimate]:
    """The trace of each layer's block.

    Args:
        probes: Samples with a part for each parameter.
        member: 1 where a parameter is a layer's, else 0: shape (layers, parameters).
        confidence: Of the intervals.
    """
    parts = np.stack([sample.parts for sample in probes.samples]) @ member.T
    return [mean_of(column, confidence, pilot=probes.pilot, method="") for column in parts.T]


def _places(space: ParameterSpace, owners: list[str], name: str) -> tuple[slice, ...]:
    return tuple(
        place for owner, (_, place) in zip(owners, space.slices(), strict=True) if owner == name
    )


def _from_known(krylov: Krylov, probes: Probes, places: tuple[slice, ...], slack: float) -> _Bounds:
    """From the Lanczos run on the whole matrix, without further products.

    The block of A is that of QᵀTQ and that of the rest, whose eigenvalues lie between those of
    the complement, give or take the coupling and the error of products (Weyl).
    """
    squares, turn = np.linalg.eigh(krylov.basis.gram(places).numpy())
    # The block has as many eigenvalues as parameters: further rows would add zeros.
    size = sum(place.stop - place.start for place in places)
    root = (turn * np.sqrt(np.maximum(squares, 0.0)))[:, -size:]
    top = float(np.linalg.eigvalsh(root.T @ krylov.projected @ root)[-1])
    if size > krylov.basis.rows:
        top = max(top, 0.0)
    coupling = float(np.linalg.norm(krylov.coupling, 2)) if krylov.coupling.size else 0.0
    low, high = np.nan_to_num(probes.reach)
    coupling += slack
    return _Bounds(top, top + min(low, 0.0) - coupling, top + max(high, 0.0) + coupling)


def _iterated(restricted: Restricted, steps: int, seed: int, index: int, slack: float) -> _Bounds:
    """By a Lanczos run on the block itself: a Rayleigh quotient and its residual."""
    pairs = extreme_eigenpairs(
        restricted,
        lambda draw: gaussian(restricted.size, seed, f"layer {index}", draw),
        Search(1, 0, _TOLERANCE, steps),
    )
    value, rounding = float(pairs.values[0]), slack or 100 * restricted.eps * pairs.norm
    return _Bounds(value, value - rounding, value + float(pairs.residuals[0]) + rounding)
