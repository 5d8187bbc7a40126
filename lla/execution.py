"""How a run is carried out: its workspace, and the plan that it measures or takes over."""

from __future__ import annotations

import math
from typing import Any

import torch
from pydantic import TypeAdapter

from lla.analyses.registry import available
from lla.analyses.spectrum import SpectrumConfig
from lla.analyses.workspace import Workspace
from lla.curvature.names import Needs
from lla.curvature.plan import Plan, make_plan, planned
from lla.curvature.sharded_plan import make_sharded_plan
from lla.keys import digest_of
from lla.ledger import Ledger, TeamLedger
from lla.problem import Problem
from lla.problem.sharded import ShardedProblem
from lla.progress import Progress
from lla.settings import Settings
from lla.team import ALONE, Team
from lla.watching import physical_memory

_OF_FEW_VECTORS = {"baseline", "spectrum"}
_SKETCHED = 3  # vectors of a probe that sketches hold
_OTHERS = 8  # vectors of length P that other analyses hold

__all__ = ["followed", "measured", "memory_of", "numbers_of", "sections_of", "workspace_of"]


def workspace_of(
    settings: Settings, device: torch.device, progress: Progress, team: Team = ALONE
) -> Workspace:
    """The workspace of a run, without a plan yet."""
    return Workspace(
        configs=settings.analyses,
        seed=settings.run.seed,
        confidence=settings.run.confidence,
        tolerance=settings.run.tolerance,
        memory=memory_of(settings, device, team),
        progress=progress,
        selected=tuple(entry.name for entry in settings.selected()),
    )


def memory_of(settings: Settings, device: torch.device, team: Team = ALONE) -> int:
    """Bytes that the ranks on one machine, or on one GPU, may take together."""
    return team.smallest(settings.run.memory or _half_of_memory(device))


def sections_of(workspace: Workspace, settings: Settings) -> dict[str, dict[str, Any]]:
    """All settings as plain values; those of an analysis that states none are its defaults."""
    configs = {
        name: workspace.config(name, entry.config).model_dump(mode="json")
        for name, entry in available().items()
    }
    return {**settings.sections(), **configs}


def measured(problem: Problem, workspace: Workspace, settings: Settings) -> Plan:
    """How products are made, measured; what the settings state is kept."""
    run, needs = settings.run, _needs(workspace)
    return _made(
        problem,
        workspace.memory,
        needs,
        choose_chunk="data.batch_size" not in settings.origins,
        method=run.method,
        precision=run.products,
        together=run.together,
    )


def _made(problem: Problem, memory: int, needs: Needs, **options: Any) -> Plan:
    """A plan as rank 0 measures it."""
    team = problem.team
    if isinstance(problem, ShardedProblem):
        return team.broadcast(make_sharded_plan(problem, memory, needs, **options))
    options |= {"ranks": team.size, "neighbours": team.neighbours}
    return problem.decided(lambda alone: make_plan(alone, memory, needs, **options))


def followed(
    problem: Problem,
    workspace: Workspace,
    settings: Settings,
    base: str,
    ledger: Ledger | TeamLedger,
) -> tuple[Plan, dict[str, Any]]:
    """The plan of a former run of the same problem, or a measured one.

    A plan is measured, and so differs from run to run: whoever goes on has to follow the same.

    Args:
        problem: Not cut into the plan's chunks yet.
        workspace: Of the run.
        settings: All settings.
        base: Key of the problem.
        ledger: Knows former plans, and keeps this one.

    Returns:
        The plan, and for the report the same in plain values, with the key by which a later run
        finds it.
    """
    run, needs = settings.run, _needs(workspace)
    chunk = problem.data.chunk if "data.batch_size" in settings.origins else None
    key = digest_of([base, workspace.memory, run.method, run.products, run.together, chunk])
    former = ledger.plan(key)
    # What an interrupted run gave up belongs to the report that goes on with it.
    workspace.steps_down += (former or {}).get("steps_down", [])
    if former is None:
        plan = measured(problem, workspace, settings)
    elif former["needs"] == vars(needs) and not isinstance(problem, ShardedProblem):
        plan = _restored(former["plan"])
    else:
        # Other settings hold other vectors, and fewer ranks more parameters each; what was
        # measured stays, if it fits.
        known = _restored(former["plan"])
        plan = _made(
            planned(problem, known),
            workspace.memory,
            needs,
            choose_chunk=False,
            method=known.way.method,
            precision=known.way.precision,
            together=known.way.together,
        )
    stored = {"needs": dict(vars(needs)), "plan": _stored(plan)}
    ledger.save_plan(key, stored)
    return plan, {"key": key, "plan": stored}


def numbers_of(plan: Plan, workspace: Workspace) -> dict[str, Any]:
    """What of a plan moves the last bits of a result; rows only where they do not suffice."""
    rows = plan.rows if plan.rows < _needs(workspace).rows else None
    way = _stored(plan)["way"]
    numbers = {"chunk": plan.chunk, "way": way, "on_host": plan.on_host, "rows": rows}
    if plan.tight:
        numbers |= {"tight": [plan.rows, plan.kept_rows, plan.probe_rows]}
    return numbers


def _stored(plan: Plan) -> dict[str, Any]:
    """The plan in plain values, None for what was not measured."""
    found: dict[str, Any] = TypeAdapter(Plan).dump_python(plan)
    costs = found["costs"]
    return {**found, "costs": {name: None if c != c else c for name, c in costs.items()}}


def _restored(stored: dict[str, Any]) -> Plan:
    costs = {name: math.nan if c is None else c for name, c in stored["costs"].items()}
    return TypeAdapter(Plan).validate_python({**stored, "costs": costs})


def _needs(workspace: Workspace) -> Needs:
    """What a run is going to hold."""
    spectrum = workspace.config("spectrum", SpectrumConfig)
    wanted = spectrum.largest + spectrum.smallest
    sketched = _SKETCHED * spectrum.probes if spectrum.trace_method != "hutchinson" else 0
    return Needs(
        rows=spectrum.max_steps + spectrum.probes * (spectrum.nodes // 2),
        least_rows=3 * wanted + spectrum.block,
        vectors=3 * (wanted + spectrum.probes),
        pairs=wanted,
        block=spectrum.block,
        steps=-(-spectrum.steps // spectrum.probes),
        diagonal=spectrum.diagonal,
        sketched=max(sketched, 2 * spectrum.layer_steps),
        others=0 if set(workspace.selected) <= _OF_FEW_VECTORS else _OTHERS,
    )


def _half_of_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory // 2)
    return physical_memory() // 2
