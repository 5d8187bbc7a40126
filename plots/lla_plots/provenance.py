"""The page's last answer: what was analysed, with what, from where, for how long."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from lla.numbers import number, seconds
from lla.report import Report
from lla_plots.parts import Cell, Table
from lla_plots.phrases import counted

__all__ = ["facts", "lead", "settings", "stages"]

_STATUS = {"done": "done", "failed": "failed", "not_applicable": "does not apply"}

_STATISTICS = {
    "running": "running statistics",
    "batch": "the statistics of all analysed samples, as one batch",
}


def lead(report: Report) -> str:
    """What was analysed, in a sentence or two."""
    found, data = report.provenance, report.provenance.get("data", {})
    chosen = found.get("settings", {})
    name = report.checkpoint.path.rpartition("/")[2]
    if "imported" in found:
        origin = found["imported"].get("from", "")
        return f"The file {name}, a {origin}, was imported: another program computed its values."
    subject = f"The checkpoint {name}" if name else "A network in memory"
    said = f"{subject}: {counted(report.checkpoint.parameters, 'parameter')}"
    if isinstance(data.get("samples"), int):
        said += f" against {counted(data['samples'], 'sample')}"
        if data.get("source"):
            split = f", split '{data['split']}'" if data.get("split") else ""
            said += f" of {data['source']}{split}"
    where = f" on {found['device']}" if found.get("device") else ""
    if chosen.get("dtype"):
        said += f", in {chosen['dtype']}{where}"
    said += "."
    if "seed" in chosen:
        said += f" Every random draw follows from seed {chosen['seed']}, so it can be repeated."
    return said


def facts(report: Report) -> tuple[Table, ...]:
    """Tables on the checkpoint and the data, on the plan, on machine, versions and times."""
    found, data = report.provenance, report.provenance.get("data", {})
    analysed = {
        "checkpoint": report.checkpoint.path or "live module",
        "its format": report.checkpoint.format,
        "its SHA-256": report.checkpoint.sha256,
        "parameters analysed": number(count) if (count := report.checkpoint.parameters) else "",
        **{f"data: {key}": _text(value) for key, value in data.items()},
        "batch norm normalizes by": _STATISTICS.get(found.get("batch_norm") or "", ""),
        "report": report.path,
    }
    versions = found.get("versions", {})
    carried_out = {
        "device": _text(found.get("device", "")),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "started": _moment(found.get("started", "")),
        "finished": _moment(found.get("finished", "")),
    }
    plan = {
        key.removesuffix("_bytes").replace("_", " "): _planned(key, value)
        for key, value in report.plan.items()
    }
    return (
        _listing(analysed, "Checkpoint and data"),
        _listing(carried_out, "Machine and time"),
        _listing(plan, "Plan: how the work was carried out"),
    )


def settings(report: Report) -> Table:
    """Every setting, and where it came from."""
    origins = report.provenance.get("origins", {})
    rows = tuple(
        (Cell("", code=key), Cell(_text(value), "code"), Cell(str(origins.get(key, "default"))))
        for key, value in _flat(report.provenance.get("configuration", {}))
    )
    return Table(("setting", "value", "from"), rows, "Settings")


def stages(report: Report) -> Table:
    """How each analysis went, and how long it took."""
    explained = any(stage.why for stage in report.stages.values())
    rows = tuple(
        (
            Cell(name),
            Cell(
                _STATUS.get(stage.status, stage.status), "warn" if stage.status == "failed" else ""
            ),
            Cell(seconds(stage.seconds), "number"),
            Cell(", ".join(f"{number(count)} {kind}" for kind, count in stage.work.items())),
            *([Cell(stage.why)] if explained else []),
        )
        for name, stage in report.stages.items()
    )
    head = ("analysis", "status", "time", "work", *(["why"] if explained else []))
    return Table(head, rows, "Analyses, and what each took")


def _listing(lines: Mapping[str, str], caption: str) -> Table:
    rows = tuple((Cell(key), Cell(value, "code")) for key, value in lines.items() if value)
    return Table(("", ""), rows, caption)


def _flat(configuration: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for section, keys in configuration.items():
        if isinstance(keys, Mapping):
            yield from ((f"{section}.{key}", value) for key, value in keys.items())
        else:
            yield section, keys


def _planned(key: str, value: Any) -> str:
    """A value of the plan; sizes in MiB, measured times in seconds."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_planned(key, item)}" for name, item in value.items())
    if key == "seconds" and isinstance(value, float):
        return seconds(value)
    if (key.endswith("_bytes") or key == "memory") and isinstance(value, int):
        return f"{number(value / (1 << 20), 4)} MiB"
    return _text(value)


def _moment(text: Any) -> str:
    """A time in ISO 8601 for people; anything else as it is."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return str(text)
    return f"{found:%Y-%m-%d %H:%M:%S} {found.tzname() or ''}".strip()


def _text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, default=str)
