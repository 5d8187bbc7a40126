"""Write a report to one HDF5 file, all at once, and read it back.

The file describes itself: NeXus attributes name the default plot of each group, dimension scales
tie arrays to their axes, and each metric is a scalar dataset at its metric path with its interval
in attributes. Behind the data it states its own digest (:mod:`lla.report.seal`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import h5py

from lla import __version__
from lla.analyses.registry import available
from lla.errors import ReportError, nearest_file
from lla.files import replacing
from lla.report import codec, nexus, seal
from lla.report.opening import opened, peeked
from lla.report.report import SCHEMA, CheckpointFacts, Report, Stage

__all__ = [
    "PROVENANCE_TEXTS",
    "about",
    "provenance_of",
    "read",
    "read_scalars",
    "refuse_page",
    "refuse_target",
    "stages_of",
    "write",
]

_PROVENANCE = "provenance"
PROVENANCE_TEXTS = {
    "checkpoint": "which checkpoint was analysed",
    "stages": "how each analysis went",
    "plan": "how products were made",
    "provenance": "versions, command, configuration, data and times",
}
# The end of the title of every page of ours, within so many bytes of its beginning.
_PAGE = b": loss landscape report</title>"
_HEAD = 1 << 14
_GROWTH = 1 << 20


def write(report: Report, path: str | Path, *, within: Path | None = None) -> Report:
    """Write a report; a file already there is replaced only when the new one is complete.

    Args:
        report: What to write.
        path: Where to.
        within: Folder of the unfinished file, on the same disk; by default beside the report.

    Returns:
        The report with its path and digest.

    Raises:
        ReportError: The file cannot be written; nothing is left behind.
    """
    target = Path(path)
    placed = replace(report, path=str(path))
    content = _content(placed)
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        with replacing(target, within) as temporary, temporary.open("wb") as stream:
            stream.write(content)
            stream.write(seal.line(sha256))
    except OSError as error:
        raise _unwritable(target, error.strerror or str(error)) from None
    return replace(placed, sha256=sha256)


def _content(report: Report) -> bytes:
    """The bytes of the HDF5 file.

    They are made in memory: a libhdf5 that cannot write to a full disk ends the process.
    """
    options = {"driver": "core", "backing_store": False, "block_size": _GROWTH}
    with h5py.File(uuid4().hex, "w", track_order=True, **options) as file:
        _fill(file, report)
        file.flush()
        content: bytes = file.id.get_file_image()
    return content


def refuse_target(path: Path) -> None:
    """Refuse a place for a report before the work is done rather than after it.

    Raises:
        ReportError: The folder does not exist or is read-only, or something that is no report
            lies there.
    """
    if not path.parent.is_dir():
        raise ReportError(
            f"there is no folder {path.parent} for the report", f"make it: mkdir -p {path.parent}"
        )
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise _unwritable(path, "you may not write into its folder")
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
        with peeked(path) as file:
            if file.attrs.get("lla_schema") != SCHEMA:
                return None
            return json.loads(file[_PROVENANCE][name].asstr()[()])
    except (OSError, KeyError, ValueError):
        return None


def _unwritable(path: Path, why: str) -> ReportError:
    return ReportError(
        f"the report {path} cannot be written: {why}",
        "choose another place: -o FOLDER/NAME.lla.h5",
    )


def _fill(file: h5py.File, report: Report) -> None:
    facts = {
        "NX_class": "NXroot",
        "lla_schema": SCHEMA,
        "creator": "lla",
        "creator_version": __version__,
        "file_name": nexus.storable(Path(report.path).name),
        "file_time": datetime.now(UTC).isoformat(timespec="seconds"),
        "HDF5_Version": h5py.version.hdf5_version,
    }
    for name, value in facts.items():
        file.attrs[name] = value
    for analysis, result in report.analyses():
        group = file.create_group(analysis.group, track_order=True)
        nexus.describe(group, "NXentry", analysis.about)
        group.attrs["analysis"] = analysis.name
        codec.encode(result, group)
        if nexus.is_plot(group) and "default" not in file.attrs:
            file.attrs["default"] = analysis.group
    group = file.create_group(_PROVENANCE, track_order=True)
    nexus.describe(group, "NXcollection", "What was analysed, with what, and how the run went")
    stages = {name: vars(stage) for name, stage in report.stages.items()}
    texts = {
        "checkpoint": vars(report.checkpoint),
        "stages": stages,
        "plan": report.plan,
        "provenance": report.provenance,
    }
    for name, value in texts.items():
        group.create_dataset(name, data=_json(value))
        group[name].attrs["content"] = "JSON"
        group[name].attrs["long_name"] = PROVENANCE_TEXTS[name]


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=_plain)
    # A path may hold bytes that are no UTF-8; escaped, they come back as they were.
    return text if nexus.storable(text) == text else json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


def read(path: str | Path, *, verify: bool = False) -> Report:
    """Open a report file.

    A report of up to 64 MiB that is not as it was written is refused; a larger one if ``verify``
    asks for it, while its arrays have checksums of their own.

    Args:
        path: The file.
        verify: Refuse a file that states no digest, and check one of any size.

    Raises:
        ReportError: The file is missing, damaged, no report, or of another schema.
    """
    with opened(_there(path), verify=verify) as (file, sha256):
        return _read(file, str(path), sha256, codec.decode)


def read_scalars(path: str | Path, arrays: Collection[str] = ()) -> Report:
    """Open a report file for its metrics, verdicts and facts alone, checked as :func:`read` does.

    Args:
        path: The file.
        arrays: Paths of arrays that are read as well, as ``hessian/layers/parameters``.

    Returns:
        The report; in its results the other arrays and groups are None.

    Raises:
        ReportError: The file is missing, damaged, no report, or of another schema.
    """
    with opened(_there(path)) as (file, sha256):
        return _read(file, str(path), sha256, partial(codec.decode_scalars, arrays=arrays))


def _there(path: str | Path) -> Path:
    place = Path(path)
    if place.is_dir():
        index = place / "index.h5"
        look = f"its index: lla show {index}" if index.is_file() else "name a report in it"
        raise ReportError(f"{path} is a folder, and no report", look)
    if not place.is_file():
        raise ReportError(
            f"there is no report {path}{nearest_file(place)}", "make one: lla analyze MODEL"
        )
    return place


def _read(file: h5py.File, path: str, sha256: str, decode: Callable[..., Any]) -> Report:
    texts = {name: json.loads(file[_PROVENANCE][name].asstr()[()]) for name in PROVENANCE_TEXTS}
    results = {
        name: decode(analysis.result, file[analysis.group])
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
        sha256=sha256,
    )


def _stages(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Stage]:
    """What a later version may say besides is left out."""
    known = {item.name for item in fields(Stage)}
    return {
        name: Stage(**{item: value for item, value in facts.items() if item in known})
        for name, facts in found.items()
    }
