"""What a gate asks for, when it passes, and what is allowed to differ: ``lla audit --explain``."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from datetime import date

from lla.audit.judging import required_confidence
from lla.audit.metrics import about
from lla.audit.policy import Gate, Kind, Policy
from lla.errors import ConfigurationError, nearest
from lla.numbers import number

__all__ = ["explain", "gate_named"]

_WIDTH, _INDENT = 80, 13


def gate_named(policy: Policy, id: str) -> Gate:
    """A policy's gate.

    Raises:
        ConfigurationError: There is none of that id; the nearest is named.
    """
    known = {gate.id: gate for gate in policy.gates}
    if id not in known:
        raise ConfigurationError(
            f"{policy.path} has no gate '{id}'{nearest(id, known)}",
            f"choose among: {', '.join(known)}",
        )
    return known[id]


def explain(policy: Policy, gate: Gate, today: date) -> str:
    """A gate in words."""
    lines = [f"{gate.id} ({policy.path}, line {gate.line})"]
    for title, text in _parts(policy, gate, today):
        lines += textwrap.wrap(
            text,
            _WIDTH,
            initial_indent=f"{title:{_INDENT}}",
            subsequent_indent=" " * _INDENT,
            break_on_hyphens=False,
        )
    return "\n".join(lines) + "\n"


def _parts(policy: Policy, gate: Gate, today: date) -> Iterator[tuple[str, str]]:
    yield "asks for", gate.asks
    yield "which is", about(gate)
    if gate.why:
        yield "why", gate.why
    yield from _answers(gate)
    warn = gate.on_inconclusive == "warn" or gate.severity == "warning"
    yield "otherwise", f"inconclusive: {'a warning' if warn else 'exit code 4'}"
    further = policy.defaults.further_runs
    if further and gate.severity == "error":
        level = 100 * required_confidence(gate, policy, 1)
        runs = f"{further} further run{'s' if further > 1 else ''}"
        yield (
            "before that",
            (f"a checkpoint is analysed again with more work: {runs}, judged at {level:.4g} %"),
        )
    effect = "exit code 1" if gate.severity == "error" else "a warning"
    yield "a failure", f"is {effect} (severity {gate.severity})"
    for entry in policy.overrides:
        if entry.gate == gate.id:
            told = "left out" if entry.made.skip else entry.made.asks
            yield "but for", f"{entry.checkpoint}: {told} (line {entry.line})"
    for waiver in policy.waivers:
        if waiver.gate == gate.id:
            word = "waived" if today <= waiver.expires else "no longer"
            until = f"until {waiver.expires} (line {waiver.line}): {waiver.reason}"
            yield word, f"{waiver.checkpoint} {until}"


def _answers(gate: Gate) -> Iterator[tuple[str, str]]:
    """When it passes and when it fails."""
    level = f"{100 * gate.confidence:.4g} %"
    sampled = ", with the error of the sample," if gate.include_sampling else ""
    if gate.kind is Kind.VERDICT:
        yield "passes", "if every word that the interval leaves open is among these"
        yield "fails", "if none of them is"
    elif gate.kind is Kind.BASELINE:
        yield "passes", f"if the whole interval of the change, at {level}, is within the limit"
        yield "fails", "if the whole interval is beyond it"
    else:
        low, high = gate.limits
        ends = []
        if high != float("inf"):
            ends.append(("upper", f"at most {number(high)}", f"lower end is above {number(high)}"))
        if low != float("-inf"):
            ends.append(("lower", f"at least {number(low)}", f"upper end is below {number(low)}"))
        passes = " and ".join(f"its {end} end is {word}" for end, word, _ in ends)
        yield "passes", f"if the interval at {level}{sampled} lies within: {passes}"
        yield "fails", "if its " + ", or its ".join(word for *_, word in ends)
