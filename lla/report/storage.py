"""Write a report to one HDF5 file, all at once, and read it back.

The file describes itself: NeXus attributes name the default plot of each group, dimension scales
tie arrays to their axes, and each metric is a scalar dataset at its metric path with its interval
in attributes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import h5py

from lla.analyses.registry import available
from lla.errors import ReportError
from lla.files import replacing
from lla.report import codec
from lla.report.report import SCHEMA, CheckpointFacts, Report, Stage

__all__ = ["about", "provenance_of", "read", "refuse_page", "refuse_target", "stages_of", "write"]

_PROVENANCE = "provenance"
# The end of the title of every page of ours, within so many bytes of its beginning.
_PAGE = b": loss landscape report</title>"
_HEAD = 1 << 14


def write(report: Report, path: str | Path, *, within: Path | None = None) -> Report:
    """Write a report; a file already there is replaced only when the new one is complete.

    Args:
        report: What to write.
        path: Where to.
        within: Folder of the unfinished file, on the same disk; by default beside the report.

    Returns:
        The report with its path.

    Raises:
        ReportError: The file cannot be written; nothing is left behind.
    """
    target = Path(path)
    placed = replace(report, path=str(path))
    try:
        with (
            replacing(target, within) as temporary,
            h5py.File(temporary, "w", track_order=True) as file,
        ):
            _fill(file, placed)
    except OSError as error:
        raise _unwritable(target, error) from None
    return placed


def refuse_target(path: Path) -> None:
    """Refuse a place for a report before the work is done rather than after it.

    Raises:
        ReportError: The folder does not exist, or something that is no report lies there.
    """
    if not path.parent.is_dir():
        raise ReportError(
            f"there is no folder {path.parent} for the report", f"make it: mkdir -p {path.parent}"
        )
    if path.exists() and stages_of(path) is None:
        kind = "a folder" if path.is_dir() else "there already, and no report"
        raise ReportError(
            f"{path} is {kind}: it is not replaced", f"choose another place: -o {path.stem}.lla.h5"
        )


def refuse_page(path: Path) -> None:
    """Refuse a place for a page where something lies that is no page of a report.

    Raises:
        ReportError: It does; or the folder does not exist.
    """
    if not path.parent.is_dir():
        raise ReportError(
            f"the page cannot be written to {path}: there is no folder {path.parent}",
            f"make it: mkdir -p {path.parent}",
        )
    if path.exists() and not _is_page(path):
        kind = "a folder" if path.is_dir() else "there already, and no page of a report"
        raise ReportError(
            f"{path} is {kind}: it is not replaced",
            "choose another name with -o, move the file away, or leave the page out: --no-html",
        )


def _is_page(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return _PAGE in stream.read(_HEAD)
    except OSError:
        return False


def stages_of(path: Path) -> dict[str, Stage] | None:
    """How each analysis in the report at ``path`` went, or None where no report is."""
    found = _text(path, "stages")
    return None if found is None else _stages(found)


def provenance_of(path: Path) -> dict[str, Any] | None:
    """From what the report at ``path`` was made, or None where no report is."""
    found = _text(path, "provenance")
    return None if found is None else dict(found)


def about(path: Path) -> CheckpointFacts | None:
    """Which checkpoint the report at ``path`` is about, or None where no report is."""
    found = _text(path, "checkpoint")
    return None if found is None else CheckpointFacts(**found)


def _text(path: Path, name: str) -> Any:
    """One of a report's JSON texts, without reading its results; None where no report is."""
    if not path.is_file():
        return None
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("lla_schema") != SCHEMA:
                return None
            return json.loads(file[_PROVENANCE][name].asstr()[()])
    except (OSError, KeyError, ValueError):
        return None


def _unwritable(path: Path, error: OSError) -> ReportError:
    return ReportError(
        f"the report {path} cannot be written: {error.strerror or error}",
        "choose another place: -o FOLDER/NAME.lla.h5",
    )


def _fill(file: h5py.File, report: Report) -> None:
    file.attrs["NX_class"] = "NXroot"
    file.attrs["lla_schema"] = SCHEMA
    for analysis, result in report.analyses():
        group = file.create_group(analysis.group, track_order=True)
        group.attrs["NX_class"] = "NXentry"
        group.attrs["title"] = analysis.about
        group.attrs["analysis"] = analysis.name
        codec.encode(result, group)
        if "default" in group.attrs and "default" not in file.attrs:
            file.attrs["default"] = analysis.group
    group = file.create_group(_PROVENANCE, track_order=True)
    group.attrs["NX_class"] = "NXcollection"
    stages = {name: vars(stage) for name, stage in report.stages.items()}
    texts = {
        "checkpoint": vars(report.checkpoint),
        "stages": stages,
        "plan": report.plan,
        "provenance": report.provenance,
    }
    for name, value in texts.items():
        group.create_dataset(name, data=json.dumps(value, ensure_ascii=False, default=_plain))
        group[name].attrs["content"] = "JSON"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


def read(path: str | Path) -> Report:
    """Open a report file.

    Raises:
        ReportError: The file is missing, is no report, or is of another schema.
    """
    file_path = Path(path)
    if not file_path.is_file():
        raise ReportError(f"there is no report {file_path}", "make one: lla analyze MODEL")
    try:
        with h5py.File(file_path, "r") as file:
            schema = file.attrs.get("lla_schema")
            if schema != SCHEMA:
                raise ReportError(
                    f"{file_path} is not a report of schema {SCHEMA} (it says {schema})",
                    "make one: lla analyze MODEL",
                )
            return _read(file, str(path))
    except (OSError, KeyError, ValueError) as error:
        if not h5py.is_hdf5(file_path):
            raise ReportError(
                f"{file_path} is not a report", f"if it is a checkpoint: lla analyze {path}"
            ) from None
        raise ReportError(
            f"{file_path} cannot be read as a report: {error}", "make it anew: lla analyze MODEL"
        ) from error


def _read(file: h5py.File, path: str) -> Report:
    texts = {name: json.loads(file[_PROVENANCE][name].asstr()[()]) for name in file[_PROVENANCE]}
    results = {
        name: codec.decode(analysis.result, file[analysis.group])
        for name, analysis in available().items()
        if analysis.group in file and file[analysis.group].attrs.get("analysis") == name
    }
    return Report(
        checkpoint=CheckpointFacts(**texts["checkpoint"]),
        results=results,
        stages=_stages(texts["stages"]),
        plan=texts["plan"],
        provenance=texts["provenance"],
        path=path,
    )


def _stages(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Stage]:
    """What a later version may say besides is left out."""
    known = {item.name for item in fields(Stage)}
    return {
        name: Stage(**{item: value for item, value in facts.items() if item in known})
        for name, facts in found.items()
    }
