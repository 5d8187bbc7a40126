"""A report in memory: what a run returns, what a file opens to, what every front end reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lla.analyses.analysis import Analysis
from lla.analyses.fields import entries
from lla.analyses.registry import available
from lla.estimate import Estimate, Label, Verdict

__all__ = ["SCHEMA", "STATUSES", "CheckpointFacts", "Report", "Stage"]

SCHEMA = "lla-report/1"
STATUSES = {
    "done": "it finished, and its result is in the report",
    "failed": "it broke on an error, which is told, and has no result",
    "not_applicable": "it has nothing to say of this problem, for the reason that is told",
}


@dataclass(frozen=True)
class CheckpointFacts:
    """Which checkpoint a report is about.

    Attributes:
        path: As given on the command line; "" for a live module.
        sha256: Digest of the file, or of the parameters of a live module.
        format: Name of the file format.
        parameters: Number of analysed parameters.
    """

    path: str
    sha256: str
    format: str
    parameters: int


@dataclass(frozen=True)
class Stage:
    """How the run of one analysis went.

    Attributes:
        status: One of ``STATUSES``.
        seconds: Wall time of its own; shared work counts where it was done.
        work: Units of work done, by kind (matvecs, gradients, points, images, batches).
        why: Why it is not done, or "".
        key: Digest of all that its numbers depend on, or "" if it was not taken.
        finished: When it ended, UTC, in ISO 8601; or "".
        settings: The settings that its numbers depend on, by section or ``section.key``: stages of
            one report may come from runs with different ones.
    """

    status: str
    seconds: float
    work: Mapping[str, int] = field(default_factory=dict)
    why: str = ""
    key: str = ""
    finished: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class Report:
    """Everything one run found.

    Attributes:
        checkpoint: What was analysed.
        results: Result of each analysis that finished, by name, in order.
        stages: How each analysis went, by name, in order.
        plan: How the work was carried out; its ``steps_down`` lists what was given up where memory
            ran out.
        provenance: Versions, command, configuration, digests, times.
        path: The file it was read from or written to, or "".
        sha256: The digest that the file states of itself, or "".
    """

    checkpoint: CheckpointFacts
    results: Mapping[str, Any]
    stages: Mapping[str, Stage]
    plan: Mapping[str, Any]
    provenance: Mapping[str, Any]
    path: str = ""
    sha256: str = ""

    def __repr__(self) -> str:
        return f"<lla.Report of {self.caption}: {', '.join(self.results)}>"

    def _repr_html_(self) -> str:
        from lla.report.notebook import as_html

        return as_html(self)

    def analyses(self) -> Iterator[tuple[Analysis, Any]]:
        """Each analysis that has a result, with it, in the order of the registry."""
        for name, analysis in available().items():
            if name in self.results:
                yield analysis, self.results[name]

    @property
    def metrics(self) -> dict[str, Estimate | Label]:
        """All scalars of the results by metric path, as ``hessian/lambda_max``."""
        return {
            f"{analysis.group}/{entry.name}": getattr(result, entry.attribute)
            for analysis, result in self.analyses()
            for entry in entries(result)
            if entry.kind == "metric"
        }

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The verdicts of all analyses."""
        return tuple(
            verdict
            for _, result in self.analyses()
            for entry in entries(result)
            if entry.kind == "verdicts"
            for verdict in getattr(result, entry.attribute)
        )

    @property
    def caption(self) -> str:
        """What every figure's footer says: checkpoint, digest, data and settings."""
        settings = self.provenance.get("settings", {})
        data = self.provenance.get("data", {})
        sampled = f"{data.get('samples', '?')} samples"
        if data.get("source"):
            split = f" ({data['split']})" if data.get("split") else ""
            sampled += f" of {data['source']}{split}"
        # What is unlike a network in use is told wherever a number is.
        coupled = self.provenance.get("batch_norm") == "batch"
        name = self.checkpoint.path.rpartition("/")[2] or "live module"
        if "imported" in self.provenance:
            origin = self.provenance["imported"].get("from", "")
            return f"{name} · sha256 {self.checkpoint.sha256[:12]} · imported from a {origin}"
        return (
            f"{name} · sha256 {self.checkpoint.sha256[:12]} · "
            f"{self.checkpoint.parameters:,} parameters · {sampled} · "
            f"seed {settings.get('seed', '?')} · {settings.get('dtype', '?')}"
            f"{' · batch norm by the statistics of these samples' if coupled else ''}"
        )
