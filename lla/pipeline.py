"""Run the analyses of a problem in order, sharing their work, and collect a report."""

from __future__ import annotations

import logging
import platform
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from lla import __version__
from lla import checkpoint as checkpoints
from lla.analyses.analysis import Analysis, imported
from lla.analyses.registry import select
from lla.analyses.spectrum import SpectrumConfig
from lla.analyses.workspace import Workspace
from lla.curvature.plan import Needs, Plan, make_plan, planned
from lla.errors import ConfigurationError, LlaError, NotApplicableError
from lla.problem import Problem, build
from lla.progress import Progress, Silent
from lla.report import CheckpointFacts, Report, Stage
from lla.settings import RunSettings, Settings

_log = logging.getLogger("lla")

__all__ = ["analyze_checkpoint", "analyze_problem", "choose_device", "prepare", "workspace_of"]


def analyze_checkpoint(
    path: str | Path,
    settings: Settings,
    *,
    trust: checkpoints.Trust | None = None,
    progress: Progress | None = None,
    command: Sequence[str] = (),
) -> Report:
    """Load a checkpoint, build its problem and run the chosen analyses.

    Args:
        path: The checkpoint: a file, a folder or a name.
        settings: All settings; what they leave open of the training, the checkpoint fills in.
        trust: What in the checkpoint may be run; by default nothing.
        progress: Told how far the run is.
        command: The command line, for the report.

    Raises:
        LlaError: The checkpoint, the data or the settings cannot be used.
    """
    problem, facts, settings = prepare(path, settings, trust=trust)
    return analyze_problem(problem, facts, settings, progress=progress, command=command)


def prepare(
    path: str | Path, settings: Settings, *, trust: checkpoints.Trust | None = None
) -> tuple[Problem, CheckpointFacts, Settings]:
    """Load a checkpoint and build its problem.

    Returns:
        The problem, which checkpoint it is of, and the settings with what the checkpoint tells.

    Raises:
        LlaError: The checkpoint, the data or the settings cannot be used.
    """
    select(settings.run.only, settings.run.skip)  # a wrong name is told before the work
    device = choose_device(settings.run.device)
    if settings.run.threads:
        torch.set_num_threads(settings.run.threads)
    checkpoint = checkpoints.load(path, weights=settings.model.weights, trust=trust)
    settings = settings.with_facts(checkpoint.facts)
    problem = build(
        checkpoint,
        model=settings.model,
        data=settings.data,
        loss=settings.loss,
        training=settings.training,
        folder=Path(),
        params=settings.run.params,
        device=device,
        dtype=settings.run.dtype,
        seed=settings.run.seed,
    )
    facts = CheckpointFacts(
        path=str(path),
        sha256=checkpoint.sha256,
        format=checkpoint.format,
        parameters=problem.space.size,
    )
    return problem, facts, settings


def analyze_problem(
    problem: Problem,
    facts: CheckpointFacts,
    settings: Settings,
    *,
    progress: Progress | None = None,
    command: Sequence[str] = (),
) -> Report:
    """Run the chosen analyses on a problem.

    An analysis that breaks on an error of its own is marked as failed and the others go on; an
    :class:`~lla.errors.LlaError` stops the run, because it is the user's to mend.

    Args:
        problem: Network, parameters, data and loss.
        facts: Which checkpoint it is.
        settings: All settings.
        progress: Told how far the run is.
        command: The command line, for the report.
    """
    listener = progress or Silent()
    started = datetime.now(UTC)
    workspace = workspace_of(problem, settings, listener)
    entries = select(settings.run.only, settings.run.skip)
    plan = workspace.plan(problem)
    problem = planned(problem, plan)
    results: dict[str, Any] = {}
    stages: dict[str, Stage] = {}
    for position, entry in enumerate(entries, start=1):
        listener.start(entry.name, position, len(entries))
        result, stages[entry.name] = _stage(entry, problem, workspace)
        if result is not None:
            results[entry.name] = result
        listener.finish(entry.name, stages[entry.name].status, stages[entry.name].seconds)
    return Report(
        checkpoint=facts,
        results=results,
        stages=stages,
        plan={**plan.facts(), "steps_down": workspace.steps_down},
        provenance=_provenance(problem, settings, started, command),
    )


def workspace_of(problem: Problem, settings: Settings, progress: Progress) -> Workspace:
    """The workspace of a run, with the measured plan of how its products are made."""
    workspace = Workspace(
        configs=settings.analyses,
        seed=settings.run.seed,
        confidence=settings.run.confidence,
        tolerance=settings.run.tolerance,
        memory=settings.run.memory or _half_of_memory(problem.device),
        progress=progress,
    )
    workspace.measured = _plan(problem, workspace, settings)
    return workspace


def _plan(problem: Problem, workspace: Workspace, settings: Settings) -> Plan:
    """How products are made, measured; what the settings state is kept."""
    spectrum = workspace.config("spectrum", SpectrumConfig)
    wanted = spectrum.largest + spectrum.smallest
    needs = Needs(
        rows=spectrum.max_steps + spectrum.probes * (spectrum.nodes // 2),
        least_rows=3 * wanted + spectrum.block,
        vectors=3 * (wanted + spectrum.probes),
    )
    run = settings.run
    return make_plan(
        problem,
        workspace.memory,
        needs,
        choose_chunk="data.batch_size" not in settings.origins,
        method=run.method,
        precision=run.products,
        together=run.together,
    )


def _stage(entry: Analysis, problem: Problem, workspace: Workspace) -> tuple[Any, Stage]:
    before = Counter(workspace.counts)
    begin = time.perf_counter()
    result, status, why = None, "done", ""
    try:
        config = workspace.config(entry.name, entry.config)
        result = imported(entry.run)(problem, config, workspace)
    except NotApplicableError as error:
        status, why = "not_applicable", error.reason
    except LlaError:
        raise
    except Exception as error:
        _log.exception("the analysis '%s' failed", entry.name)
        status, why = "failed", f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - begin
    work = dict(workspace.counts - before)
    return result, Stage(status, round(seconds, 3), work, why)


def choose_device(name: str) -> str:
    """The torch device of a name; ``auto`` is CUDA where there is one.

    Raises:
        ConfigurationError: There is no such device.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    usable = device is not None and (
        device.type == "cpu"
        or (
            device.type == "cuda"
            and torch.cuda.is_available()
            and (device.index or 0) < torch.cuda.device_count()
        )
    )
    if not usable:
        raise ConfigurationError(
            f"there is no device '{name}' that lla can use here", "use --device auto, or cpu"
        )
    return name


def _half_of_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory // 2)
    import os

    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _named(source: str) -> str:
    """A data source for people: a file's name without its folders; a name behind a scheme whole."""
    return source if ":" in source else Path(source).name


def _provenance(
    problem: Problem, settings: Settings, started: datetime, command: Sequence[str]
) -> dict[str, Any]:
    run: RunSettings = settings.run
    return {
        "versions": {
            "lla": __version__,
            "torch": torch.__version__,
            "numpy": version("numpy"),
            "python": platform.python_version(),
        },
        "command": list(command),
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": str(problem.device),
        "settings": {"seed": run.seed, "dtype": run.dtype, "confidence": run.confidence},
        "batch_norm": problem.batch_norm,
        "configuration": settings.sections(),
        "origins": dict(settings.origins),
        "data": {
            "source": _named(problem.data.source),
            "split": problem.data.split,
            "samples": len(problem.data),
            "available": problem.data.available,
            "sha256": problem.data.sha256,
        },
    }
