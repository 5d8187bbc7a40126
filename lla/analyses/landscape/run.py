"""Evaluate a landscape and hold it against the checkpoint and its curvature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from lla.analyses.landscape import Axes, LandscapeConfig, LandscapeResult, Panel
from lla.analyses.landscape.checks import (
    Measured,
    disagreeing,
    measured_along,
    quadratic_radius,
    verdict,
)
from lla.analyses.landscape.kinks import Bend, bend_along
from lla.analyses.landscape.planes import band_of, surface_of, trajectory_of
from lla.analyses.landscape.profiles import profiles_of
from lla.analyses.landscape.setting import Setting, is_plane, no_plane, setting_of
from lla.analyses.landscape.topology import topology_of
from lla.analyses.landscape.ways import NO_WAY, way_of
from lla.analyses.workspace import Workspace
from lla.errors import ConfigurationError, NotApplicableError
from lla.estimate import Estimate
from lla.problem import Dataset, Problem
from lla.problem.metrics import with_metrics

__all__ = ["run"]

_UNSEEN = 0.01  # of the rise, at the edge


def run(problem: Problem, config: LandscapeConfig, workspace: Workspace) -> LandscapeResult:
    """The loss over a plane or along lines through the checkpoint."""
    if problem.space.size < 2 and config.form != "lines" and config.axes == ("hessian",):
        raise NotApplicableError("a plane needs two directions, and there is only one parameter")
    problem = with_metrics(problem, config.metrics)
    setting = setting_of(problem, config, workspace)
    draw = _over_plane if is_plane(len(setting.directions), config) else _along_lines
    result = draw(setting, problem, config, workspace)
    return replace(result, **way_of(setting, problem, config, workspace))


def _over_plane(
    setting: Setting, problem: Problem, config: LandscapeConfig, workspace: Workspace
) -> LandscapeResult:
    drawn = surface_of(setting, config, workspace.progress, _also(problem, config))
    surface = drawn.surface
    radius = _no_model()
    if np.isfinite(surface.quadratic).all():
        alpha, beta = setting.axes
        residual = surface.loss - surface.quadratic
        radius = quadratic_radius(alpha, beta, residual, config.residual * config.rise)
    return replace(
        _checked(setting, problem, surface.loss, config, workspace),
        quadratic_radius=radius,
        evaluated=Estimate.exact(drawn.share, method=_shared_out(setting)),
        filling_error=_filling(drawn.error),
        surface=surface,
        trajectory=trajectory_of(setting),
        topology=topology_of(surface.alpha, surface.beta, surface.loss, surface.error),
        band=band_of(problem, config, workspace, setting, surface),
        panel=_panel(problem, config, workspace),
    )


def _along_lines(
    setting: Setting, problem: Problem, config: LandscapeConfig, workspace: Workspace
) -> LandscapeResult:
    profiles = profiles_of(setting, workspace.progress, _also(problem, config))
    evaluated = profiles.loss[np.isfinite(profiles.distance)]
    why = "it is measured on a plane"
    return replace(
        _checked(setting, problem, evaluated, config, workspace),
        quadratic_radius=Estimate.missing(why, units="parameter norm"),
        profiles=profiles,
    )


def _also(problem: Problem, config: LandscapeConfig) -> Dataset | None:
    """The further data, if there is some."""
    if not config.also:
        return None
    if problem.relatives is None:
        raise ConfigurationError(
            "[landscape] also reads a data file, and the problem was given as objects",
            "leave it out, or analyse a checkpoint's file",
        )
    return problem.relatives.data(config.also)


def _shared_out(setting: Setting) -> str:
    workers = setting.surveyor.workers
    at_once = f"by {workers} workers" if workers > 1 else "one after the other"
    return f"count of points; {at_once}, in chunks of {setting.surveyor.problem.data.chunk}"


def _no_model() -> Estimate:
    return Estimate.missing("there is no second-order model of these axes", units="parameter norm")


def _filling(error: float) -> Estimate:
    return Estimate(
        error,
        0.0,
        error,
        confidence=float("nan") if error else 1.0,
        method="disagreement of two interpolants, scaled by what they were seen to be off by",
        units="loss",
    )


def _panel(problem: Problem, config: LandscapeConfig, workspace: Workspace) -> dict[str, Panel]:
    """The further planes that are asked for, by their specification."""
    found = {}
    for text in config.panel:
        axes, _, normalization = text.partition("/")
        stated = {"axes": axes.replace("+", ","), "normalization": normalization or "auto"}
        one = LandscapeConfig(**{**config.model_dump(exclude_unset=True), **stated, "panel": ()})
        setting = setting_of(problem, one, workspace)
        if not is_plane(len(setting.directions), one):
            raise no_plane(text, len(setting.directions))
        drawn = surface_of(setting, one, workspace.progress, None)
        # A name in a report holds no slash.
        found[text.replace("/", " ")] = Panel(
            normalization=(one.normalization,),
            surface=drawn.surface,
            axes=_axes(setting, [one.estimate for one in _measured(setting, problem)]),
        )
    return found


def _measured(setting: Setting, problem: Problem) -> list[Measured]:
    """Curvatures along the directions from losses; of Adam's rule there is none."""
    eps = torch.finfo(problem.theta.dtype).eps
    if not np.isfinite(setting.forms).all():
        why = "there is no second-order model of these axes"
        missing = Estimate.missing(why, units="loss")
        return [Measured(missing, 0.0)] * len(setting.directions)
    return [
        measured_along(
            lambda distance, index=index: setting.along(index, distance),  # type: ignore[misc]
            setting.base,
            float(np.abs(axis).max()),
            eps,
        )
        for index, axis in enumerate(setting.axes)
    ]


def _bends(
    setting: Setting,
    problem: Problem,
    workspace: Workspace,
    measured: list[Measured],
    doubtful: list[bool],
) -> list[Bend | None]:
    """What the curvature along each doubtful direction is made of."""
    workspace.tally("gradients")(2 * sum(doubtful))
    return [
        bend_along(problem, vector, one.step, workspace.tally("matvecs")) if asked else None
        for vector, one, asked in zip(setting.directions.vectors, measured, doubtful, strict=True)
    ]


def _checked(
    setting: Setting,
    problem: Problem,
    loss: np.ndarray,
    config: LandscapeConfig,
    workspace: Workspace,
) -> LandscapeResult:
    """A result with its checks, and nothing else."""
    measured = _measured(setting, problem)
    estimates = [one.estimate for one in measured]
    expected = np.diag(setting.forms).tolist()
    reaches = [float(np.abs(axis).max()) for axis in setting.axes]
    negligible = [_UNSEEN * config.rise * 2 / reach**2 for reach in reaches]
    doubtful = disagreeing(expected, estimates, negligible)
    bends = _bends(setting, problem, workspace, measured, doubtful)
    origin = np.zeros(len(setting.directions))
    off = abs(setting.surveyor.at(*origin).loss - setting.base)
    center = Estimate.exact(off, method="one evaluation at α = β = 0", units="loss")
    non_finite = int((~np.isfinite(loss)).sum())
    axes = _axes(setting, estimates, bends)
    return LandscapeResult(
        center_error=center,
        curvature_alpha=estimates[0],
        curvature_beta=estimates[1]
        if len(estimates) > 1
        else Estimate.missing("there is one axis"),
        cosine=_cosine(axes),
        quadratic_radius=_no_model(),
        non_finite=Estimate.exact(float(non_finite), method="count of points"),
        evaluated=Estimate.exact(1.0, method=_shared_out(setting)),
        filling_error=_filling(0.0),
        barrier=NO_WAY,
        curve_barrier=NO_WAY,
        checks=verdict(
            center,
            setting.base,
            setting.directions.names,
            expected,
            estimates,
            negligible,
            setting.directions.converged.tolist(),
            non_finite,
            bends,
        ),
        axes=axes,
        surface=None,
        profiles=None,
        trajectory=None,
        topology=None,
        path=None,
        band=None,
        panel={},
    )


def _cosine(axes: Axes) -> Estimate:
    if len(axes.names) < 2 or not np.isfinite(axes.cosines[0, 1]):
        return Estimate.missing("there are no two directions")
    return Estimate.exact(float(axes.cosines[0, 1]), method="d₁ᵀd₂ / (‖d₁‖ ‖d₂‖)")


def _axes(setting: Setting, measured: list[Estimate], bends: Sequence[Bend | None] = ()) -> Axes:
    found = setting.directions
    lengths = torch.linalg.vector_norm(found.vectors, dim=1)
    unit = found.vectors / lengths.clamp_min(1e-300)[:, None]
    return Axes(
        names=found.names,
        eigenvalues=found.eigenvalues,
        residuals=found.residuals,
        norms=lengths.cpu().numpy(),
        slope=setting.slopes,
        curvature=np.diag(setting.forms).copy(),
        measured=np.array([one.value for one in measured]),
        measured_low=np.array([one.low for one in measured]),
        measured_high=np.array([one.high for one in measured]),
        cosines=(unit @ unit.T).cpu().numpy(),
        kinks=np.array([bend.kinks if bend else np.nan for bend in bends]) if bends else None,
        kinks_error=np.array([bend.error if bend else np.nan for bend in bends]) if bends else None,
    )
