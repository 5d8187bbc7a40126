"""Audit reports, and checkpoints that are analysed first."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime
from functools import partial

from lla.audit.evidence import Evidence
from lla.audit.findings import Audit, Audited
from lla.audit.judging import judge
from lla.audit.policy import Policy, matches
from lla.errors import InterruptedRunError, LlaError
from lla.report import Report

__all__ = ["audit", "collected", "examined", "today_utc"]


def today_utc() -> date:
    """The day, in UTC: what waivers expire by, wherever the machine stands."""
    return datetime.now(UTC).date()


def audit(
    policy: Policy,
    reports: Iterable[Report] | Report,
    *,
    baseline: Report | None = None,
    today: date | None = None,
) -> Audit:
    """Hold reports against a policy; nothing is computed.

    Args:
        policy: From :func:`lla.audit.read_policy`.
        reports: One, or several.
        baseline: What gates on changes compare with.
        today: The day for waivers; by default today in UTC.
    """
    listed = [reports] if isinstance(reports, Report) else list(reports)
    day = today or today_utc()
    names = [report.path or report.checkpoint.path or "report" for report in listed]
    found = [
        examined(policy, name, partial(Evidence, name, report, baseline), day)
        for name, report in zip(names, listed, strict=True)
    ]
    return collected(policy, found, day)


def examined(policy: Policy, name: str, gather: Callable[[], Evidence], today: date) -> Audited:
    """One checkpoint's findings; an error of its own is kept, so that the others go on.

    Args:
        policy: The policy.
        name: As the checkpoint or report was named.
        gather: Reads the report, or makes it.
        today: The day for waivers.

    Raises:
        InterruptedRunError: The run was stopped.
    """
    try:
        evidence = gather()
        findings = judge(policy, evidence, today)
    except InterruptedRunError:
        raise
    except LlaError as error:
        return Audited(name, error=error)
    return Audited(
        name, findings, evidence.report, further=evidence.further, runnable=evidence.runnable
    )


def collected(policy: Policy, audited: Iterable[Audited], today: date) -> Audit:
    """The audit of all checkpoints, with what there is to say of the policy itself."""
    listed = tuple(audited)
    return Audit(policy, listed, tuple(_notes(policy, listed, today)))


def _notes(policy: Policy, audited: tuple[Audited, ...], today: date) -> Iterator[str]:
    paths = [one.report.checkpoint.path for one in audited if one.loose and one.report]
    if any(paths) and policy.defaults.further_runs:
        yield (
            "where an interval is too wide, an audit of the checkpoint itself goes on until its "
            f"budget is spent: lla audit {shlex.join(filter(None, paths))}"
        )
    used = {finding.waiver for one in audited for finding in one.findings if finding.waiver}
    for waiver in policy.waivers:
        place = f"{policy.path}, line {waiver.line}: the waiver of '{waiver.gate}'"
        if waiver.expires < today and waiver not in used:
            yield f"{place} expired on {waiver.expires} and is not needed here: remove it"
        elif waiver not in used and _covered(waiver.checkpoint, audited):
            yield f"{place} is not needed here"


def _covered(glob: str, audited: tuple[Audited, ...]) -> bool:
    return any(
        matches(glob, (one.name, one.report.path, one.report.checkpoint.path))
        for one in audited
        if one.report is not None
    )
