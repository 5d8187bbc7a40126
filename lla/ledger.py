"""What of a report is done already: stages of an interrupted run, and of the report before.

A run asks its ledger before it computes, tells it what it has finished, and hands it the whole at
the end. What is taken is equal in all that its numbers depend on (:mod:`lla.keys`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from lla.analyses.analysis import Analysis
from lla.analyses.registry import available
from lla.errors import LlaError
from lla.report.parts import Arrays, Parts
from lla.report.report import Report, Stage
from lla.report.storage import provenance_of, read, stages_of, write
from lla.team import Team, by_first

__all__ = ["Found", "Ledger", "Target", "TeamLedger", "merged"]

T = TypeVar("T")

_log = logging.getLogger("lla")
_AGAIN = ("done", "not_applicable")  # a stage that failed is tried again


@dataclass(frozen=True)
class Target:
    """Where a report goes.

    Attributes:
        whole: The report's file.
        aside: The file to write instead where ``whole`` holds analyses that this run does not
            make, of another problem or other run settings; None: ``whole`` is replaced then.
    """

    whole: Path
    aside: Path | None = None


class Found(NamedTuple):
    """A stage that is done already.

    Attributes:
        result: Its result, or None.
        stage: How it went.
        source: The report it is taken from, or None if an interrupted run left it.
    """

    result: Any
    stage: Stage
    source: Path | None


class Ledger:
    """The ledger of one run.

    Attributes:
        target: Where the report goes.
        parts: The side files.
        done: The stages that are done, in order, with the report each was taken from: None for
            those computed in this run or in one that was interrupted.
        lost: Those of them that could not be kept.
    """

    def __init__(self, target: Target, parts: Parts) -> None:
        self.target = target
        self.parts = parts
        self.done: dict[str, Path | None] = {}
        self.lost: list[str] = []
        self._former = {
            path: _Former(path) for path in (target.whole, target.aside) if path and path.exists()
        }

    @classmethod
    @contextmanager
    def opened(
        cls, target: Target, *, fresh: bool = False, tell: Callable[[str], None] = _log.warning
    ) -> Iterator[Ledger]:
        """The ledger of a report, for one run: no other writes the report meanwhile.

        Args:
            target: Where the report goes.
            fresh: Compute everything anew.
            tell: Told once if nothing can be kept any more.

        Raises:
            ReportError: The folder cannot be written, or another process writes the report.
        """
        with Parts.opened(target.whole, fresh=fresh, tell=tell) as parts:
            yield cls(target, parts)

    def plan(self, key: str) -> dict[str, Any] | None:
        """The plan that was followed, of the same problem and computing settings."""
        kept = self.parts.load_plan(key)
        # Stages that stay in the report bind those that are made anew to their plan.
        if kept is not None or (self.parts.fresh and self.target.aside is None):
            return kept
        for former in self._former.values():
            execution = former.provenance.get("execution") or {}
            if execution.get("key") == key:
                return dict(execution["plan"])
        return None

    def stage(self, analysis: Analysis, key: str) -> Found | None:
        """A stage as it was computed before, if it is equal in all it depends on."""
        found = self._found(analysis, key)
        if found is not None:
            self.done[analysis.name] = found.source
        return found

    def _found(self, analysis: Analysis, key: str) -> Found | None:
        kept = self.parts.load_stage(f"stage {analysis.name}", key, analysis.result)
        if kept is not None:
            return Found(*kept, None)
        if self.parts.fresh:
            return None
        for path, former in self._former.items():
            stage = former.stages.get(analysis.name)
            if stage is None or stage.key != key or stage.status not in _AGAIN:
                continue
            report = former.report
            if report is not None and (stage.status != "done" or analysis.name in report.results):
                return Found(report.results.get(analysis.name), stage, path)
        return None

    def keep_stage(self, analysis: Analysis, key: str, result: Any, stage: Stage) -> None:
        """Keep a stage that this run has finished."""
        if stage.status in _AGAIN:
            self.done[analysis.name] = None
            if not self.parts.save_stage(f"stage {analysis.name}", key, result, stage):
                self.lost.append(analysis.name)

    def save_plan(self, key: str, plan: Mapping[str, Any]) -> None:
        """Keep the plan that this run follows, in plain values."""
        self.parts.save_plan(key, plan)

    def load_arrays(self, name: str, key: str) -> Arrays | None:
        """A product that an interrupted run kept."""
        return self.parts.load_arrays(name, key)

    def save_arrays(self, name: str, key: str, arrays: Arrays) -> None:
        """Keep a product."""
        self.parts.save_arrays(name, key, arrays)

    def deliver(self, report: Report) -> Report:
        """Write the report, with what else its file holds, and remove the side files.

        Args:
            report: What this run found.

        Returns:
            The report as it lies in its file; that one is left as it is if nothing is new.

        Raises:
            ReportError: It cannot be written; the side files stay.
        """
        path, whole = self._placed(report)
        former = self._former.get(path)
        if former and former.report and all(self.done.get(n) == path for n in report.stages):
            found = former.report
        else:
            within = self.parts.folder if self.parts.folder.is_dir() else None
            found = write(whole, path, within=within)
        self.parts.clear()
        return found

    def _placed(self, report: Report) -> tuple[Path, Report]:
        """Where the report goes, with the analyses that it takes over from there."""
        path, aside = self.target.whole, self.target.aside
        former = self._former.get(path)
        if former is None:
            return path, report
        others = former.stages.keys() - report.stages.keys()
        taken = {name for name, source in self.done.items() if source == path}
        if not others and not taken:
            return path, report
        run = report.provenance["execution"]["run"]
        if others and former.provenance.get("execution", {}).get("run") != run:
            return aside or path, report
        if former.report is None:
            return aside or path, report
        return path, merged(report, former.report, taken)


class TeamLedger:
    """A ledger for all ranks: rank 0 reads and writes, the others are told what it has found."""

    def __init__(self, team: Team, ledger: Ledger | None) -> None:
        """Make it; the ledger is rank 0's."""
        self._team, self._ledger = team, ledger

    def plan(self, key: str) -> dict[str, Any] | None:
        """The plan that was followed, of the same problem and computing settings."""
        return self._found(lambda ledger: ledger.plan(key))

    def stage(self, analysis: Analysis, key: str) -> Found | None:
        """A stage as it was computed before, if it is equal in all it depends on."""
        return self._found(lambda ledger: ledger.stage(analysis, key))

    def load_arrays(self, name: str, key: str) -> Arrays | None:
        """A product that an interrupted run kept."""
        return self._found(lambda ledger: ledger.load_arrays(name, key))

    def save_plan(self, key: str, plan: Mapping[str, Any]) -> None:
        """Keep the plan that this run follows."""
        if self._ledger:
            self._ledger.save_plan(key, plan)

    def save_arrays(self, name: str, key: str, arrays: Arrays) -> None:
        """Keep a product."""
        if self._ledger:
            self._ledger.save_arrays(name, key, arrays)

    def keep_stage(self, analysis: Analysis, key: str, result: Any, stage: Stage) -> None:
        """Keep a stage that this run has finished."""
        if self._ledger:
            self._ledger.keep_stage(analysis, key, result, stage)

    def _found(self, look: Callable[[Ledger], T | None]) -> T | None:
        return by_first(self._team, lambda: look(self._ledger) if self._ledger else None)


class _Former:
    """A report that lies where the new one goes; its results are read only where they are taken."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.stages = stages_of(path) or {}
        self.provenance = provenance_of(path) or {}
        self._report: Report | None = None

    @property
    def report(self) -> Report | None:
        """The report, or None if it cannot be read."""
        if self._report is None:
            try:
                self._report = read(self._path, verify=True)
            except LlaError as error:
                _log.debug("nothing is taken from %s: %s", self._path, error.reason)
                self.stages = {}
        return self._report


def merged(new: Report, old: Report, taken: Collection[str] = ()) -> Report:
    """One report of the analyses of two, of the same problem and run settings.

    Args:
        new: Its analyses replace the old ones of the same name.
        old: The report before.
        taken: Analyses of ``new`` that were taken from ``old``.
    """
    kept = {name: stage for name, stage in old.stages.items() if name not in new.stages}
    stages = {**kept, **new.stages}
    results = {**{n: old.results[n] for n in kept if n in old.results}, **new.results}
    order = list(dict.fromkeys([*available(), *stages]))
    former = old.provenance.get("configuration", {})
    configuration = {
        **new.provenance.get("configuration", {}),
        **{name: former[name] for name in kept if name in former},
    }
    return replace(
        new,
        results={name: results[name] for name in order if name in results},
        stages={name: stages[name] for name in order if name in stages},
        provenance={
            **new.provenance,
            "configuration": configuration,
            "earlier": _earlier(old, {*kept, *taken}),
        },
    )


def _earlier(old: Report, names: set[str]) -> list[dict[str, Any]]:
    """Which earlier runs the named analyses come from."""
    entries = [dict(entry) for entry in old.provenance.get("earlier", [])]
    own = set(old.stages) - {name for entry in entries for name in entry["stages"]}
    facts = {key: old.provenance.get(key) for key in ("command", "started", "finished")}
    entries.append({**facts, "stages": sorted(own)})
    for entry in entries:
        entry["stages"] = [name for name in entry["stages"] if name in names]
    return [entry for entry in entries if entry["stages"]]
