"""Analyse live objects or a checkpoint from Python."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from lla.checkpoint import Trust
from lla.errors import ConfigurationError
from lla.ledger import Ledger, Target
from lla.pipeline import analyze_checkpoint, analyze_problem, choose_device, sharing_of
from lla.problem import Data, DataSpec, LossSpec, ModelSpec, Training
from lla.problem.assembly import refuse_no_network
from lla.problem.live import Problem
from lla.problem.problem import Problem as AnyProblem
from lla.problem.recipe import Statistics
from lla.problem.sharded import ShardedProblem
from lla.progress import Progress
from lla.report import CheckpointFacts, Report
from lla.report.storage import refuse_target
from lla.settings import Settings, gather, resolve
from lla.sources import Source
from lla.team import ALONE, Team, by_first

__all__ = ["analyze"]

Sections = Mapping[str, Mapping[str, Any]]


def analyze(
    model: nn.Module | AnyProblem | str | Path,
    data: Data | None = None,
    loss: str | LossSpec | Callable[..., Any] | None = None,
    *,
    training: Training | Mapping[str, Any] | None = None,
    only: str | Sequence[str] = (),
    skip: str | Sequence[str] = (),
    settings: Sections | None = None,
    batch_size: int | None = None,
    batch_norm: Statistics | None = None,
    recipe: str | Path | None = None,
    trust: Trust | None = None,
    progress: Progress | None = None,
    resume: str | Path | None = None,
    team: Team = ALONE,
) -> Report:
    """Analyse a network on data; the network is copied and never changed.

    Args:
        model: The network, analysed in evaluation mode; or a :class:`lla.Problem`; or the path of
            a checkpoint, whose recipe then says the rest, as on the command line.
        data: As :class:`lla.Problem` takes it: (x, y), a dict, a ``Dataset``, a ``DataLoader``.
        loss: A loss' name (cross_entropy if left out), a specification, ``fn(output, target) ->
            mean`` or ``fn(module, batch) -> (sum, count)``.
        training: How the network was trained; the stability conditions need it.
        only: Run these analyses only.
        skip: Leave these analyses out.
        settings: Sections of keys as in a recipe, as ``{"landscape": {"points": 51}}``.
        batch_size: Samples per chunk of an evaluation; by default a short measurement chooses.
        batch_norm: What batch norm normalizes by: "running" statistics (if left out), or "batch"
            for those of all samples, as one batch.
        recipe: For a checkpoint: a recipe other than the one beside it.
        trust: For a checkpoint: what in it may be run; by default nothing.
        progress: Told how far the run is.
        resume: The report's file, written as the command does: each analysis is kept beside it as
            it ends, and what was computed before with equal settings is taken from there.
        team: Ranks that carry out the analysis together, as :func:`lla.distributed.joined` gives
            them; each calls this with the same arguments, and rank 0 alone writes. Never taken
            from the process group by itself: a training loop may analyse on one rank alone.

    Returns:
        The report: the same object that :func:`lla.read` gives for a report file.

    Raises:
        LlaError: A setting is invalid, or model, data and loss do not fit together.

    Example:
        >>> report = lla.analyze(model, (x, y), only=["spectrum"])  # doctest: +SKIP
        >>> report.metrics["hessian/lambda_max"].value  # doctest: +SKIP
    """
    sections = _sections(settings, only, skip)
    if batch_norm is not None and isinstance(model, (str, Path)):
        sections.setdefault("model", {})["batch_norm"] = batch_norm
    if batch_size is not None and isinstance(model, (str, Path)):
        sections.setdefault("data", {})["batch_size"] = batch_size
    stated: dict[str, Any] = {"data": data, "loss": loss, "training": training}
    if isinstance(model, (str, Path)):
        _refuse(stated, "a checkpoint's recipe says it", "settings={'%s': {…}}")
        found = gather(model, recipe=Path(recipe) if recipe else None, flags=sections)
        with found.pointing_to_recipe(), _ledger(resume, team) as ledger:
            report = analyze_checkpoint(
                model, found, trust=trust, progress=progress, ledger=ledger, team=team
            )
            return _delivered(report, ledger, team)
    if not isinstance(model, AnyProblem):
        refuse_no_network(model)
    twice = {key: sections.get(key) for key in ("model", "data", "loss", "training")}
    _refuse(twice, "settings cannot hold it", "%s=… of lla.analyze or lla.Problem")
    resolved = resolve([Source("lla.analyze(…)", sections)])
    if isinstance(model, AnyProblem):
        stated["batch_norm"] = batch_norm
        _refuse(stated, "the problem has it already", "%s=… of lla.Problem")
        problem = model
    else:
        problem = _problem(model, data, loss, training, batch_size, batch_norm, resolved)
    fixed = batch_size is not None or problem is model
    run = _as_run(resolved, problem, fixed=fixed)
    facts = _facts(problem)
    sharing = sharing_of(run, problem.device, team)
    if team.size > 1:
        problem = ShardedProblem.of(problem, team) if sharing.certain else problem.shared_by(team)
    with _ledger(resume, team) as ledger:
        report = analyze_problem(problem, facts, run, progress=progress, ledger=ledger)
        return _delivered(report, ledger, team)


def _delivered(report: Report, ledger: Ledger | None, team: Team) -> Report:
    """The report as rank 0 writes it, if it does."""
    return by_first(team, lambda: ledger.deliver(report) if ledger else report)


def _ledger(resume: str | Path | None, team: Team) -> AbstractContextManager[Ledger | None]:
    if resume is None or team.rank:
        return nullcontext()
    refuse_target(Path(resume))
    return Ledger.opened(Target(Path(resume)))


def _sections(
    settings: Sections | None, only: str | Sequence[str], skip: str | Sequence[str]
) -> dict[str, dict[str, Any]]:
    """The settings that the arguments state."""
    sections = dict(settings or {})
    for name, keys in sections.items():
        if not isinstance(keys, Mapping):
            raise ConfigurationError(
                f"settings: '{name}' is a {type(keys).__name__}, no table of keys",
                "pass sections of keys, as settings={'spectrum': {'steps': 500}}",
            )
    made = {name: dict(keys) for name, keys in sections.items()}
    for name, value in (("only", only), ("skip", skip)):
        if value:
            made.setdefault("run", {})[name] = [value] if isinstance(value, str) else list(value)
    return made


def _refuse(given: Mapping[str, Any], why: str, instead: str) -> None:
    """Refuse what is stated twice, rather than choosing silently."""
    for name, value in given.items():
        if value is not None:
            raise ConfigurationError(f"{name} is given, but {why}", f"pass {instead % name}")


def _problem(
    model: nn.Module,
    data: Data | None,
    loss: str | LossSpec | Callable[..., Any] | None,
    training: Training | Mapping[str, Any] | None,
    batch_size: int | None,
    batch_norm: Statistics | None,
    resolved: Settings,
) -> Problem:
    if data is None:
        raise ConfigurationError(
            "no data is given, and the loss depends on it", "pass lla.analyze(model, (x, y))"
        )
    return Problem(
        model,
        data,
        "cross_entropy" if loss is None else loss,
        training=training,
        batch_size=batch_size or None,
        batch_norm=batch_norm or "running",
        params=resolved.run.params,
        device=choose_device(resolved.run.device),
        dtype=resolved.run.dtype,
    )


def _as_run(resolved: Settings, problem: AnyProblem, *, fixed: bool) -> Settings:
    """The settings with what the problem states, for the report; its chunk, if it is ``fixed``."""
    named = LossSpec(name=problem.loss_name, args=dict(problem.loss_args))
    data = DataSpec(batch_size=problem.data.chunk)
    origins = {**resolved.origins, **({"data.batch_size": "batch_size"} if fixed else {})}
    model = ModelSpec(batch_norm=problem.batch_norm or "running")
    return replace(
        resolved, model=model, data=data, loss=named, training=problem.training, origins=origins
    )


def _facts(problem: AnyProblem) -> CheckpointFacts:
    digest = hashlib.sha256(problem.whole_of(problem.theta).cpu().numpy().tobytes()).hexdigest()
    return CheckpointFacts("", digest, type(problem.module).__name__, problem.space.size)
