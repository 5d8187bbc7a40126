"""The page on the alignment: how far domains are apart for the network, and in what."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lla.analyses.alignment import AlignResult, Attributes, Calibration, Pair, Tilting
from lla.estimate import Estimate
from lla.numbers import interval, number
from lla_plots.parts import Cell, Section, Shown, Table
from lla_plots.phrases import counted, listed, percent, told
from lla_plots.tables import metrics

__all__ = ["sections"]

_QUESTION = "Does it see the domains the same way?"
_MOST_PAIRS = 15
_FEW = 3


def sections(result: AlignResult) -> Sequence[Section]:
    """Distances and what carries them; then confidences, where there are classes."""
    found = [_distances(result)]
    if result.calibration is not None:
        found.append(_calibration(result.calibration))
    return found


def _distances(result: AlignResult) -> Section:
    distance = result.spectral_distance
    names = result.domains.names
    lead = (
        f"Of {counted(len(names), 'domain')}, {result.farthest.value} are farthest apart: the "
        f"Hessians of their losses by {result.scope.value} differ by {told(distance)} in the "
        f"spectral norm{_sampling(distance)}."
    )
    lead += _beyond(result)
    drop = result.accuracy_difference
    if drop.exists:
        lead += f" Accuracies differ by up to {told(drop)}."
    lead += _ranking(result)
    shown = (
        Shown("alignment", "Distances between domains", lead),
        Shown("alignment_domains", "Domains by the distance of their Hessians", lead),
    )
    tables = [_domains(result)]
    if result.pairs:
        tables.append(_carriers(result.pairs))
    if result.attributes is not None:
        tables.append(_attributes(result.attributes))
    if result.tilting is not None:
        tables.append(_tilting(result.tilting))
    return Section(
        "alignment", _QUESTION, f"‖ΔH‖₂ up to {interval(distance)}", lead, 62,
        notes=_notes(result), figures=shown, tables=(*tables, metrics(result, "alignment")),
    )  # fmt: skip


def _ranking(result: AlignResult) -> str:
    """Whether distances tell drops in accuracy."""
    found = result.ranks
    if found is None or not result.drop_correlation.exists:
        return ""
    said = (
        f" The distance from {result.domains.names[0]} ranks the others by their drop in accuracy "
        f"with a rank correlation of {number(float(found.correlation[0]), 2)}"
    )
    if math.isnan(float(found.low[0])):
        return f"{said}."
    spread = (found.low, found.high, found.domains_low, found.domains_high)
    low, high, wide_low, wide_high = (number(float(part[0]), 2) for part in spread)
    return f"{said} ({low} to {high} over samples, {wide_low} to {wide_high} over domains as well)."


def _sampling(found: Estimate) -> str:
    if found.sampling_stderr is None:
        return ""
    return f", give or take {number(found.sampling_stderr, 2)} (standard error over samples)"


def _beyond(result: AlignResult) -> str:
    """How many pairs are farther apart than sampling alone gives."""
    matrix = result.distances["spectral"]
    upper = np.triu_indices(len(matrix.names), 1)
    if not np.isfinite(matrix.noise[upper]).all():
        return ""
    count = int((matrix.value[upper] > matrix.noise[upper]).sum())
    total = len(upper[0])
    if count == total:
        return " That is more than sampling alone gives, for every pair of domains."
    if not count:
        return " Sampling alone may give that much: no pair of domains is told apart."
    apart = "is" if count == 1 else "are"
    return f" {count} of {total} pairs {apart} farther apart than sampling alone gives."


def _notes(result: AlignResult) -> tuple[str, ...]:
    if result.spectral_distance.sampling_stderr is None:
        return ("How far the distances may be off because domains are samples is not known here.",)
    return ()


def _domains(result: AlignResult) -> Table:
    found = result.domains
    rows = tuple(
        (
            Cell(name),
            Cell(number(int(found.samples[i])), "number"),
            Cell(_with(found.loss, found.loss_low, found.loss_high, i), "number"),
            Cell(_with(found.accuracy, found.accuracy_low, found.accuracy_high, i), "number"),
            Cell(number(float(found.gradient_norm[i])), "number"),
            Cell(number(float(found.trace[i])), "number"),
        )
        for i, name in enumerate(found.names)
    )
    head = ("domain", "samples", "loss", "accuracy", "gradient's norm", "trace of the Hessian")
    return Table(head, rows, "Domains, with bootstrap intervals over samples")


def _with(value: np.ndarray, low: np.ndarray, high: np.ndarray, index: int) -> str:
    numbers = (float(part[index]) for part in (value, low, high))
    middle, lower, upper = numbers
    if math.isnan(middle):
        return "—"
    if math.isnan(lower) or math.isnan(upper):
        return number(middle)
    return interval(Estimate(middle, lower, upper))


def _carriers(pairs: Mapping[str, Pair]) -> Table:
    rows = tuple(_carrier(name, pair) for name, pair in list(pairs.items())[:_MOST_PAIRS])
    head = ("domains", "classes", "features", "largest eigenvalues of the difference")
    caption = "What carries the difference of two Hessians (shares of its squared norm)"
    if len(pairs) > _MOST_PAIRS:
        caption += f": the first {_MOST_PAIRS} of {len(pairs)} pairs"
    return Table(head, rows, caption)


def _carrier(name: str, pair: Pair) -> tuple[Cell, ...]:
    values = ", ".join(number(float(value)) for value in pair.eigenvalues[:_FEW])
    return (
        Cell(name),
        Cell(_shares(pair.class_share, pair.classes)),
        Cell(_shares(pair.feature_share, pair.features)),
        Cell(values, "number"),
    )


def _shares(share: np.ndarray, names: np.ndarray) -> str:
    if not np.isfinite(share).any():
        return "none: they do not differ"
    order = np.argsort(-share)[:_FEW]
    return ", ".join(f"{names[i]} ({percent(float(share[i]))})" for i in order)


def _attributes(found: Attributes) -> Table:
    count = min(len(found.pairs), _MOST_PAIRS)
    rows = tuple(
        (
            Cell(method),
            Cell(what, "about"),
            Cell(_relative(found, i), "number"),
            Cell(_different(found, i, count)),
        )
        for i, (method, what) in enumerate(zip(found.methods, found.what, strict=True))
    )
    head = ("method", "what it aligns", "largest relative distance", "pairs that differ")
    return Table(head, rows, "Which attributes differ beyond sampling, of those methods align")


def _relative(found: Attributes, index: int) -> str:
    row = found.relative[index]
    if not np.isfinite(row).any():
        return "—"
    place = int(np.nanargmax(row))
    return f"{number(float(row[place]), 3)} ({found.pairs[place]})"


def _different(found: Attributes, index: int, count: int) -> str:
    row = found.differs[index]
    if np.isnan(row).all():
        return "not known without a bootstrap"
    apart = [pair for pair, one in zip(found.pairs, row, strict=True) if one == 1]
    if len(apart) == len(row):
        return f"all {len(row)}" if len(row) > 1 else "yes"
    if not apart:
        return "none" if len(row) > 1 else "no"
    few = listed([f"({pair})" for pair in apart[:_FEW]]) if len(apart) <= _FEW else ""
    return f"{len(apart)} of {len(row)}" + (f": {few}" if few else "")


def _tilting(found: Tilting) -> Table:
    rows = tuple(_tilted(found, i) for i in range(len(found.names)))
    head = ("domain", "mean tilt", "most tilted classes", "strongest", "centroids misplaced")
    return Table(head, rows, "Tilt of class boundaries against the line between class centroids")


def _tilted(found: Tilting, index: int) -> tuple[Cell, ...]:
    angle, strength = found.angle[index], found.strength[index]
    known = np.isfinite(angle)
    if not known.any():
        return (Cell(found.names[index]), *(Cell("—", "number") for _ in range(4)))
    one, other = np.unravel_index(int(np.nanargmax(angle)), angle.shape)
    widest = f"{found.classes[one]} and {found.classes[other]}: {_degrees(angle[one, other])}"
    placed = np.isfinite(strength)
    strongest = "—"
    if placed.any():
        one, other = np.unravel_index(int(np.nanargmax(strength)), strength.shape)
        words = f"{found.classes[one]} against {found.classes[other]}"
        strongest = f"{words}: {number(float(strength[one, other]), 3)}"
    return (
        Cell(found.names[index]),
        Cell(_degrees(float(angle[known].mean())), "number"),
        Cell(widest, "number"),
        Cell(strongest, "number"),
        Cell(f"{int((known & ~placed).sum())} of {int(known.sum())} boundaries", "number"),
    )


def _degrees(angle: float) -> str:
    return f"{math.degrees(angle):.0f}°"


def _calibration(found: Calibration) -> Section:
    place = int(np.argmax(found.ece))
    worst = _with(found.ece, found.ece_low, found.ece_high, place)
    lead = (
        f"Confidence and accuracy lie farthest apart on {found.names[place]}: expected "
        f"calibration error {worst}, with its bootstrap interval over samples."
    )
    table = Table(
        ("domain", "NLL", "Brier score", "ECE", "AURC"),
        tuple(_scores(found)),
        "Scores by domain, with bootstrap intervals over samples",
    )
    return Section(
        "calibration", "Can its confidences be believed?",
        f"ECE up to {worst} on {found.names[place]}", lead, 64,
        figures=(Shown("reliability", "Accuracy by confidence, for each domain", lead),),
        tables=(table,),
    )  # fmt: skip


def _scores(found: Calibration) -> Iterator[tuple[Cell, ...]]:
    for index, name in enumerate(found.names):
        scores = (_score(found, score, index) for score in ("nll", "brier", "ece", "aurc"))
        yield Cell(name), *(Cell(score, "number") for score in scores)


def _score(found: Calibration, name: str, index: int) -> str:
    value, low, high = (getattr(found, f"{name}{end}") for end in ("", "_low", "_high"))
    return _with(value, low, high, index)
