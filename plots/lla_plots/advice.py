"""What to do next, drawn from the verdicts and from what did not converge."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lla.estimate import Estimate
from lla.numbers import number
from lla.report import Report

__all__ = ["Step", "steps"]


@dataclass(frozen=True)
class Step:
    """One thing to do.

    Attributes:
        text: What, and why.
        command: The command that does it, or "".
    """

    text: str
    command: str = ""


@dataclass(frozen=True)
class _Remedy:
    """What narrows the intervals of some metrics: one setting of one analysis, made larger."""

    metrics: tuple[str, ...]
    analysis: str
    setting: str
    factor: int


_REMEDIES = (
    _Remedy(("hessian/lambda_max", "hessian/lambda_min"), "spectrum", "max_steps", 2),
    _Remedy(
        ("hessian/trace", "hessian/frobenius", "hessian/effective_rank"),
        "spectrum",
        "max_probes",
        4,
    ),
    _Remedy(("hessian/K_H1", "hessian/K_H0.5", "hessian/near_zero"), "spectrum", "probes", 4),
    _Remedy(("stability/batch_sharpness",), "stability", "max_batches", 4),
    _Remedy(("saliency/class_sensitivity",), "saliency", "images", 4),
)


# Options with a value that mean the same to every command: other analyses' own are left out.
_PROBLEM = {
    *("model", "model_arg", "data", "loss", "params", "recipe", "lr", "batch_size", "samples"),
    *("tolerance", "confidence", "device", "dtype", "seed", "memory", "threads", "set"),
}


def steps(report: Report) -> tuple[Step, ...]:
    """The steps for a report, the most pressing first; never empty."""
    found = (
        *_failures(report),
        *_stability(report),
        *_unconverged(report),
        *_landscape(report),
    )
    return found or (Step("Nothing is left open: every estimate converged, no condition is hurt."),)


def _failures(report: Report) -> Iterator[Step]:
    for name, stage in report.stages.items():
        if stage.status == "failed":
            yield Step(f"The analysis {name} failed: {stage.why}", _command(report, name))


def _stability(report: Report) -> Iterator[Step]:
    outcomes = {verdict.verdict for verdict in report.verdicts}
    limit = _estimate(report, "stability/sgd_max_lr")
    if limit is not None and limit.exists:
        safe = number(limit.low if limit.low > 0 else limit.value, 3)
        check = _command(report, "stability", lr=safe)
        if "violated" in outcomes:
            words = (
                f"Lower the learning rate below {safe}, or expect training to leave this minimum."
            )
            yield Step(f"{words} What the conditions say at that rate:", check)
        elif "at_edge" in outcomes:
            words = "Training sits at the edge of stability, as full-batch training often does."
            yield Step(f"{words} A learning rate below {safe} would leave the edge.", check)
    for flag, path, value in (
        ("lr", "stability/lr", "LEARNING_RATE"),
        ("batch_size", "stability/batch_size", "SAMPLES"),
    ):
        given = _estimate(report, path)
        if given is not None and not given.exists:
            name = flag.replace("_", " ")
            words = f"The {name.replace('lr', 'learning rate')} is unknown: say which one was used."
            yield Step(words, _command(report, "stability", **{flag: value}))
    for verdict in report.verdicts:
        if verdict.verdict == "inconclusive":
            of_batches = verdict.id == "stability.batch_sharpness"
            setting = "batch_tolerance" if of_batches else "tolerance"
            words = f"{verdict.id} is inconclusive ({verdict.why}): narrow its interval."
            yield Step(words, _command(report, "stability", **{setting: "0.005"}))


def _unconverged(report: Report) -> Iterator[Step]:
    for remedy in _REMEDIES:
        open_ones = [
            path
            for path in remedy.metrics
            if (found := _estimate(report, path)) is not None
            and found.exists
            and not found.converged
        ]
        if not open_ones:
            continue
        command = _command(report, remedy.analysis, **{remedy.setting: _raised(report, remedy)})
        verb = "has" if len(open_ones) == 1 else "have"
        words = f"{', '.join(open_ones)} {verb} not converged: spend more work on it"
        if remedy.setting == "max_probes":
            words += ", or accept a wider interval with --tolerance"
        yield Step(f"{words}.", command)


def _landscape(report: Report) -> Iterator[Step]:
    double = {"dtype": "float64"}
    curvatures = ("landscape/curvature_alpha", "landscape/curvature_beta")
    rough = [
        path
        for path in curvatures
        if (found := _estimate(report, path)) is not None and found.exists and not found.converged
    ]
    if rough:
        words = f"{', '.join(rough)} could not be told from rounding. Repeat in double precision."
        yield Step(words, _command(report, "landscape", **double))
    error, loss = _estimate(report, "landscape/center_error"), _estimate(report, "loss/value")
    scale = max(1.0, abs(loss.value)) if loss is not None and loss.exists else 1.0
    if error is not None and error.exists and error.value > 1e-6 * scale:
        words = "The landscape's centre is not the checkpoint's loss. Repeat in double precision."
        yield Step(words, _command(report, "landscape", **double))
    holes = _estimate(report, "landscape/non_finite")
    if holes is not None and holes.exists and holes.value > 0:
        words = (
            f"The loss is not finite at {number(holes.value)} points. Look closer to the centre."
        )
        yield Step(words, _command(report, "landscape", rise="0.1"))


def _estimate(report: Report, path: str) -> Estimate | None:
    found = report.metrics.get(path)
    return found if isinstance(found, Estimate) else None


def _raised(report: Report, remedy: _Remedy) -> Any:
    configuration = report.provenance.get("configuration", {})
    now = configuration.get(remedy.analysis, {}).get(remedy.setting)
    return now * remedy.factor if isinstance(now, int) else "MORE"


def _command(report: Report, analysis: str, **flags: Any) -> str:
    path = report.checkpoint.path
    place = shlex.quote(path) if path else "CHECKPOINT"
    options = [f"--{name.replace('_', '-')} {value}" for name, value in flags.items()]
    stated = [shlex.quote(word) for word in _stated(report, set(flags))]
    return " ".join(("lla", analysis, place, *stated, *options))


def _stated(report: Report, changed: set[str]) -> Iterator[str]:
    """The options of the report's own command that state the problem, for another command."""
    words = iter(report.provenance.get("command", ())[2:])
    for word in words:
        name, inline, _ = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name.replace("-", "_") not in _PROBLEM - changed:
            continue
        yield word
        if not inline:
            yield next(words, "")
