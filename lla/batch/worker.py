"""What runs in a worker: one job from its specification to its report."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from lla.batch.job import Job, Outcome, Status
from lla.batch.reported import Written
from lla.errors import AnalysisFailedError, InterruptedRunError, LlaError
from lla.watching import forget_peak, peak_resident

__all__ = ["run"]


def run(job: Job, stop: Callable[[], None] = lambda: None) -> Outcome:
    """Analyse a job's checkpoint and write its report; what is done already is not done again.

    Args:
        job: What to do.
        stop: Called after each unit of work; raises where the job is to end.

    Returns:
        How it went; errors are told in it, not raised.
    """
    begun = time.perf_counter()
    forget_peak()  # of the job before: Ray's workers do one after another
    try:
        os.chdir(job.folder)
        _analyze(job, stop)
    except InterruptedRunError as error:
        return _ended("stopped", begun, error)
    except LlaError as error:
        return _ended("failed", begun, error)
    except Exception as error:
        reason = f"internal error: {type(error).__name__}: {error}"
        return _ended("failed", begun, LlaError(reason, "analyse it alone with --debug"))
    return _ended("done", begun)


def _ended(status: Status, begun: float, error: LlaError | None = None) -> Outcome:
    peak = peak_resident()
    seconds = round(time.perf_counter() - begun, 3)
    if error is None:
        return Outcome(status, seconds, peak=peak)
    return Outcome(status, seconds, error.reason, error.remedy, error.exit_code, peak)


def _analyze(job: Job, stop: Callable[[], None]) -> None:
    # Imported here: whoever makes jobs and reads outcomes loads no torch.
    from lla.checkpoint import Trust
    from lla.ledger import Ledger, Target
    from lla.pipeline import analyze_problem, prepare
    from lla.settings import gather

    recipe = Path(job.recipe) if job.recipe else None
    settings = gather(job.checkpoint, recipe=recipe, flags=job.flags)
    target = Target(Path(job.report))
    with settings.pointing_to_recipe(), Ledger.opened(target, fresh=job.fresh) as ledger:
        trust = Trust(tuple(job.allowed), job.unsafe)
        problem, facts, settings = prepare(job.checkpoint, settings, trust=trust)
        progress = Written(job.progress) if job.progress else None
        report = analyze_problem(
            problem,
            facts,
            settings,
            progress=progress,
            command=["lla", "batch", job.checkpoint],
            ledger=ledger,
            stop=stop,
        )
        ledger.deliver(report)
    for name, stage in report.stages.items():
        if stage.status == "failed":
            raise AnalysisFailedError(
                f"the analysis '{name}' failed: {stage.why} (the others are in {job.report})",
                "analyse it alone with --debug",
            )
