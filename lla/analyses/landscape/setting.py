"""From settings to what is evaluated: directions as they move, their curvature, their range."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from lla.analyses.landscape import LandscapeConfig, NormalizationName
from lla.analyses.landscape.directions import Directions, directions_of
from lla.analyses.landscape.evaluation import Adam, Linear, Motion, Surveyor
from lla.analyses.landscape.normalization import (
    Moved,
    Normalization,
    normalized,
    orthogonalized,
)
from lla.analyses.landscape.ranges import around, positions, reach_along
from lla.analyses.landscape.workers import SHARING
from lla.analyses.shared import BASE_EVALUATION, GRADIENT
from lla.analyses.spectral import spectral
from lla.analyses.workspace import Workspace
from lla.errors import ConfigurationError
from lla.problem import Problem

__all__ = ["Setting", "is_plane", "no_plane", "setting_of"]

_HIGHEST = 3.0
_MOVED = 0.01  # of the parameters' length, by Adam's rule at the edge
_DAMPING = (1e-8, 1e-2)  # of Adam's rule, if no range is given
_NAN = float("nan")


@dataclass(frozen=True)
class Setting:
    """A plane or lines, ready to be evaluated.

    Attributes:
        directions: As they move: normalized, masked.
        raw: Whether they are Hessian eigenvectors as they are.
        forms: DHDᵀ, shape (k, k); NaN where there is no second-order model.
        slopes: Dg, shape (k,); NaN likewise.
        surveyor: Evaluates points.
        base: Loss at the checkpoint.
        axes: Distances along each direction, each of shape (points,).
    """

    directions: Directions
    raw: bool
    forms: np.ndarray
    slopes: np.ndarray
    surveyor: Surveyor
    base: float
    axes: tuple[np.ndarray, ...]

    def along(self, index: int, distance: float) -> float:
        """Loss at a distance along one direction."""
        steps = np.zeros(len(self.directions))
        steps[index] = distance
        return self.surveyor.at(*steps).loss

    def quadratic(self, steps: np.ndarray) -> np.ndarray:
        """L₀ + gᵀd + ½ dᵀHd at distances (…, k)."""
        slope = steps @ self.slopes
        bend: np.ndarray = (
            self.base + slope + np.einsum("...i,ij,...j", steps, self.forms, steps) / 2
        )
        return bend


def is_plane(count: int, config: LandscapeConfig) -> bool:
    """Whether a plane is drawn of so many directions, or lines.

    Raises:
        ConfigurationError: A plane is asked for, and there are not two directions.
    """
    if config.form == "plane" and count != 2:
        raise ConfigurationError(
            f"a plane has two directions, and --axes {','.join(config.axes)} names {count}",
            "name two, as --axes hessian:0,hessian:1, or draw lines: --form lines",
        )
    return config.form == "plane" or (config.form == "auto" and count == 2)


def no_plane(panel: str, count: int) -> ConfigurationError:
    """What is said of a panel of so many directions."""
    return ConfigurationError(
        f"the panel '{panel}' is no plane: it has {count} directions",
        "write AXES/NORMALIZATION with two directions, as hessian:0+hessian:1/none",
    )


def setting_of(
    problem: Problem,
    config: LandscapeConfig,
    workspace: Workspace,
    *,
    axes: tuple[str, ...] | None = None,
    normalization: NormalizationName | None = None,
    repeat: int = 0,
) -> Setting:
    """What a configuration describes.

    Args:
        problem: Network, data, loss.
        config: Settings.
        workspace: Shared products.
        axes: Other axes than the settings'.
        normalization: Other than the settings'.
        repeat: Number of the repetition.

    Raises:
        ConfigurationError: Axes and the other settings do not go together.
    """
    specs = axes or config.axes
    base = workspace.get(BASE_EVALUATION, problem).loss

    if config.rule == "adam":
        return _of_adam(problem, config, base, workspace)
    found = directions_of(specs, problem, workspace, others=config.checkpoints, repeat=repeat)
    moving, touched = _moving(found, problem, config, normalization or config.normalization)
    motion = Linear(problem.theta, moving.vectors)
    surveyor = _surveyor(problem, motion, config, workspace)
    raw = not touched and bool(np.isfinite(moving.eigenvalues).all())
    forms, slopes = _second_order(moving, raw, problem, config, workspace)
    made = Setting(moving, raw, forms, slopes, surveyor, base, ())
    return replace(made, axes=_ranges(made, config, problem))


def _moving(
    found: Directions, problem: Problem, config: LandscapeConfig, how: NormalizationName
) -> tuple[Directions, bool]:
    """The directions as they move, and whether they differ from what was named."""
    moved = Moved(config.ignore == "none", config.move, config.freeze)
    mask = moved.mask(problem.space).to(problem.device)
    theta = problem.theta.double()
    chosen = [_normalization(kind, how) for kind in found.kinds]
    rows = []
    for vector, scaling, name in zip(found.vectors, chosen, found.names, strict=True):
        row = normalized(
            torch.where(mask, vector, 0.0), theta, problem.space, scaling, config.order
        )
        if not bool(row.any()):
            raise ConfigurationError(
                f"the direction '{name}' moves nothing that is left to move",
                "leave out [landscape] ignore, move or freeze, or choose another normalization",
            )
        rows.append(row)
    vectors = torch.stack(rows)
    if config.orthogonal:
        vectors = orthogonalized(vectors)
    _refuse_parallel(vectors, found.names)
    touched = config.orthogonal or not bool(mask.all()) or set(chosen) != {"none"}
    if not touched:
        return found, False
    nothing = np.full(len(found), _NAN)
    # A scaled eigenvector is none.
    return replace(found, vectors=vectors, eigenvalues=nothing, residuals=nothing.copy()), True


def _normalization(kind: str, how: NormalizationName) -> Normalization:
    if how != "auto":
        return how
    return "filter" if kind == "random" else "none"


def _refuse_parallel(vectors: torch.Tensor, names: tuple[str, ...]) -> None:
    if len(vectors) != 2:
        return
    lengths = torch.linalg.vector_norm(vectors, dim=1)
    cosine = float(vectors[0] @ vectors[1] / (lengths[0] * lengths[1]))
    if not lengths.all() or abs(cosine) > 1 - 1e-9:
        raise ConfigurationError(
            f"'{names[0]}' and '{names[1]}' are parallel (cosine {cosine:.9f}): they span no plane",
            "choose another second direction, or one line: --axes hessian:0",
        )


def _second_order(
    moving: Directions, raw: bool, problem: Problem, config: LandscapeConfig, workspace: Workspace
) -> tuple[np.ndarray, np.ndarray]:
    """DHDᵀ and Dg."""
    if config.statistics == "recomputed" and problem.has_batch_norm:
        # The loss with each point's own statistics has another Hessian.
        count = len(moving)
        return np.full((count, count), _NAN), np.full(count, _NAN)
    slopes = moving.vectors @ workspace.get(GRADIENT, problem)
    if raw:
        return np.diag(moving.eigenvalues), slopes.cpu().numpy()
    operator = workspace.get(spectral("hessian").operator, problem)
    products = operator(moving.vectors)
    forms = moving.vectors @ products.T
    return ((forms + forms.T) / 2).cpu().numpy(), slopes.cpu().numpy()


def _stated(index: int, config: LandscapeConfig, *, plane: bool) -> str:
    """The range that is given for a direction; --x is every line's, --y the second's."""
    if index == 1 and (plane or config.y):
        return config.y
    return config.x


def _ranges(made: Setting, config: LandscapeConfig, problem: Problem) -> tuple[np.ndarray, ...]:
    found = []
    series = made.directions.series
    plane = is_plane(len(made.directions), config)
    lengths = torch.linalg.vector_norm(made.directions.vectors, dim=1).tolist()
    size = float(problem.theta.double().norm()) or 1.0
    for index, length in enumerate(lengths):
        text = _stated(index, config, plane=plane)
        if text:
            found.append(positions(text, 0.0, 0.0, 0))
            continue
        if series is not None:
            others = series.offsets @ made.directions.vectors[index] / length**2
            low, high = around(others.cpu().numpy())
        else:
            high = reach_along(
                float(made.forms[index, index]),
                config.rise,
                size / length,
                made.base + _HIGHEST * config.rise,
                lambda distance, index=index: made.along(index, distance),  # type: ignore[misc]
            )
            low = -high
        found.append(positions("", low, high, config.points))
    return tuple(found)


def _surveyor(
    problem: Problem, motion: Motion, config: LandscapeConfig, workspace: Workspace
) -> Surveyor:
    sharing = workspace.get(SHARING, problem)
    return Surveyor(
        sharing.cut(problem),
        motion,
        config.statistics,
        workspace.tally("points"),
        workspace.keeper,
        sharing.workers,
    )


def _of_adam(
    problem: Problem, config: LandscapeConfig, base: float, workspace: Workspace
) -> Setting:
    moments = problem.moments
    if moments is None:
        raise ConfigurationError(
            "rule = 'adam' moves by the optimizer's moments, and the checkpoint holds none that "
            "fit the network",
            "choose rule = 'add', or save the optimizer's state with the weights",
        )
    mask = Moved(config.ignore == "none", config.move, config.freeze).mask(problem.space)
    motion = Adam(problem.theta, moments, mask)
    # As far as moves the parameters by a hundredth of their length.
    step = motion(np.array([1.0, _DAMPING[1]])) - problem.theta
    reach = _MOVED * float(problem.theta.norm()) / (float(step.norm()) or 1.0)
    nothing = np.full(2, _NAN)
    directions = Directions(
        vectors=torch.zeros(2, problem.space.size, dtype=torch.float64),
        names=("step size of Adam's step", "its damping"),
        eigenvalues=nothing,
        residuals=nothing.copy(),
        converged=np.ones(2, bool),
    )
    axes = (
        positions(config.x, -reach, reach, config.points),
        positions(config.y, *_DAMPING, config.points),
    )
    surveyor = _surveyor(problem, motion, config, workspace)
    return Setting(directions, False, np.full((2, 2), _NAN), nothing.copy(), surveyor, base, axes)
