"""Measure the domains' gradients and Hessians, and compare them pair by pair."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist

import numpy as np
import torch

from lla.analyses.alignment import MEASURES, AlignConfig, AlignResult, Domains, Matrix
from lla.analyses.alignment.by_closed_form import NoRoomError, measured_closed
from lla.analyses.alignment.by_products import measured_by_products
from lla.analyses.alignment.closed import NoClosedFormError
from lla.analyses.alignment.domains import domains_of
from lla.analyses.alignment.found import Found, Values
from lla.analyses.alignment.head import Head, find_head
from lla.analyses.workspace import Workspace
from lla.errors import ConfigurationError
from lla.estimate import Estimate, Label
from lla.problem import Dataset, ParameterSpace, Problem

__all__ = ["run"]

_UNITS = {"hgp": "loss²", "cosine": "", "accuracy": ""}


def run(problem: Problem, config: AlignConfig, workspace: Workspace) -> AlignResult:
    """All matrices between the domains and both penalties."""
    domains = domains_of(problem, config)
    found = _measured(problem, domains, config, workspace)
    names = tuple(domains)
    matrices = {name: _matrix(names, found.values[name]) for name in MEASURES}
    one, other = _farthest(found.values["spectral"].value)
    return AlignResult(
        spectral_distance=_largest(found, "spectral"),
        frobenius_distance=_largest(found, "frobenius"),
        gradient_distance=_largest(found, "gradient"),
        hgp_distance=_largest(found, "hgp"),
        diagonal_distance=_largest(found, "diagonal"),
        gradient_cosine=_smallest_cosine(found),
        loss_difference=_largest(found, "loss"),
        accuracy_difference=_largest(found, "accuracy"),
        hgp_penalty=_scalar(found, "hgp_penalty"),
        hutchinson_penalty=_scalar(found, "hutchinson_penalty"),
        scope=Label(found.scope, found.method),
        farthest=Label(f"{names[one]} and {names[other]}", "largest spectral distance"),
        domains=_domains(domains, found),
        distances=matrices,
        calibration_error=_calibration_error(found, workspace),
        pairs=found.extras.pairs if found.extras else {},
        attributes=found.extras.attributes if found.extras else None,
        drop_correlation=_drop_correlation(found),
        ranks=found.extras.ranks if found.extras else None,
        tilting=found.extras.tilting if found.extras else None,
        calibration=found.extras.calibration if found.extras else None,
    )


def _drop_correlation(found: Found) -> Estimate:
    ranks = found.extras.ranks if found.extras else None
    if ranks is None or math.isnan(ranks.correlation[0]):
        return Estimate.missing(
            "it needs accuracies and four domains beside the first that differ in them"
            if found.extras
            else "the head has no closed form"
        )
    ends = (ranks.low, ranks.high, ranks.domains_low, ranks.domains_high)
    low, high, wide_low, wide_high = (float(part[0]) for part in ends)
    method = "Spearman, exact for the data analysed"
    if not math.isnan(low):
        method += f"; bootstrap over samples {low:.2f} to {high:.2f}"
        method += f", over domains as well {wide_low:.2f} to {wide_high:.2f}"
    return Estimate.exact(float(ranks.correlation[0]), method=method)


def _calibration_error(found: Found, workspace: Workspace) -> Estimate:
    scores = found.extras.calibration if found.extras else None
    if scores is None:
        why = (
            "the loss is no cross-entropy of classes"
            if found.extras
            else "the head has no closed form"
        )
        return Estimate.missing(why)
    place = int(np.argmax(scores.ece))
    half = float(scores.ece_high[place] - scores.ece_low[place]) / 2
    quantile = NormalDist().inv_cdf(0.5 + workspace.confidence / 2)
    value = float(scores.ece[place])
    method = f"{len(scores.bin)} bins, {scores.names[place]}; error over samples: bootstrap"
    stderr = None if math.isnan(half) else half / quantile
    return Estimate(value, value, value, sampling_stderr=stderr, method=method)


def _measured(
    problem: Problem, domains: Mapping[str, Dataset], config: AlignConfig, workspace: Workspace
) -> Found:
    """By the closed form where there is one, else by products."""
    first = next(iter(domains.values()))
    few = (
        first.select(torch.arange(min(4, len(first))))
        if not problem.coupled_layers
        else first.whole
    )
    head = find_head(problem, few)
    space, words = _space(problem, config.scope, head)
    why = "the scope is not the head alone"
    if head is not None and set(space.names) == set(head.names):
        why = head.why
        if head.linear:
            try:
                return measured_closed(problem, head, domains, config, workspace)
            except (NoClosedFormError, NoRoomError) as error:
                why = str(error)
    return measured_by_products(
        problem, space, f"{words}, {space.size} parameters", why, domains, config, workspace
    )


def _space(problem: Problem, scope: str, head: Head | None) -> tuple[ParameterSpace, str]:
    """The parameters that gradients and Hessians are by."""
    if scope == "all":
        return problem.space, "all analysed parameters"
    if scope != "head":
        globs = tuple(part for part in scope.split(",") if part)
        return ParameterSpace.of(problem.module, globs), f"parameters {', '.join(globs)}"
    if head is None:
        raise ConfigurationError(
            "which layer of a compiled program is its head cannot be seen",
            "name its parameters: --scope GLOB (lla inspect lists them), or take --scope all",
        )
    return head.space, head.layer or "the network's only layer"


def _matrix(names: tuple[str, ...], values: Values) -> Matrix:
    return Matrix(
        names,
        values.value,
        values.low,
        values.high,
        values.stderr,
        values.sampling_low,
        values.sampling_high,
        values.noise,
    )


def _farthest(matrix: np.ndarray) -> tuple[int, int]:
    one, other = np.unravel_index(int(np.argmax(matrix)), matrix.shape)
    if one == other:
        return 0, 1
    return (int(one), int(other)) if one < other else (int(other), int(one))


def _largest(found: Found, name: str) -> Estimate:
    """The entry of the largest absolute value; its interval holds the largest of all entries."""
    values = found.values[name]
    units = _UNITS.get(name, "loss")
    sizes = np.abs(values.value)
    if not np.isfinite(sizes).any():
        return Estimate.missing("the loss has no classes", units=units)
    place = np.unravel_index(int(np.nanargmax(sizes)), sizes.shape)
    value = float(sizes[place])
    signed = name in ("loss", "accuracy")
    low = value if signed else float(np.nanmax(values.low))
    high = value if signed else float(np.nanmax(values.high))
    return _estimate(found, name, value, low, high, float(values.stderr[place]), units)


def _smallest_cosine(found: Found) -> Estimate:
    values = found.values["cosine"]
    if not np.isfinite(values.value).any():
        return Estimate.missing("a domain's gradient vanishes")
    place = np.unravel_index(int(np.nanargmin(values.value)), values.value.shape)
    value = float(values.value[place])
    return _estimate(found, "cosine", value, value, value, float(values.stderr[place]), "")


def _scalar(found: Found, name: str) -> Estimate:
    values = found.values[name]
    value, low, high = (float(part) for part in (values.value, values.low, values.high))
    return _estimate(found, name, value, low, high, float(values.stderr), "")


def _estimate(
    found: Found, name: str, value: float, low: float, high: float, stderr: float, units: str
) -> Estimate:
    confidence, converged = found.sureness(name)
    return Estimate(
        value,
        min(low, value),
        max(high, value),
        confidence,
        sampling_stderr=None if math.isnan(stderr) else stderr,
        converged=converged,
        method=found.how(name),
        units=units,
    )


def _domains(domains: Mapping[str, Dataset], found: Found) -> Domains:
    loss, accuracy = found.values["domain_loss"], found.values["domain_accuracy"]
    return Domains(
        names=tuple(domains),
        samples=np.array([len(data) for data in domains.values()]),
        loss=loss.value,
        loss_low=loss.sampling_low,
        loss_high=loss.sampling_high,
        accuracy=accuracy.value,
        accuracy_low=accuracy.sampling_low,
        accuracy_high=accuracy.sampling_high,
        gradient_norm=found.gradient_norm,
        trace=found.trace,
    )
