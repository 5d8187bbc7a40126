"""What two reports must have in common for their numbers to be comparable."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from lla.estimate import Label
from lla.report import Report

__all__ = ["ALWAYS", "ARRAYS", "NAMES", "Differing", "differing", "same_draws", "unit_roundoff"]

ALWAYS = ("data", "loss", "dtype", "batch-norm")
"""What every metric depends on."""

ARRAYS = ("hessian/layers/parameters",)
"""Paths of the arrays that facts are drawn from; all else that they need are scalars and texts."""

SETTINGS = "settings"

NAMES = {
    "data": "the data",
    "loss": "the loss",
    "dtype": "the dtype",
    "batch-norm": "what batch norm normalizes by",
    "network": "the analysed parameters",
    "operator": "the matrix",
    SETTINGS: "the settings",
}
"""Everything that may differ, by the name that ``--across`` takes."""

_EPS = {"float32": 2.0**-23, "float64": 2.0**-52}


@dataclass(frozen=True, slots=True)
class Differing:
    """Something that two reports do not have in common.

    Attributes:
        name: Which of :data:`NAMES`.
        what: In words, as "the data" or "spectrum.nodes".
        reference: What it is in the reference, in words.
        other: What it is in the other.
    """

    name: str
    what: str
    reference: str
    other: str

    def __str__(self) -> str:
        return f"{self.what}: {self.reference} and {self.other}"


def differing(
    reference: Report, other: Report, needed: Collection[str], stage: str = ""
) -> tuple[Differing, ...]:
    """Which of the needed facts differ.

    Args:
        reference: One report.
        other: The other.
        needed: Names of facts, and settings as ``section.key`` or ``section.*``.
        stage: The analysis whose settings count, where a report's stages come from several runs.
    """
    found = []
    for name in needed:
        if name in _FACTS:
            known = [_FACTS[name](report) for report in (reference, other)]
            if name == "network":
                known = _networks(reference, other)
            words = NAMES[name]
            if known[0] != known[1] or (name == "data" and not known[0][0]):
                texts = [text for _, text in known]
                if texts[0] == texts[1]:
                    texts = [f"{text} ({key[:12] or 'no digest'})" for key, text in known]
                found.append(Differing(name, words, *texts))
        else:
            found += _settings(reference, other, name, stage)
    return tuple(found)


def same_draws(reference: Report, other: Report) -> bool:
    """Whether the random draws may be the same: they are, where the seed is."""
    seeds = [report.provenance.get("settings", {}).get("seed") for report in (reference, other)]
    return None in seeds or seeds[0] == seeds[1]


def unit_roundoff(*reports: Report) -> float:
    """The largest unit roundoff of what the models compute in."""
    names = (report.provenance.get("settings", {}).get("dtype") for report in reports)
    return max(_EPS.get(str(name), _EPS["float32"]) for name in names)


def _data(report: Report) -> tuple[str, str]:
    """The digest of what was analysed, and words for it."""
    data = report.provenance.get("data", {})
    samples = data.get("samples")
    words = f"{samples:,} samples" if isinstance(samples, int) else "unknown samples"
    if data.get("source"):
        split = f" ({data['split']})" if data.get("split") else ""
        words += f" of {data['source']}{split}"
    return str(data.get("sha256", "")), words


def _loss(report: Report) -> tuple[str, str]:
    loss = _section(report, "loss")
    args = {key: value for key, value in loss.get("args", {}).items() if value is not None}
    words = str(loss.get("name", "unknown"))
    if args:
        words += f" with {_text(args)}"
    return words, words


def _dtype(report: Report) -> tuple[str, str]:
    dtype = str(report.provenance.get("settings", {}).get("dtype", "unknown"))
    return dtype, dtype


def _batch_norm(report: Report) -> tuple[str, str]:
    # Reports that do not say it are of the only way there was.
    words = str(report.provenance.get("batch_norm") or "running")
    return words, f"{words} statistics"


def _operator(report: Report) -> tuple[str, str]:
    label = report.metrics.get("hessian/operator")
    words = label.value if isinstance(label, Label) else "hessian"
    return words, words.replace("_", " ")


def _network(report: Report) -> tuple[str, str]:
    count = report.checkpoint.parameters
    params = ", ".join(_section(report, "run").get("params", ()))
    words = f"{count:,} parameters" + (f" ({params})" if params else "")
    return words, words


def _networks(reference: Report, other: Report) -> list[tuple[str, str]]:
    """The parameters' numbers, by layer where both reports have layers: names may change."""
    found = []
    for report in (reference, other):
        key, words = _network(report)
        if all("spectrum" in one.results for one in (reference, other)):
            sizes = report.results["spectrum"].layers.parameters
            key, words = _text([int(size) for size in sizes]), f"{words} in {len(sizes)} layers"
        found.append((key, words))
    return found


def _settings(reference: Report, other: Report, name: str, stage: str) -> list[Differing]:
    section, _, key = name.partition(".")
    sections = [
        {**_section(report, section), **_of_stage(report, section, stage)}
        for report in (reference, other)
    ]
    keys = [*dict.fromkeys([*sections[0], *sections[1]])] if key == "*" else [key]
    return [
        Differing(SETTINGS, f"{section}.{key}", *(_text(known.get(key)) for known in sections))
        for key in keys
        if sections[0].get(key) != sections[1].get(key)
    ]


def _of_stage(report: Report, section: str, stage: str) -> dict[str, Any]:
    """What a stage itself says of a section, as a whole or key by key."""
    if stage not in report.stages:
        return {}
    told = report.stages[stage].settings
    keys = {
        name.partition(".")[2]: value
        for name, value in told.items()
        if name.startswith(f"{section}.")
    }
    return {**told.get(section, {}), **keys}


def _section(report: Report, name: str) -> dict[str, Any]:
    found = report.provenance.get("configuration", {}).get(name, {})
    return dict(found)


def _text(value: Any) -> str:
    if value is None:
        return "not stated"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


_FACTS = {
    "data": _data,
    "loss": _loss,
    "dtype": _dtype,
    "batch-norm": _batch_norm,
    "operator": _operator,
    "network": _network,
}
