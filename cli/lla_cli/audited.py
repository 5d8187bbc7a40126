"""What ``lla audit`` does with each target: read its report, or make it, and judge."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from lla.audit import Audit, Audited, Policy
from lla.audit.auditing import collected, examined
from lla.audit.evidence import Evidence
from lla.audit.metrics import analyses_of
from lla.audit.policy import Kind
from lla.audit.targets import baseline_of, is_report
from lla.audit.tightening import Sections, settled
from lla.audit.writing import Output, refuse_outputs
from lla.errors import ConfigurationError, LlaError, ReportError
from lla.files import replacing
from lla.report import Report
from lla_cli.console import warn
from lla_cli.interruption import Interruption
from lla_cli.options import SETTINGS

__all__ = ["Auditor"]


class Auditor:
    """One audit as a command line asks for it.

    Args:
        policy: What to hold the targets against.
        values: The options.
        interruption: What stops a run.
        today: The day in UTC, for waivers.
    """

    def __init__(
        self, policy: Policy, values: dict[str, Any], interruption: Interruption, today: date
    ) -> None:
        self._policy, self._values, self._today = policy, values, today
        self._interruption = interruption
        beside = policy.defaults.baseline
        if beside:
            beside = os.path.join(os.path.relpath(Path(policy.path).parent), beside)
        self._baseline: str = values["baseline"] or beside
        self._update: bool = values["update_baseline"]

    def refuse(self, outputs: Sequence[Output], targets: Sequence[str]) -> None:
        """Refuse, before the work, what cannot be written after it.

        Raises:
            LlaError: An output or a baseline cannot be.
        """
        read = [self._policy.path, *targets]
        refuse_outputs(outputs, [Path(path) for path in read])
        if not self._update:
            return
        if not self._baseline:
            raise ConfigurationError(
                "--update-baseline does not say where the baseline is",
                'add --baseline FILE, or baseline = "FOLDER/" to the policy\'s [defaults]',
            )
        from lla.report.storage import refuse_target

        places = [baseline_of(self._baseline, target) for target in targets]
        for place in places:
            if places.count(place) > 1:
                raise ConfigurationError(
                    f"{place} would be the baseline of several targets",
                    "name a folder: --baseline FOLDER/, and targets of different names",
                )
            if self._baseline.endswith("/"):
                place.parent.mkdir(parents=True, exist_ok=True)
            refuse_target(place)

    def audit(self, targets: Sequence[str]) -> Audit:
        """Judge each target; what cannot be read is told, and the others go on."""
        found = [self._target(target) for target in targets]
        return collected(self._policy, found, self._today)

    def _target(self, target: str) -> Audited:
        if is_report(target):
            return self._examined(target, lambda: self._evidence(target, self._read(target)))
        if not self._policy.gates_for((target,)):
            return Audited(target)
        return self._examined(target, lambda: self._analysed(target))

    def _examined(self, target: str, gather: Callable[[], Evidence]) -> Audited:
        def told() -> Evidence:
            try:
                return gather()
            except LlaError:
                if self._values["debug"]:
                    traceback.print_exc()
                raise

        return examined(self._policy, target, told, self._today)

    def _read(self, target: str) -> Report:
        from lla_cli.opening import report_at

        return report_at(target, verify=True)

    def _evidence(self, target: str, report: Report) -> Evidence:
        evidence = Evidence(target, report, excused=self._update)
        asked = any(gate.kind is Kind.BASELINE for gate in self._policy.gates_for(evidence.names))
        if not asked or not self._baseline:
            return evidence
        place = baseline_of(self._baseline, target)
        if not place.is_file():
            then = "; this audit makes it" if self._update else ": make it with --update-baseline"
            why = f"there is no baseline {place} yet{then}"
            return replace(evidence, no_baseline=why)
        from lla.report import read

        return replace(evidence, baseline=read(place, verify=True))

    def _analysed(self, checkpoint: str) -> Evidence:
        """Analyse a checkpoint for its gates, and give what to judge by."""
        from lla.analyses.registry import select
        from lla.audit.analyst import Analyst
        from lla.checkpoint import recognize
        from lla.ledger import Ledger
        from lla_cli.console import watching
        from lla_cli.flags import gathered, trust_of
        from lla_cli.outcome import told_of_parts
        from lla_cli.targets import chosen_target

        recognize(checkpoint)
        values = {**self._values, "checkpoint": checkpoint}
        gates = self._policy.gates_for((checkpoint,))
        only = analyses_of(gates)
        settings = gathered(SETTINGS, values, only)
        target = chosen_target(checkpoint, settings, self._place(checkpoint), html=False)
        with ExitStack() as stack:
            stack.enter_context(redirect_stdout(sys.stderr))
            opened = Ledger.opened(target, fresh=not values["resume"], tell=warn)
            ledger = stack.enter_context(opened)
            stack.enter_context(told_of_parts(ledger, len(select(only)), again=_again))
            progress = stack.enter_context(watching(quiet=values["quiet"]))
            analyst = Analyst(
                checkpoint,
                settings,
                ledger,
                trust_of(values),
                progress,
                sys.argv,
                self._interruption.check,
            )
            first: list[Evidence] = []

            def analyse(sections: Sections) -> Report:
                with self._interruption.deferred():
                    return analyst(sections)

            def evidence_of(report: Report, further: int) -> Evidence:
                if not first:
                    first.append(self._evidence(checkpoint, report))
                # The comparison is of this report, and made anew.
                return replace(
                    first[0], report=report, further=further, runnable=True, _compared={}
                )

            evidence = settled(
                self._policy, analyse, gates, evidence_of, self._today, tell=_told(values)
            )
            return replace(evidence, report=ledger.deliver(evidence.report), _compared={})

    def _place(self, checkpoint: str) -> str | None:
        """The report's file in ``--reports FOLDER``, which repeats the checkpoints' folders."""
        folder = self._values["reports"]
        if not folder:
            return None
        from lla.checkpoint.files import stem_of

        beside = Path(os.path.relpath(checkpoint)).parent
        inside = beside if ".." not in beside.parts else Path()
        place = Path(folder) / inside / f"{stem_of(checkpoint)}.lla.h5"
        with _told_as_unwritable(place.parent):
            place.parent.mkdir(parents=True, exist_ok=True)
        return str(place)

    def update_baselines(self, found: Audit) -> None:
        """Keep the audited reports as the baseline, if asked for.

        Raises:
            ReportError: One cannot be written.
        """
        if not self._update:
            return
        for one in found.audited:
            if one.report is None:
                continue
            place = baseline_of(self._baseline, one.name)
            if not (place.exists() and os.path.samefile(place, one.report.path or os.devnull)):
                _keep(one.report, place)
            print(f"lla: {one.name} is the baseline now: {place}", file=sys.stderr)


def _keep(report: Report, place: Path) -> None:
    """Copy a report's file, byte by byte: its digest stays."""
    with _told_as_unwritable(place):
        if report.path in ("", "-"):
            from lla.report import write

            write(report, place)
            return
        with replacing(place) as temporary:
            shutil.copyfile(report.path, temporary)


@contextmanager
def _told_as_unwritable(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ReportError(
            f"{place} cannot be written: {error.strerror}", "choose another place"
        ) from None


def _again() -> str:
    return shlex.join(sys.argv)


def _told(values: dict[str, Any]) -> Callable[[str], None]:
    return (lambda text: None) if values["quiet"] else warn
