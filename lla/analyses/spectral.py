"""What several analyses need of a curvature matrix, each computed once in a run.

One Lanczos run serves eigenvalues, landscape axes, stability and the deflation of the probes; one
set of probes serves density, trace, norm, diagonal and layers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch

from lla.analyses.accuracy import (
    ProbeErrors,
    corrected,
    measured_errors,
    product_errors,
    shifted,
    widened,
)
from lla.analyses.estimates import (
    Spectrum,
    certified_over_groups,
    extreme_estimate,
    frobenius_estimate,
    rounding_of_sums,
    sketched_trace,
    trace_estimate,
    with_sampling,
)
from lla.analyses.keeping import Arrays, Keep
from lla.analyses.shared import DOUBLE, GRADIENT
from lla.analyses.spectrum import EIGENPAIRS, ESTIMATES, SpectrumConfig
from lla.analyses.workspace import Shared, Workspace
from lla.curvature import OperatorName, SummedOperator, Way, operator_of
from lla.curvature.sampling import complete, sampled_groups
from lla.estimate import Estimate, samples_needed
from lla.krylov import (
    Eigenpairs,
    ProbePlan,
    Probes,
    Search,
    TraceSample,
    certified,
    draw_probes,
    extreme_eigenpairs,
)
from lla.problem import Problem
from lla.seeding import gaussian, rademacher

__all__ = ["Ends", "SpectralProducts", "quotient", "spectral"]

_ROUNDING = 100.0  # a product's error in units of eps·‖H‖, generously
_SAFETY = 10.0  # between one product's error and what any may have
_NEGLIGIBLE = 0.01  # of the tolerance: a rounding that needs no float64 products
_LEAST_STEPS = 5

AnyOperator = SummedOperator[Any]


@dataclass(frozen=True)
class Ends:
    """The pairs of the largest and of the smallest eigenvalue.

    Attributes:
        values: Shape (2,).
        residuals: Shape (2,).
        converged: Shape (2,).
        vectors: Unit eigenvectors in rows, float64, shape (2, P).
        found: How many pairs there are in all; if only one, it stands at both ends.
    """

    values: np.ndarray
    residuals: np.ndarray
    converged: np.ndarray
    vectors: torch.Tensor
    found: int

    @classmethod
    def of(cls, pairs: Eigenpairs) -> Ends:
        """The ends of all pairs."""
        count = len(pairs.vectors)
        # The same memory: two vectors may be as large as all that is left of it.
        vectors = pairs.vectors[:: count - 1] if count > 1 else pairs.vectors.expand(2, -1)
        at = [0, -1]
        converged = np.asarray(pairs.converged)[at]
        return cls(pairs.values[at], pairs.residuals[at], converged, vectors, len(pairs.values))

    def packed(self) -> Arrays:
        """As arrays."""
        return {**vars(self), "vectors": self.vectors.cpu().numpy(), "found": np.array(self.found)}

    @classmethod
    def unpacked(cls, arrays: Arrays, problem: Problem) -> Ends:
        """Of arrays, on the problem's device."""
        vectors = torch.from_numpy(arrays["vectors"]).to(problem.home)
        known = arrays["values"], arrays["residuals"], arrays["converged"]
        return cls(*known, vectors, int(arrays["found"]))


@dataclass(frozen=True)
class SpectralProducts:
    """The shared products of one curvature matrix.

    Attributes:
        operator: The matrix as it is multiplied.
        precise: The same in float64, for certifying.
        spectrum: Eigenpairs of both ends.
        ends: Of them, the first and the last.
        errors: What the error of products does to the probes' sums; None where that is rounding.
        probes: Random probes, deflated, with those errors corrected.
        lambda_max: Largest eigenvalue.
        lambda_min: Smallest eigenvalue.
        trace: Trace.
        frobenius: Frobenius norm.
    """

    operator: Shared[AnyOperator]
    precise: Shared[AnyOperator]
    spectrum: Shared[Spectrum]
    ends: Shared[Ends]
    errors: Shared[ProbeErrors | None]
    probes: Shared[Probes]
    lambda_max: Shared[Estimate]
    lambda_min: Shared[Estimate]
    trace: Shared[Estimate]
    frobenius: Shared[Estimate]


@cache
def spectral(name: OperatorName = "hessian") -> SpectralProducts:
    """The shared products of a curvature matrix by its name."""

    def shared(
        what: str, compute: Callable[..., Any], keep: Keep[Any] | None = None
    ) -> Shared[Any]:
        return Shared(f"{name}: {what}", partial(compute, name), keep)

    ends = Keep(Ends.packed, Ends.unpacked, EIGENPAIRS)
    estimate = Keep(_packed, _unpacked, ESTIMATES)

    return SpectralProducts(
        operator=shared("operator", _operator),
        precise=shared("precise operator", _precise),
        spectrum=shared("eigenpairs", _spectrum),
        ends=shared("ends", _ends, ends),
        errors=shared("errors of products", _errors),
        probes=shared("probes", _probes),
        lambda_max=shared("lambda_max", partial(_extreme, index=0), estimate),
        lambda_min=shared("lambda_min", partial(_extreme, index=-1), estimate),
        trace=shared("trace", _trace, estimate),
        frobenius=shared("frobenius", _frobenius, estimate),
    )


def _packed(estimate: Estimate) -> Arrays:
    return {"estimate": np.frombuffer(json.dumps(asdict(estimate)).encode(), np.uint8)}


def _unpacked(arrays: Arrays, problem: Problem) -> Estimate:
    return Estimate(**json.loads(arrays["estimate"].tobytes()))


def _operator(name: OperatorName, problem: Problem, workspace: Workspace) -> AnyOperator:
    plan = workspace.plan(problem)
    memory = plan.keep // problem.team.neighbours
    return _made(name, problem, workspace, memory=memory, way=_way(name, plan.way))


def _way(name: OperatorName, planned: Way) -> Way:
    """Only the Hessian can be multiplied otherwise than by two backward passes."""
    if name == "hessian":
        return planned
    return Way(together=planned.together, precision=planned.precision)


def _made(
    name: OperatorName, problem: Problem, workspace: Workspace, **options: Any
) -> AnyOperator:
    return operator_of(
        name,
        problem,
        seed=workspace.seed,
        on_products=workspace.tally("matvecs"),
        on_step_down=workspace.steps_down.append,
        **options,
    )


def _precise(name: OperatorName, problem: Problem, workspace: Workspace) -> AnyOperator:
    """The matrix in float64, for certifying what products in a lower precision found.

    Networks that fix a lower precision in their code cannot be computed in float64: for them it
    is made in the model's dtype, and intervals allow for its rounding.
    """
    working = workspace.get(spectral(name).operator, problem)
    planned = _way(name, workspace.plan(problem).way)
    found = workspace.get(DOUBLE, problem)
    if found is problem and planned.precision == "same":
        return working
    return _made(name, found, workspace, way=planned.certifying)


def _spectrum(name: OperatorName, problem: Problem, workspace: Workspace) -> Spectrum:
    found = _searched(name, problem, workspace)
    # Whoever goes on after the spectrum needs these, and not the Krylov basis.
    workspace.put(spectral(name).ends, Ends.of(found.pairs))
    return found


def _ends(name: OperatorName, problem: Problem, workspace: Workspace) -> Ends:
    return Ends.of(workspace.get(spectral(name).spectrum, problem).pairs)


def _searched(name: OperatorName, problem: Problem, workspace: Workspace) -> Spectrum:
    config = workspace.config("spectrum", SpectrumConfig)
    plan = workspace.plan(problem)
    if plan.tight:
        workspace.let_go(GRADIENT)
    operator = workspace.get(spectral(name).operator, problem)
    search = Search(
        config.largest,
        config.smallest,
        config.residual_tolerance or (1e-6 if problem.theta.dtype == torch.float64 else 1e-3),
        min(config.max_steps, 2 * operator.size),
        rows=plan.rows,
        least=min(config.max_steps, config.steps - _LEAST_STEPS * config.probes),
        block=config.block,
        on_host=plan.on_host,
        kind=problem.theta.dtype if plan.tight else torch.float64,
        kept=plan.kept_rows if plan.tight else plan.rows,
    )
    pairs = extreme_eigenpairs(
        operator,
        lambda index: gaussian(operator.size, workspace.seed, "eigenpairs", index),
        search,
        on_products=lambda done: workspace.progress.update(
            done, search.products, "Lanczos products at most"
        ),
    )
    try:
        return _made_sure(name, pairs, problem, workspace)
    finally:
        if plan.tight:
            # Made again, in seconds, by whoever needs it after this.
            workspace.let_go(spectral(name).precise)
            workspace.let_go(DOUBLE)


def _made_sure(
    name: OperatorName, pairs: Eigenpairs, problem: Problem, workspace: Workspace
) -> Spectrum:
    """The pairs with the error of what they are made of, certified where that matters."""
    tight = workspace.plan(problem).tight
    operator = workspace.get(spectral(name).operator, problem)
    if tight:
        operator.release()
    precise = workspace.get(spectral(name).precise, problem)
    error, reference = product_errors(pairs, operator, precise, mix=not tight)
    inexact = bool(operator.note)
    coarse = _SAFETY * (error + reference)
    left = _ROUNDING * precise.eps * pairs.norm + _SAFETY * reference  # after certifying
    rounding = left if precise is operator else coarse + operator.eps * pairs.norm
    product_error = coarse if inexact else _ROUNDING * operator.eps * pairs.norm
    groups = sampled_groups(problem)
    sampling = np.full(len(pairs.values), 0.0 if complete(problem) else math.nan)
    if not groups and not inexact and rounding < _NEGLIGIBLE * pairs.tolerance:
        return Spectrum(pairs, rounding, sampling, product_error)
    # Values and residuals by float64 products, where rounding matters or the groups are asked.
    if groups:
        pairs, sampling = certified_over_groups(pairs, precise, groups, problem, singly=tight)
    else:
        pairs = certified(pairs, precise, one_by_one=tight)
    return Spectrum(pairs, left, sampling, product_error, operator.note)


def _errors(name: OperatorName, problem: Problem, workspace: Workspace) -> ProbeErrors | None:
    operator = workspace.get(spectral(name).operator, problem)
    if not operator.note:
        return None
    return measured_errors(
        operator,
        workspace.get(spectral(name).precise, problem),
        partial(rademacher, operator.size, workspace.seed, "errors of products"),
        tuple(place for _, place in problem.space.slices()),
        workspace.confidence,
    )


def _probes(name: OperatorName, problem: Problem, workspace: Workspace) -> Probes:
    config = workspace.config("spectrum", SpectrumConfig)
    operator = workspace.get(spectral(name).operator, problem)
    known = workspace.get(spectral(name).spectrum, problem).pairs.krylov
    plan = workspace.plan(problem)
    rows = max(2, plan.rows - known.basis.rows)
    left = config.steps - known.basis.rows
    steps = max(_LEAST_STEPS, math.ceil(left / config.probes))
    together = max(1, min(config.probes, rows // (steps + 3)))
    if plan.tight:
        steps, together = min(steps, plan.probe_rows), 1
    groups = sampled_groups(problem)

    def enough(samples: tuple[TraceSample, ...]) -> int:
        traces = [sample.trace for sample in samples]
        if config.trace_method != "hutchinson":
            return len(traces)
        needed = samples_needed(traces, workspace.tolerance, workspace.confidence)
        return min(config.max_probes, needed)

    found = draw_probes(
        operator,
        lambda index: rademacher(operator.size, workspace.seed, "probes", index),
        known,
        ProbePlan(
            *(config.probes, steps, together, config.nodes),
            # Numbers do not depend on it: it is left out where a vector of P numbers counts.
            diagonal=not plan.tight or config.diagonal,
            kind=known.basis.kind,
            on_host=plan.tight and plan.on_host,
        ),
        blocks=tuple(place for _, place in problem.space.slices()),
        enough=enough,
        grouped=(lambda vectors: operator.over_groups(vectors, groups)) if groups else None,
        on_products=lambda done, total: workspace.progress.update(done, total, "products"),
    )
    errors = workspace.get(spectral(name).errors, problem)
    return corrected(found, errors) if errors else found


def _extreme(name: OperatorName, problem: Problem, workspace: Workspace, index: int) -> Estimate:
    found = workspace.get(spectral(name).spectrum, problem)
    reach = workspace.get(spectral(name).probes, problem).reach[1 if index == 0 else 0]
    return extreme_estimate(found, index, reach)


def _trace(name: OperatorName, problem: Problem, workspace: Workspace) -> Estimate:
    config = workspace.config("spectrum", SpectrumConfig)
    probes = workspace.get(spectral(name).probes, problem)
    errors = workspace.get(spectral(name).errors, problem)
    operator = workspace.get(spectral(name).operator, problem)
    if config.trace_method == "hutchinson":
        found = trace_estimate(probes, workspace.confidence)
    else:
        draw = partial(rademacher, operator.size, workspace.seed)
        found = sketched_trace(operator, config, draw, workspace.confidence, workspace.tolerance)
        if errors:
            found = shifted(found, float(errors.shift[0]))
    if errors:
        method = f"{found.method}, products{operator.note}"
        found = replace(widened(found, float(errors.half[0])), method=method)
    found = found.within(workspace.tolerance)
    if not errors:
        found = widened(found, rounding_of_sums(probes, operator.eps)[0])
    return with_sampling(found, probes.groups.mean(axis=1) if probes.groups.size else (), problem)


def _frobenius(name: OperatorName, problem: Problem, workspace: Workspace) -> Estimate:
    probes = workspace.get(spectral(name).probes, problem)
    errors = workspace.get(spectral(name).errors, problem)
    operator = workspace.get(spectral(name).operator, problem)
    note = operator.note if errors else ""
    slack = float(errors.half[1]) if errors else rounding_of_sums(probes, operator.eps)[1]
    found = frobenius_estimate(probes, workspace.confidence, slack, note and f", products{note}")
    return found.within(workspace.tolerance)


def quotient(
    vector: torch.Tensor, name: OperatorName, problem: Problem, workspace: Workspace
) -> Estimate:
    """The curvature vᵀAv / ‖v‖² along a direction, by one product in float64.

    Args:
        vector: v, float64, shape (P,), on the problem's device.
        name: Which matrix A is.
        problem: Network, parameters, data and loss.
        workspace: Of the run; A's largest eigenvalue, which bounds the rounding, is shared.

    Returns:
        The quotient with its rounding and, where samples were left out, their error; missing for
        a vector of zeros.
    """
    length = torch.linalg.vector_norm(vector)
    if not length:
        return Estimate.missing("the direction is zero", units="loss")
    unit = (vector / length)[None]
    precise = workspace.get(spectral(name).precise, problem)
    groups = sampled_groups(problem)
    forms = torch.empty(0)
    if groups:
        product, forms = precise.over_groups(unit, groups)
    else:
        product = precise(unit)
    value = float((unit * product).sum())
    coarser = precise.coarser()
    # The ends are kept between runs, and have the largest absolute eigenvalue.
    norm = float(np.abs(workspace.get(spectral(name).ends, problem).values).max())
    slack = _ROUNDING * precise.eps * norm
    if coarser is not None:
        slack += _SAFETY * abs(float((unit * coarser(unit)).sum()) - value)
    found = Estimate(
        value,
        value - slack,
        value + slack,
        method=f"quotient of one product{precise.note}",
        units="loss",
    )
    return with_sampling(found, forms.flatten().cpu().numpy(), problem)
