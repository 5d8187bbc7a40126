"""What a run would do, and what it would take, without doing it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lla.analyses.analysis import Work, imported
from lla.analyses.spectrum import SpectrumConfig
from lla.analyses.work import of_spectrum
from lla.checkpoint import Trust
from lla.curvature.plan import Costs, Plan, planned
from lla.execution import measured, workspace_of
from lla.pipeline import applicable, prepare, refuse_unusable
from lla.progress import Silent
from lla.report import CheckpointFacts
from lla.settings import Settings
from lla.team import ALONE, Team

__all__ = ["Foresight", "foresee"]


@dataclass(frozen=True)
class Foresight:
    """A run that has not been made.

    Attributes:
        checkpoint: Which checkpoint it is of.
        samples: Samples that would be analysed.
        plan: How products would be made; its costs are measured.
        seconds: Expected time of each analysis, and what it takes at most.
        unpredicted: Analyses that do not say how much they do.
    """

    checkpoint: CheckpointFacts
    samples: int
    plan: Plan
    seconds: dict[str, tuple[float, float]]
    unpredicted: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "schema": "lla-plan/1",
            "checkpoint": vars(self.checkpoint),
            "samples": self.samples,
            "plan": self.plan.facts(),
            "stages": {
                name: {"expected_seconds": round(usual, 3), "at_most_seconds": round(most, 3)}
                for name, (usual, most) in self.seconds.items()
            },
            "unpredicted": list(self.unpredicted),
        }


def foresee(
    path: str | Path, settings: Settings, *, trust: Trust | None = None, team: Team = ALONE
) -> Foresight:
    """Load a checkpoint, measure the plan, and predict what each analysis takes.

    Raises:
        LlaError: The checkpoint, the data or the settings cannot be used.
    """
    problem, facts, settings = prepare(path, settings, trust=trust, team=team)
    entries = settings.selected()
    refuse_unusable(entries, problem, settings)
    workspace = workspace_of(settings, problem.device, Silent(), team)
    plan = measured(problem, workspace, settings)
    problem = planned(problem, plan)
    spectral = of_spectrum(problem, workspace.config("spectrum", SpectrumConfig))
    seconds: dict[str, tuple[float, float]] = {}
    unpredicted, paid = [], False
    for entry in entries:
        if not applicable(entry, problem):
            continue
        if not entry.work:
            unpredicted.append(entry.name)
            continue
        config = workspace.config(entry.name, entry.config)
        works: tuple[Work, Work] = imported(entry.work)(problem, config)
        usual, most = (_seconds(work, plan.costs) for work in works)
        if works[0].spectral and not paid:
            usual += _seconds(spectral[0], plan.costs)
            most += _seconds(spectral[1], plan.costs)
        paid = paid or works[0].spectral or entry.name == "spectrum"
        seconds[entry.name] = usual, most
    return Foresight(facts, len(problem.data), plan, seconds, tuple(unpredicted))


def _seconds(work: Work, costs: Costs) -> float:
    return (
        work.evaluations * costs.evaluation
        + work.gradients * costs.gradient
        + work.products * costs.product
        + work.blocks * costs.block
    )
