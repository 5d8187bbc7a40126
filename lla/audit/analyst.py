"""Analyse one checkpoint as often as its gates need, over one ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lla.audit.tightening import Sections
from lla.progress import Progress
from lla.report import Report

if TYPE_CHECKING:
    from lla.checkpoint import Trust
    from lla.ledger import Ledger
    from lla.settings import Settings

__all__ = ["Analyst", "changed"]


@dataclass
class Analyst:
    """What analyses a checkpoint; torch loads on the first call.

    The checkpoint is loaded once. What a further run has in common with the one before is taken
    from the ledger's side files.

    Attributes:
        checkpoint: A file, a folder or a name.
        settings: Of its recipe and of the command line.
        ledger: Where its report goes, and what is done already.
        trust: What in it may be run.
        progress: Told how far a run is.
        command: The command line, for the report.
        stop: Called after each unit of work; raises where the run is to end.
    """

    checkpoint: str
    settings: Settings
    ledger: Ledger
    trust: Trust | None = None
    progress: Progress | None = None
    command: Sequence[str] = ()
    stop: Callable[[], None] = lambda: None
    _prepared: Any = field(default=None, repr=False)

    def __call__(self, sections: Sections) -> Report:
        """The report of a run with these sections over the settings.

        Raises:
            LlaError: The checkpoint, the data or the settings cannot be used.
        """
        from lla.pipeline import analyze_problem, prepare

        settings = changed(self.settings, sections)
        if self._prepared is None:
            with self.settings.pointing_to_recipe():
                self._prepared = prepare(self.checkpoint, settings, trust=self.trust)
        problem, facts, filled = self._prepared
        return analyze_problem(
            problem,
            facts,
            replace(settings, training=filled.training, origins=filled.origins),
            progress=self.progress,
            command=self.command,
            ledger=self.ledger,
            stop=self.stop,
        )


def changed(settings: Settings, sections: Sections) -> Settings:
    """Settings with some sections' keys replaced."""
    run = settings.run.model_copy(update=dict(sections.get("run", {})))
    analyses = {
        name: config.model_copy(update=dict(sections.get(name, {})))
        for name, config in settings.analyses.items()
    }
    return replace(settings, run=run, analyses=analyses)
