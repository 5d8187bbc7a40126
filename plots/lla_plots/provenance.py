"""The page's last answer: what was analysed, with what, from where, for how long."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from lla.numbers import number, seconds
from lla.report import Report
from lla_plots.sections import Cell, Table

__all__ = ["facts", "settings", "stages"]

_STATISTICS = {
    "running": "running statistics",
    "batch": "the statistics of all analysed samples, as one batch",
}


def facts(report: Report) -> Table:
    """Checkpoint, data, machine, versions and times."""
    found, data = report.provenance, report.provenance.get("data", {})
    lines = {
        "checkpoint": report.checkpoint.path or "live module",
        "its format": report.checkpoint.format,
        "its SHA-256": report.checkpoint.sha256,
        "parameters analysed": number(report.checkpoint.parameters),
        **{f"data: {key}": _text(value) for key, value in data.items()},
        "batch norm normalizes by": _STATISTICS.get(found.get("batch_norm") or "", ""),
        "device": _text(found.get("device", "")),
        **{f"plan: {key}": _text(value) for key, value in report.plan.items()},
        **{f"version of {key}": _text(value) for key, value in found.get("versions", {}).items()},
        "command": " ".join(map(str, found.get("command", ()))),
        "started": _text(found.get("started", "")),
        "finished": _text(found.get("finished", "")),
        "report": report.path,
    }
    rows = tuple((Cell(key), Cell(value, "code")) for key, value in lines.items() if value)
    return Table(("", ""), rows)


def settings(report: Report) -> Table:
    """Every setting, and where it came from."""
    origins = report.provenance.get("origins", {})
    rows = tuple(
        (Cell(key, "name"), Cell(_text(value), "code"), Cell(str(origins.get(key, "default"))))
        for key, value in _flat(report.provenance.get("configuration", {}))
    )
    return Table(("setting", "value", "from"), rows)


def stages(report: Report) -> Table:
    """How each analysis went, and how long it took."""
    rows = tuple(
        (
            Cell(name, "name"),
            Cell(stage.status, "" if stage.status == "done" else "warn"),
            Cell(seconds(stage.seconds), "number"),
            Cell(", ".join(f"{number(count)} {kind}" for kind, count in stage.work.items())),
            Cell(stage.why),
        )
        for name, stage in report.stages.items()
    )
    return Table(("analysis", "status", "time", "work", "why"), rows)


def _flat(configuration: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for section, keys in configuration.items():
        if isinstance(keys, Mapping):
            yield from ((f"{section}.{key}", value) for key, value in keys.items())
        else:
            yield section, keys


def _text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, default=str)
