"""The page on stability: whether training would stay, and what to do where it would not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from lla.analyses.stability import StabilityResult
from lla.estimate import Estimate, Verdict
from lla.numbers import interval, number
from lla_plots.parts import Action, Section, Shown
from lla_plots.phrases import counted, listed, told
from lla_plots.tables import metrics, verdicts
from lla_plots.words.series import over_training

__all__ = ["sections", "steps"]

# What the answer is, the most serious first; a verdict that is no condition's says nothing.
_ANSWERS = {
    "violated": ("No", "training at this rate is expected to leave these weights"),
    "at_edge": ("It is at the edge", "the rate is about the largest stable one"),
    "inconclusive": ("Not decided", "the interval holds the rate in use"),
    "consistent": ("Yes, as far as is known", "every condition that applies allows the rate"),
}
_NARROW = "0.005"
# Of the lower end of what the conditions allow: enough to be beyond the edge's usual 5 %.
_SAFE = 0.9


def sections(result: StabilityResult) -> Sequence[Section]:
    """Whether it is stable at its learning rate."""
    outcome = _outcome(result.verdicts)
    answer, lead = _answer(result, outcome)
    shown = [Shown("stability", "The largest learning rate that each condition allows", lead)]
    if result.batch_sizes is not None:
        shown.append(
            Shown(
                "stability_batches",
                "The learning rates that every applicable condition allows, over batch sizes",
                over_sizes(result) or "Which learning rates stay depends on the batch size.",
            )
        )
    return (
        Section(
            "stability",
            "Is it stable at its learning rate?",
            answer,
            lead,
            30,
            outcome,
            figures=tuple(shown),
            tables=(
                verdicts(result.verdicts, tuple(result.conditions.names)),
                metrics(result, "stability"),
            ),
        ),
        *over_training(result.series),
    )


def _outcome(found: Sequence[Verdict]) -> str:
    given = {verdict.verdict for verdict in found}
    return next((name for name in _ANSWERS if name in given), "not_applicable")


def _answer(result: StabilityResult, outcome: str) -> tuple[str, str]:
    if not result.lr.exists:
        why = result.lr.why or "the learning rate is unknown"
        limit = result.sgd_max_lr
        known = f" The conditions that apply allow up to {told(limit)}." if limit.exists else ""
        return f"not known: {why}", f"That cannot be told: {why}.{known}"
    rate = f"the learning rate {number(result.lr.value)}"
    if result.batch_size.exists:
        rate += f" with batches of {number(result.batch_size.value)}"
    if outcome == "not_applicable":
        reasons = _reasons(result.verdicts)
        lead = f"That cannot be told at {rate}: no condition applies. {reasons}"
        return "not known: no condition applies", lead
    word, meaning = _ANSWERS[outcome]
    said = sum(verdict.verdict == outcome for verdict in result.verdicts)
    applicable = sum(verdict.verdict != "not_applicable" for verdict in result.verdicts)
    lead = f"{word}: at {rate}, {meaning}. "
    answer = f"rate {number(result.lr.value)}"
    lead += _count(said, applicable, len(result.verdicts))
    if result.sgd_max_lr.exists:
        lead += (
            f" The largest learning rate allowed is {told(result.sgd_max_lr)}"
            f"{_factor(result.lr, result.sgd_max_lr)}."
        )
        answer += f", largest stable rate {interval(result.sgd_max_lr)}"
    more = over_sizes(result)
    if more:
        lead += f" {more}"
    return answer, lead


def over_sizes(result: StabilityResult) -> str:
    """What another batch size would allow, or would need: what a practitioner acts on."""
    found, rate, batch = result.batch_sizes, result.lr.value, result.batch_size.value
    if found is None or not result.lr.exists or not result.batch_size.exists:
        return ""
    known = [
        (size, least)
        for size, least in zip(found.batch_size, found.smallest, strict=True)
        if math.isfinite(least)
    ]
    # At the batch size in use, rule 7 is known as well, and elsewhere it is not.
    stays = [size for size, least in known if least >= rate and size != batch]
    others = [size for size, least in known if least < rate and size != batch]
    if not known or not (stays or others):
        return ""
    if not others:
        return (
            f"Over batch sizes from {number(known[0][0])} to {number(known[-1][0])}, the "
            f"conditions known there all allow the rate {number(rate)}: none asks for larger "
            "batches."
        )
    if not stays:
        return (
            f"At no batch size up to {number(known[-1][0])} do the conditions allow the rate "
            f"{number(rate)}: larger batches would not help, a smaller rate would."
        )
    return (
        f"The rate {number(rate)} needs batches of about {number(min(stays))} or more: with "
        f"batches of {number(max(others))}, the noise of sampling alone would drive training away."
    )


def _count(said: int, applicable: int, known: int) -> str:
    """How many conditions say so, among those that apply."""
    apply = f"{applicable} of {counted(known, 'known condition')} "
    apply += "applies here" if applicable == 1 else "apply here"
    if applicable == 1:
        return f"{apply}, and it says so."
    if said == applicable:
        return f"{apply}, and all say so."
    return f"{apply}, and {said} of them {'says' if said == 1 else 'say'} so."


def _factor(rate: Estimate, limit: Estimate) -> str:
    times = limit.value / rate.value if rate.value else float("nan")
    if times > 1.05:
        return f", {number(times, 2)} times the one in use"
    if 0 < times < 0.95:
        return f", and the one in use is {number(1 / times, 2)} times that"
    return ", about the one in use"


def _rounded_down(rate: float) -> str:
    """A learning rate to two digits, and no larger than it was."""
    step = 10.0 ** (math.floor(math.log10(rate)) - 1)
    return f"{math.floor(rate / step * (1 + 1e-12)) * step:.2g}"


def _reasons(found: Sequence[Verdict]) -> str:
    """The different reasons why conditions do not apply, as sentences."""
    different = list(dict.fromkeys(v.why for v in found if v.verdict == "not_applicable" and v.why))
    return f"The reasons: {'; '.join(different)}." if different else ""


def steps(result: StabilityResult) -> Iterator[Action]:
    """What to do about violated, undecided and inapplicable conditions."""
    outcome = _outcome(result.verdicts)
    limit = result.sgd_max_lr
    if limit.exists and outcome in ("violated", "at_edge"):
        safe = _rounded_down(_SAFE * (limit.low if limit.low > 0 else limit.value))
        advice = (
            f"Lower the learning rate to {safe} or less, or expect training to leave these weights."
            if outcome == "violated"
            else "Training sits at the edge of stability, as full-batch training often does by "
            f"itself. To leave the edge, lower the learning rate to {safe} or less."
        )
        words = f"{advice} What the conditions say at that rate:"
        yield Action(words, "stability", {"lr": safe}, urgent=True)
    if not result.lr.exists:
        words = "The learning rate is unknown, so nothing is said about it: state the one used."
        yield Action(words, "stability", {"lr": "LEARNING_RATE"}, urgent=True)
    if not result.batch_size.exists:
        words = "The batch size is unknown, and most conditions depend on it: state the one used."
        yield Action(words, "stability", {"batch_size": "SAMPLES"}, urgent=True)
    for verdict in result.verdicts:
        if verdict.verdict == "inconclusive":
            # Each tolerance is that of the number which the condition compares.
            name = "batch_tolerance" if verdict.id.endswith("batch_sharpness") else "tolerance"
            words = f"{verdict.id} is inconclusive ({verdict.why}): narrow its interval."
            yield Action(words, "stability", {name: _NARROW})
    if result.lr.exists and result.batch_size.exists and outcome == "not_applicable":
        names = listed([verdict.id for verdict in result.verdicts])
        words = f"Nothing judges the learning rate, since no condition applies ({names})."
        yield Action(f"{words} {_reasons(result.verdicts)}")
