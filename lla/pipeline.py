"""Run the analyses of a problem in order, sharing their work, and collect a report."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from lla import checkpoint as checkpoints
from lla.allocator import give_back_large
from lla.analyses.analysis import Analysis, imported
from lla.analyses.keeping import Arrays
from lla.analyses.registry import available
from lla.analyses.workspace import Workspace
from lla.curvature.plan import planned
from lla.errors import (
    AnalysisFailedError,
    ConfigurationError,
    InterruptedRunError,
    LlaError,
    NotApplicableError,
)
from lla.execution import (
    followed,
    measured,
    memory_of,
    numbers_of,
    sections_of,
    workspace_of,
)
from lla.keys import Keys, base_key
from lla.ledger import Found, Ledger, TeamLedger
from lla.problem import Problem, build
from lla.problem.sharded import ShardedProblem
from lla.problem.sharding.shards import Sharing
from lla.progress import Progress, Silent
from lla.provenance import provenance_of, tell_seconds, tell_share
from lla.report import CheckpointFacts, Report, Stage
from lla.settings import Settings
from lla.team import ALONE, Team, Turns
from lla.watching import peak_of_process

_log = logging.getLogger("lla")

_LARGE = 32 << 20  # bytes of θ from which on its vectors leave holes that others do not fit

__all__ = [
    "analyze_checkpoint",
    "analyze_problem",
    "choose_device",
    "prepare",
    "refuse_unusable",
    "sharing_of",
]


def analyze_checkpoint(
    path: str | Path,
    settings: Settings,
    *,
    trust: checkpoints.Trust | None = None,
    progress: Progress | None = None,
    command: Sequence[str] = (),
    ledger: Ledger | None = None,
    team: Team = ALONE,
) -> Report:
    """Load a checkpoint, build its problem and run the chosen analyses.

    Args:
        path: The checkpoint: a file, a folder or a name.
        settings: All settings; what they leave open of the training, the checkpoint fills in.
        trust: What in the checkpoint may be run; by default nothing.
        progress: Told how far the run is.
        command: The command line, for the report.
        ledger: What is done already, and where each analysis is kept as it ends; rank 0's.
        team: Ranks that carry out the run together.

    Raises:
        LlaError: The checkpoint, the data or the settings cannot be used.
    """
    problem, facts, settings = prepare(path, settings, trust=trust, team=team)
    return analyze_problem(
        problem, facts, settings, progress=progress, command=command, ledger=ledger
    )


def prepare(
    path: str | Path,
    settings: Settings,
    *,
    trust: checkpoints.Trust | None = None,
    team: Team = ALONE,
) -> tuple[Problem, CheckpointFacts, Settings]:
    """Load a checkpoint and build its problem, on each rank of a team.

    Returns:
        The problem, which checkpoint it is of, and the settings with what the checkpoint tells.

    Raises:
        LlaError: The checkpoint, the data or the settings cannot be used.
    """
    settings.selected()  # a wrong name is told before the work
    device = choose_device(settings.run.device)
    if settings.run.threads:
        torch.set_num_threads(settings.run.threads)
    sharing = sharing_of(settings, torch.device(device), team)
    with Turns(team if settings.run.shard_parameters else ALONE) as turns:
        return _loaded(path, settings, device, trust, team, sharing, turns)


def _loaded(
    path: str | Path,
    settings: Settings,
    device: str,
    trust: checkpoints.Trust | None,
    team: Team,
    sharing: Sharing,
    turns: Turns,
) -> tuple[Problem, CheckpointFacts, Settings]:
    checkpoint = checkpoints.load(path, weights=settings.model.weights, trust=trust)

    def let_go() -> None:
        """This rank has its share: what was read is freed before the next one reads."""
        if isinstance(checkpoint.tensors, dict):
            checkpoint.tensors.clear()
        turns.next()

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
        sharing=replace(sharing, placed=let_go),
    )
    if problem.theta.nbytes >= _LARGE:
        give_back_large(problem.theta.nbytes)
    facts = CheckpointFacts(
        path=str(path),
        sha256=checkpoint.sha256,
        format=checkpoint.format,
        parameters=problem.space.size,
    )
    if team.size > 1 and not isinstance(problem, ShardedProblem):
        problem = problem.shared_by(team)
    return problem, facts, settings


def sharing_of(settings: Settings, device: torch.device, team: Team) -> Sharing:
    """Whether the ranks share the parameters: where that is asked for, or one cannot hold them.

    Raises:
        ConfigurationError: It is asked for, and there is one rank.
    """
    stated = settings.run.shard_parameters
    if stated and team.size == 1:
        raise ConfigurationError(
            "parameters can be shared among ranks only, and this is one process alone",
            "start several: torchrun --nproc-per-node 2 -m lla_cli …, or leave "
            "--shard-parameters out",
        )
    if stated is False or team.size == 1:
        return Sharing()
    memory = memory_of(settings, device, team) // team.neighbours
    return Sharing(team, 0 if stated else memory)


def analyze_problem(
    problem: Problem,
    facts: CheckpointFacts,
    settings: Settings,
    *,
    progress: Progress | None = None,
    command: Sequence[str] = (),
    ledger: Ledger | None = None,
    stop: Callable[[], None] = lambda: None,
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
        ledger: What is done already, and where each analysis is kept as it ends.
        stop: Called after each unit of work; raises where the run is to end.
    """
    team = problem.team
    listener = progress or Silent()
    entries = settings.selected(domains=bool(problem.domains))
    refuse_unusable(entries, problem, settings)
    started = datetime.now(UTC)
    workspace = workspace_of(settings, problem.device, listener, team)
    workspace.stop = _agreed(team, stop)
    execution: dict[str, Any] = {}
    recorded = None
    shared = TeamLedger(team, ledger) if team.any(ledger is not None) else None
    if shared:
        base = problem.decided(lambda one: base_key(one, facts, settings))
        plan, execution = followed(problem, workspace, settings, base, shared)
        keys = Keys(base, numbers_of(plan, workspace), sections_of(workspace, settings))
        execution["run"] = keys.run
        recorded = _Recorded(shared, keys)
        workspace.keeper = recorded
    else:
        plan = measured(problem, workspace, settings)
    workspace.measured = plan
    problem = planned(problem, plan)
    tell_share(problem)
    results: dict[str, Any] = {}
    stages: dict[str, Stage] = {}
    for position, entry in enumerate(entries, start=1):
        workspace.stop()
        listener.start(entry.name, position, len(entries))
        found = recorded.stage(entry) if recorded else None
        if found:
            result, stage = found.result, found.stage
            status = f"taken from {found.source or 'an earlier run'}"
        else:
            result, stage = _stage(entry, problem, workspace)
            stage = recorded.keep(entry, result, stage) if recorded else stage
            if shared and workspace.steps_down:
                known = {**execution["plan"], "steps_down": workspace.steps_down}
                shared.save_plan(execution["key"], known)
            status = stage.status
        listener.finish(entry.name, status, stage.seconds)
        stages[entry.name] = stage
        if result is not None:
            results[entry.name] = result
    tell_seconds(team)
    return Report(
        checkpoint=facts,
        results=results,
        stages=stages,
        plan={
            **plan.facts(),
            "steps_down": workspace.steps_down,
            "peak_bytes": peak_of_process(problem.device),
        },
        provenance={**provenance_of(problem, settings, started, command), "execution": execution},
    )


def refuse_unusable(entries: Sequence[Analysis], problem: Problem, settings: Settings) -> None:
    """Look, before anything long runs, at what the analyses' settings name.

    Raises:
        LlaError: A file cannot be read, or does not fit the problem.
    """
    for entry in entries:
        if entry.check and applicable(entry, problem):
            config = settings.analyses.get(entry.name) or entry.config()
            imported(entry.check)(problem, config, settings.analyses)


def applicable(entry: Analysis, problem: Problem) -> bool:
    """Whether an analysis can do with what a rank holds of the parameters."""
    return entry.sharded or not isinstance(problem, ShardedProblem)


def _agreed(team: Team, stop: Callable[[], None]) -> Callable[[], None]:
    """``stop`` of all ranks: where one of them is to end, all end at the same unit of work."""
    if team.size == 1:
        return stop

    def together() -> None:
        own: InterruptedRunError | None = None
        try:
            stop()
        except InterruptedRunError as error:
            own = error
        code = -team.smallest(-own.exit_code if own else 0)
        if own or code:
            raise own or InterruptedRunError("another rank was interrupted", exit_code=code)

    return together


class _Recorded:
    """The ledger of a run with its keys; for the workspace, the keeper of its products."""

    def __init__(self, ledger: TeamLedger, keys: Keys) -> None:
        self._ledger, self._keys = ledger, keys

    def stage(self, entry: Analysis) -> Found | None:
        """A stage that is done already."""
        return self._ledger.stage(entry, self._keys.stage(entry))

    def keep(self, entry: Analysis, result: Any, stage: Stage) -> Stage:
        """Keep a stage; it then says what it depends on."""
        key, settings = self._keys.stage(entry), self._keys.settings(entry)
        stage = replace(stage, key=key, settings=settings)
        self._ledger.keep_stage(entry, key, result, stage)
        return stage

    def load(self, name: str, depends: tuple[str, ...]) -> Arrays | None:
        """A product that was kept under this name, of the same problem and settings."""
        return self._ledger.load_arrays(name, self._keys.product(name, depends))

    def save(self, name: str, depends: tuple[str, ...], arrays: Arrays) -> None:
        """Keep a product."""
        self._ledger.save_arrays(name, self._keys.product(name, depends), arrays)


def _stage(entry: Analysis, problem: Problem, workspace: Workspace) -> tuple[Any, Stage]:
    before = Counter(workspace.counts)
    begin = time.perf_counter()
    result, status, why = None, "done", ""
    try:
        if not applicable(entry, problem):
            raise NotApplicableError(
                "it needs all parameters at once, and they are shared among ranks; what can do "
                f"with shares: {', '.join(n for n, one in available().items() if one.sharded)}"
            )
        config = workspace.config(entry.name, entry.config)
        result = imported(entry.run)(problem, config, workspace)
    except NotApplicableError as error:
        status, why = "not_applicable", error.reason
    except LlaError:
        raise
    except Exception as error:
        if problem.team.size > 1:
            # The others may be in the middle of a sum: they cannot go on without it.
            raise AnalysisFailedError(
                f"the analysis '{entry.name}' failed: {type(error).__name__}: {error}",
                "run it with --debug and report what it prints, or leave it out: lla analyze … "
                f"--skip {entry.name}",
            ) from error
        _log.exception("the analysis '%s' failed", entry.name)
        status, why = "failed", f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - begin
    work = dict(workspace.counts - before)
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    return result, Stage(status, round(seconds, 3), work, why, finished=finished)


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
        meant = f" (did you mean '{name.replace('gpu', 'cuda')}'?)" if "gpu" in name else ""
        raise ConfigurationError(
            f"there is no device '{name}' that lla can use here{meant}", "use --device auto, or cpu"
        )
    return name
