"""A commented policy from a report: ``lla audit --init``."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lla import __version__
from lla.analyses.analysis import Analysis
from lla.audit.policy import Defaults
from lla.comparing import Circumstances, difference
from lla.comparing.wording import name_of
from lla.estimate import Estimate, Verdict
from lla.numbers import confidence, metric
from lla.report import Report

__all__ = ["BASELINES", "draft"]

BASELINES = "lla-baselines/"
_CONFIDENCE = Defaults().confidence
_CHANGE, _ROOM = 0.25, 1.25
_PASSES = ("consistent", "at_edge")
_HEAD = """\
# A policy for `lla audit`, drafted by lla {version} from {name}.
# How to choose limits, and what no threshold can tell: docs/audit.md. What a gate asks for, and
# when it passes: lla audit --explain GATE.
schema = 1

[defaults]
confidence = {confidence}              # at which an interval has to lie within a limit
on_inconclusive = "exit4"      # or "warn": an interval that holds the limit is no failure
further_runs = 1               # of a checkpoint, with more work, before a gate is inconclusive
baseline = "{baselines}"    # made, and made anew, by --update-baseline
"""
_REGRESSIONS = """
# Regressions: how much a metric may rise against the baseline. No universal limit on sharpness has
# a published basis; that it should not grow unnoticed needs none. A change smaller than the two
# intervals together cannot be told, so that these limits are above what was measured here.
"""
_VERDICTS = """
# Stability at the learning rate in use: the conditions that hold for this training.
"""
_LIMITS = """
# Limits on values, a quarter above what was measured here. They are about this network on this
# data: take away the # of those that mean something to you, and say why.
"""


def draft(report: Report) -> str:
    """A policy that the report meets, once its baseline is made."""
    facts = {"version": __version__, "name": name_of(report), "confidence": _CONFIDENCE}
    parts = [_HEAD.format(**facts, baselines=BASELINES)]
    worse = list(_worse(report))
    if worse:
        gates = (_regression(path, value) for path, value in worse)
        parts.append(_REGRESSIONS + "\n".join(gates))
    verdicts = [one for one in report.verdicts if one.verdict != "not_applicable"]
    if verdicts:
        parts.append(_VERDICTS + "\n".join(map(_verdict, verdicts)))
    if worse:
        parts.append(_LIMITS + "\n".join(_limit(path, value) for path, value in worse))
    return "".join(parts)


def _worse(report: Report) -> Iterator[tuple[str, Estimate]]:
    """The metrics whose increase is for the worse, that have a value."""
    for analysis, _ in report.analyses():
        for path in _watched(analysis):
            value = report.metrics.get(path)
            if isinstance(value, Estimate) and value.exists and math.isfinite(value.high):
                yield path, value


def _watched(analysis: Analysis) -> Iterator[str]:
    known = analysis.compared
    return (f"{analysis.group}/{name}" for name in known.worse if name not in known.indicative)


def _measured(value: Estimate) -> str:
    return f"# here {metric(value)} ({confidence(value)})"


def _regression(path: str, value: Estimate) -> str:
    half = max(value.high - value.value, value.value - value.low)
    # Two intervals of one seed may be correlated, and hold together at less than each does.
    joined = difference(value, value, Circumstances(shared=True)).confidence
    more = []
    if joined < min(value.confidence, _CONFIDENCE):
        more = [f"confidence = {joined:.4g}  # at which two such intervals hold together"]
    if value.low <= 0 <= value.high:
        allowed = f"max_increase = {_up(4 * half)}"
    else:
        # Half-widths add where both runs draw the same probes.
        allowed = f"max_increase_rel = {_up(max(_CHANGE, 4 * half / abs(value.value)))}"
    return _table(
        f"{path.replace('/', '.')}.regression",
        f'metric = "{path}"',
        _measured(value),
        f"baseline = {{ {allowed} }}",
        *more,
    )


def _verdict(verdict: Verdict) -> str:
    words = verdict.verdict.replace("_", " ")
    gate = _table(
        verdict.id,
        f'verdict = "{verdict.id}"',
        f"# here {words}: {' '.join(verdict.why.split())}",
        'accept = ["consistent", "at_edge"]',
    )
    if verdict.verdict in _PASSES:
        return gate
    return _commented(gate, "this report does not pass it")


def _limit(path: str, value: Estimate) -> str:
    name = path.replace("/", ".")
    most = value.high * (_ROOM if value.high > 0 else 1 / _ROOM)
    body = _table(
        f"{name}.max",
        f'metric = "{path}"',
        _measured(value),
        f"max = {_up(most)}",
        'why = ""',
    )
    return _commented(body)


def _table(id: str, subject: str, comment: str, *lines: str) -> str:
    return "\n".join(["[[gate]]", f'id = "{id}"', f"{subject}  {comment}", *lines, ""])


def _commented(text: str, why: str = "") -> str:
    lines = [f"# {line}".rstrip() for line in text.splitlines()]
    return "\n".join([*([f"# ({why})"] if why else []), *lines, ""])


def _up(value: float) -> str:
    """The number rounded up to two digits, as TOML."""
    if value == 0:
        return "0.0"
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    return repr(float(f"{math.ceil(value / unit - 1e-9) * unit:.3g}"))
