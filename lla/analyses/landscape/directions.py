"""Directions in parameter space, by what a user calls them.

A specification is ``KIND`` or ``KIND:WHICH``, as ``hessian``, ``hessian:0``, ``hessian:0..9``,
``random:3``, ``adam:first``, ``file:directions.h5``. What a kind alone stands for is in ``_KINDS``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from lla.analyses.landscape.direction_files import read_directions
from lla.analyses.landscape.series import Series, line_to, main_axes, plane_through, series_of
from lla.analyses.shared import GRADIENT
from lla.analyses.spectral import spectral
from lla.analyses.workspace import Workspace
from lla.errors import ConfigurationError, nearest
from lla.problem import Problem
from lla.seeding import gaussian

__all__ = ["Directions", "directions_of", "kind_of", "members", "moment", "refuse_beyond"]

_NAN = float("nan")


@dataclass(frozen=True)
class Directions:
    """Some directions, before normalization.

    Attributes:
        vectors: Shape (k, P), float64.
        names: What each is, in words.
        kinds: The kind of each, as "random".
        eigenvalues: Shape (k,); NaN for what is no eigenvector.
        residuals: ‖Hv − λv‖ of each, shape (k,).
        converged: Whether the residual met its tolerance, shape (k,); True for what has none.
        series: The checkpoints that the directions come from, if any.
    """

    vectors: torch.Tensor
    names: tuple[str, ...]
    eigenvalues: np.ndarray
    residuals: np.ndarray
    converged: np.ndarray
    kinds: tuple[str, ...] = ()
    series: Series | None = None

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class _Request:
    """One specification, with all that a kind may need."""

    problem: Problem
    workspace: Workspace
    which: str
    others: tuple[str, ...]
    repeat: int


def directions_of(
    specs: Sequence[str],
    problem: Problem,
    workspace: Workspace,
    *,
    others: Sequence[str] = (),
    repeat: int = 0,
) -> Directions:
    """The directions that specifications name, one after the other.

    Args:
        specs: As ``("hessian",)`` or ``("gradient", "hessian:0")``.
        problem: Whose parameters.
        workspace: Shares eigenvectors and gradient.
        others: Further checkpoints of the same network, for ``between`` and ``pca``.
        repeat: Number of the repetition: other random directions each time.

    Raises:
        ConfigurationError: There is no such kind, index or file, or a direction is zero or not
            finite.
    """
    found = [
        _of_one(spec, _Request(problem, workspace, "", tuple(others), repeat)) for spec in specs
    ]
    made = Directions(
        vectors=torch.cat([one.vectors for one in found]),
        names=tuple(name for one in found for name in one.names),
        eigenvalues=np.concatenate([one.eigenvalues for one in found]),
        residuals=np.concatenate([one.residuals for one in found]),
        converged=np.concatenate([one.converged for one in found]),
        kinds=tuple(kind for one in found for kind in one.kinds),
        series=next((one.series for one in found if one.series), None),
    )
    _refuse_useless(made)
    return made


def kind_of(spec: str) -> tuple[str, str]:
    """The kind that a specification names, and which of its members, or "".

    Raises:
        ConfigurationError: There is no such kind.
    """
    kind, _, which = spec.partition(":")
    if kind not in _KINDS:
        raise ConfigurationError(
            f"there are no axes '{spec}'{nearest(kind, _KINDS)}",
            f"the kinds are: {', '.join(_KINDS)}; a kind's member as hessian:0 or adam:first",
        )
    return kind, which


def _of_one(spec: str, request: _Request) -> Directions:
    kind, which = kind_of(spec)
    found = _KINDS[kind](replace(request, which=which))
    return replace(found, kinds=(kind,) * len(found))


def _refuse_useless(made: Directions) -> None:
    for vector, name in zip(made.vectors, made.names, strict=True):
        if not bool(torch.isfinite(vector).all()):
            raise ConfigurationError(
                f"the direction '{name}' has elements that are not finite",
                "choose other axes: --axes hessian",
            )
        if not bool(vector.any()):
            raise ConfigurationError(
                f"the direction '{name}' is zero: nothing would move along it",
                "choose other axes: --axes hessian",
            )


def _plain(vectors: torch.Tensor, *names: str) -> Directions:
    """Directions that are no eigenvectors."""
    nothing = np.full(len(names), _NAN)
    return Directions(vectors.double(), names, nothing, nothing.copy(), np.ones(len(names), bool))


def _hessian(request: _Request) -> Directions:
    wanted = members(request.which, "hessian") if request.which else [0, -1]
    ends = request.workspace.get(spectral("hessian").ends, request.problem)
    refuse_beyond(wanted, ends.found)
    if set(wanted) <= {0, -1}:  # kept between runs, which all pairs are not
        rows = [0 if index == 0 else 1 for index in wanted]
        vectors, values, residuals = ends.vectors[rows], ends.values[rows], ends.residuals[rows]
        converged = ends.converged[rows]
    else:
        pairs = request.workspace.get(spectral("hessian").spectrum, request.problem).pairs
        vectors = torch.stack([pairs.vectors[index] for index in wanted])
        values, residuals = np.asarray(pairs.values)[wanted], np.asarray(pairs.residuals)[wanted]
        converged = np.asarray(pairs.converged)[wanted]
    names = tuple(_eigenvector(index) for index in wanted)
    return Directions(vectors, names, values, residuals, converged)


def refuse_beyond(wanted: Sequence[int], count: int) -> None:
    """See that of so many eigenvectors there are those with these numbers.

    Raises:
        ConfigurationError: There is one not.
    """
    for index in wanted:
        if not -count <= index < count:
            raise ConfigurationError(
                f"there is no eigenvector {index}: {count} are computed",
                f"ask for more: --set spectrum.largest={abs(index) + 1} (or spectrum.smallest)",
            )


def _eigenvector(index: int) -> str:
    if index in (0, -1):
        return f"eigenvector of λ_{'min' if index else 'max'}"
    end = "smallest" if index < 0 else "largest"
    place = -index if index < 0 else index + 1
    return f"eigenvector {place} from the {end} eigenvalue"


def members(text: str, kind: str) -> list[int]:
    """``2``, ``-1`` or ``0..9``, both ends included.

    Raises:
        ConfigurationError: It is none of these.
    """
    match = re.fullmatch(r"(-?\d+)(?:\.\.(-?\d+))?", text)
    if not match:
        raise ConfigurationError(
            f"'{kind}:{text}' names no member", f"write {kind}:0, or {kind}:0..9 for several"
        )
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
        raise ConfigurationError(f"'{kind}:{text}' is empty", f"write {kind}:{last}..{first}")
    return list(range(first, last + 1))


def _random(request: _Request) -> Directions:
    wanted = members(request.which, "random") if request.which else [0, 1]
    seed, size = request.workspace.seed, request.problem.space.size
    # Every repetition draws anew, and every member has a number of its own in it.
    stage = f"landscape direction {request.repeat}" if request.repeat else "landscape direction"
    drawn = [gaussian(size, seed, stage, index) for index in wanted]
    vectors = torch.stack(drawn).to(request.problem.device)
    return _plain(vectors, *(f"random direction {index}" for index in wanted))


def _gradient(request: _Request) -> Directions:
    slope = request.workspace.get(GRADIENT, request.problem)
    length = torch.linalg.vector_norm(slope)
    return _plain((slope / length if length > 0 else slope)[None], "gradient")


def moment(problem: Problem, which: str) -> Directions:
    """Directions of the optimizer's state: ``first``, ``second``, ``step``; "": first and step.

    Raises:
        ConfigurationError: The checkpoint has no such state, or there is no such moment.
    """
    moments = problem.moments
    if moments is None:
        raise ConfigurationError(
            "the checkpoint holds no moments of an Adam or RMSprop optimizer that fit the network",
            "choose other axes, or save the optimizer's state with the weights",
        )
    device = problem.device
    first, second = moments.first.to(device), moments.second.to(device)
    step = torch.where(second > 0, first / second.clamp_min(1e-300).sqrt(), 0.0)
    known = {"first": first, "second": second, "step": step}
    words = {"first": "Adam's mean gradient m₁", "second": "Adam's mean square m₂",
             "step": "Adam's step m₁/√m₂"}  # fmt: skip
    wanted = [which] if which else ["first", "step"]
    if wanted[0] not in known:
        raise ConfigurationError(
            f"'adam:{which}' names no moment{nearest(which, known)}",
            f"write adam:{', adam:'.join(known)}",
        )
    return _plain(torch.stack([known[name] for name in wanted]), *(words[n] for n in wanted))


def _adam(request: _Request) -> Directions:
    return moment(request.problem, request.which)


def _between(request: _Request) -> Directions:
    series = series_of(request.problem, request.others, "between")
    if len(series.names) == 1:
        vectors, names = line_to(series)
    else:
        vectors, names = plane_through(series)
    return replace(_plain(vectors, *names), series=series)


def _pca(request: _Request) -> Directions:
    series = series_of(request.problem, request.others, "pca")
    vectors, names = main_axes(series)
    return replace(_plain(vectors, *names), series=series)


def _file(request: _Request) -> Directions:
    vectors = read_directions(request.which, request.problem.space).to(request.problem.device)
    names = tuple(f"{'xy'[index]} direction of {request.which}" for index in range(len(vectors)))
    return _plain(vectors, *names)


_KINDS: dict[str, Callable[[_Request], Directions]] = {
    "hessian": _hessian,
    "random": _random,
    "gradient": _gradient,
    "adam": _adam,
    "between": _between,
    "pca": _pca,
    "file": _file,
}
