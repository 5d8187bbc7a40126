"""All figures of a report, and their files."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from lla.analyses.analysis import imported
from lla.errors import ConfigurationError, ReportError, nearest
from lla.files import replacing
from lla.report import Report
from lla_plots import summary
from lla_plots.style import drawn_at, millimetres, styled
from lla_plots.text import said

__all__ = ["draw", "render", "save", "write"]

_DPI = 200
_SUMMARY = "summary"
_MAKER = "lla: figure of a loss landscape report"
# Without dates and versions, the same report gives the same bytes.
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": _MAKER},
    "svg": {"Date": None, "Creator": _MAKER},
    "pdf": {"CreationDate": None, "Creator": _MAKER, "Producer": None},
}
# How the formats write it: what is found in a file tells that it is a figure of ours.
_MARKS = {
    "png": b"tEXtSoftware\0" + _MAKER.encode(),
    "svg": b"<dc:title>" + _MAKER.encode() + b"</dc:title>",
    "pdf": b"/Creator (" + _MAKER.encode() + b")",
}
# What each format calls the title and the caption, by the text's place in the figure.
_TOLD = {
    "png": {"Title": "title", "Description": "footer"},
    "svg": {"Title": "title", "Description": "footer"},
    "pdf": {"Title": "title", "Subject": "footer"},
}


def draw(report: Report, only: Collection[str] = (), width: float = 180.0) -> dict[str, Figure]:
    """Draw the figures of each analysis, and the summary.

    Args:
        report: What to draw.
        only: Names of analyses or of figures, "summary" among them; by default all.
        width: On paper, in mm; the summary is always a page of its own.

    Returns:
        Figures by name, in the order of the analyses, the summary last. An analysis without
        figures, or with nothing to draw, adds none.
    """
    with drawn_at(width):
        return _drawn(report, only)


def _drawn(report: Report, only: Collection[str]) -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    # A name that is no analysis' may be that of any analysis' figure.
    by_analysis = set(only) <= {_SUMMARY, *report.results}
    for analysis, result in report.analyses():
        unwanted = only and by_analysis and analysis.name not in only
        if not analysis.figures or unwanted:
            continue
        figures = imported(analysis.figures)(result, report.caption)
        twice = sorted(found.keys() & figures.keys())
        if twice:
            raise ValueError(
                f"two analyses draw a figure '{twice[0]}': rename that of {analysis.name}"
            )
        found.update(
            (name, figure)
            for name, figure in figures.items()
            if not only or analysis.name in only or name in only
        )
    if not only or _SUMMARY in only:
        found[_SUMMARY] = summary.figure(report)
    # An analysis may have nothing to draw; a name that is neither its nor a figure's is a mistake.
    known = {*report.results, *found, _SUMMARY}
    for name in only:
        if name not in known:
            raise ConfigurationError(
                f"there is no figure '{name}'{nearest(name, known)}",
                f"choose among: {', '.join(sorted(known))}",
            )
    return found


def save(
    report: Report,
    folder: str | Path,
    formats: Sequence[str] = ("png",),
    only: Collection[str] = (),
    width: str = "full",
) -> list[Path]:
    """Write the figures to files; each replaces its former version only when it is complete.

    A file that is no figure of ours is not replaced, and then none is written.

    Args:
        report: What to draw.
        folder: Where to; made if it does not exist.
        formats: Among "png", "svg" and "pdf".
        only: Names of analyses or of figures; by default all.
        width: On paper: "full" (180 mm), "column" (85 mm), or a number of mm.

    Returns:
        The files, in the order of :func:`draw`.

    Raises:
        ReportError: The folder cannot be written, or something that is not to be replaced is there.
        ConfigurationError: A format, a figure or a width is unknown.
    """
    unknown = [name for name in formats if name not in _METADATA]
    if unknown:
        raise ConfigurationError(
            f"'{unknown[0]}' is not a format of figures", f"choose among: {', '.join(_METADATA)}"
        )
    millimetres_wide = millimetres(width)
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        figures = draw(report, only, millimetres_wide)
        for name in figures:
            for kind in formats:
                _refuse_foreign(place / f"{name}.{kind}", kind)
        return [
            write(place / f"{name}.{kind}", render(figure, kind))
            for name, figure in figures.items()
            for kind in formats
        ]
    except OSError as error:
        raise ReportError(
            f"figures cannot be written to '{place}': {error.strerror or error}",
            "choose another folder",
        ) from None


def _refuse_foreign(path: Path, kind: str) -> None:
    """Refuse to replace what is no figure of ours."""
    if not path.exists() or (path.is_file() and _MARKS[kind] in path.read_bytes()):
        return
    what = "a folder" if path.is_dir() else "there already, and no figure of lla's"
    raise ReportError(
        f"{path} is {what}: it is not replaced, and no figure was written",
        "choose another folder (lla plot REPORT -o FOLDER), or move the file away",
    )


@styled
def render(figure: Figure, kind: str = "png", dpi: float = _DPI) -> bytes:
    """A figure as the content of a file; the same figure gives the same bytes.

    Its title and caption are in the file's metadata too, where cropping does not reach them.
    """
    from io import BytesIO

    told = {key: said(figure, part) for key, part in _TOLD[kind].items()}
    stream = BytesIO()
    with warnings.catch_warnings():
        # A letter that the font lacks, in a checkpoint's name, say, is drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(stream, format=kind, dpi=dpi, metadata={**_METADATA[kind], **told})
    return stream.getvalue()


def write(target: Path, content: bytes) -> Path:
    """Write a file all at once."""
    with replacing(target) as temporary:
        temporary.write_bytes(content)
    return target
