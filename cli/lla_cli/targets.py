"""Where an analysis writes its report and page, without replacing what is not its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lla.errors import ConfigurationError, ReportError

if TYPE_CHECKING:
    from lla.ledger import Target
    from lla.report import CheckpointFacts
    from lla.settings import Settings

__all__ = ["chosen_target"]

_PAGES = (".html", ".htm")


def chosen_target(checkpoint: str, settings: Settings, output: str | None, *, html: bool) -> Target:
    """The report's file; told before the work is done that it, or its page, cannot be written.

    Args:
        checkpoint: As given on the command line.
        settings: All settings.
        output: The file that the command line names, if it does.
        html: Whether a page is written beside the report.

    Raises:
        ConfigurationError: The file is named as a page is.
        ReportError: Something that is not to be replaced lies there.
    """
    from lla.ledger import Target
    from lla.report.storage import refuse_page, refuse_target

    if output and Path(output).suffix.lower() in _PAGES:
        name = Path(output).with_suffix(".lla.h5")
        raise ConfigurationError(
            f"-o {output} names a page, and -o is the report's file (HDF5)",
            f"write -o {name}: the page is written beside it",
        )
    target = Target(Path(output)) if output else _default(checkpoint, settings)
    for path in filter(None, (target.whole, target.aside)):
        refuse_target(path)
        if html:
            refuse_page(path.with_suffix(".html"))
    return target


def _default(checkpoint: str, settings: Settings) -> Target:
    """``<stem>.lla.h5``, or ``<name>.lla.h5`` where that is the report of another checkpoint.

    Where the report there holds more than this run gives, and another run's settings, it is left
    alone, and ``<stem>.<analysis>.lla.h5`` is written.
    """
    from lla.checkpoint import split_scheme, stem_of
    from lla.ledger import Target
    from lla.report.storage import about, stages_of

    made = [entry.name for entry in settings.selected()]
    words = "-".join(part for part in made if part != "baseline") or "baseline"
    others = {}
    for name in filter(
        None, dict.fromkeys((stem_of(checkpoint), Path(split_scheme(checkpoint)[1]).name))
    ):
        whole, aside = Path(f"{name}.lla.h5"), Path(f"{name}.{words}.lla.h5")
        fuller = not set(stages_of(whole) or ()) <= set(made)
        ours = [_free(path, checkpoint) for path in (whole, aside)]
        if ours[0] and (ours[1] or not fuller):
            return Target(whole, aside if fuller else None)
        if fuller and ours[1]:
            return Target(aside)
        other = aside if fuller else whole
        found = about(other)
        others[other] = found.path if found else ""
    target, path = others.popitem()
    raise ReportError(
        f"{target} is the report of another checkpoint, {path or 'a live module'}: it is not "
        "replaced",
        f"choose another name: -o {target.name.removesuffix('.lla.h5')}-2.lla.h5",
    )


def _free(path: Path, checkpoint: str) -> bool:
    """Whether there is no report yet, or one of this checkpoint."""
    from lla.report.storage import about

    found = about(path)
    return found is None or _is_of(found, checkpoint, path.parent)


def _is_of(found: CheckpointFacts, checkpoint: str, folder: Path) -> bool:
    """Whether a report is about this checkpoint: the same place, or the same bytes elsewhere."""
    from lla.checkpoint import sha256_of, split_scheme

    schemes, places = zip(*(split_scheme(path) for path in (found.path, checkpoint)), strict=True)
    known = schemes[0] == schemes[1] or Path(places[1]).exists()
    if known and _place(places[0], folder) == _place(places[1], Path()):
        return True
    here = Path(checkpoint)
    return here.is_file() and sha256_of(here) == found.sha256


def _place(text: str, folder: Path) -> Path:
    """A path that a report names, which is relative to the folder the report was made in."""
    return (folder / text).resolve()
