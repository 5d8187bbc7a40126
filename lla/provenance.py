"""How a report came about: versions, command, data, ranks; and what the ranks log of it."""

from __future__ import annotations

import logging
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from lla import __version__
from lla.problem import Problem
from lla.problem.sharded import ShardedProblem
from lla.settings import RunSettings, Settings
from lla.team import Team

_log = logging.getLogger("lla")

__all__ = ["provenance_of", "tell_seconds", "tell_share"]


def _named(source: str) -> str:
    """A data source for people: a file's name without its folders; a name behind a scheme whole."""
    return source if ":" in source else Path(source).name


def tell_share(problem: Problem) -> None:
    """Log what is this rank's."""
    team, count = problem.team, len(problem.data)
    if isinstance(problem, ShardedProblem):
        _log.info(
            "of %d on %s: %d of %d parameters, its share of the samples of each chunk of %d",
            *(team.size, problem.device, problem.held()["parameters"], problem.space.size),
            problem.data.chunk,
        )
    elif team.size > 1:
        share = team.share(count)
        _log.info(
            "of %d on %s: samples %d to %d of %d, %d threads",
            *(team.size, problem.device, share.start + 1, share.stop, count),
            torch.get_num_threads(),
        )


def tell_seconds(team: Team) -> None:
    """Log what this rank's time went into; "waiting" is for the others, in sums."""
    if team.size > 1:
        spent = (f"{name} {value:.2f}" for name, value in sorted(team.seconds.items()))
        _log.info("of %d, seconds: %s", team.size, ", ".join(spent))


def _ranks(problem: Problem) -> dict[str, Any]:
    """Of a run on many ranks: each one's place, its share of samples or parameters, its seconds."""
    team = problem.team
    if team.size == 1:
        return {}
    share = team.share(len(problem.data))
    held: dict[str, Any] = {"samples": [share.start, share.stop]}
    if isinstance(problem, ShardedProblem):
        held = problem.held()
    own = {
        "rank": team.rank,
        "host": platform.node(),
        "device": str(problem.device),
        **held,
        "seconds": {name: round(value, 3) for name, value in sorted(team.seconds.items())},
    }
    return {"ranks": team.gather(own)}


def provenance_of(
    problem: Problem, settings: Settings, started: datetime, command: Sequence[str]
) -> dict[str, Any]:
    """What a report says of how it came about; each rank of a team tells its part."""
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
        **_ranks(problem),
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
