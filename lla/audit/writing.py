"""Where an audit is written: ``FORMAT[:PATH]``; files complete or not at all."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from lla.audit.findings import Audit
from lla.audit.formats import Format, render
from lla.errors import ConfigurationError, ReportError, nearest
from lla.files import replacing

__all__ = ["Output", "outputs_of", "refuse_outputs", "write_outputs", "write_summary"]

_SUMMARY = 1_000_000  # bytes; GitHub drops a summary of over 1 MiB
_LOOKED_AT = 4096


@dataclass(frozen=True)
class Output:
    """One output: a format, and its file; None for stdout."""

    format: Format
    path: Path | None = None


def outputs_of(texts: Sequence[str]) -> tuple[Output, ...]:
    """The outputs that a command line asks for; text on stdout if none.

    Raises:
        ConfigurationError: A format is unknown, or two are to go to stdout, or to one file.
    """
    found = tuple(_output(text) for text in texts) or (Output(Format.TEXT),)
    whole = [one.format.value for one in found if not one.path and not one.format.shares_stdout]
    if len(whole) > 1:
        raise ConfigurationError(
            f"{' and '.join(whole)} cannot both go to stdout",
            f"give one a file: --output {whole[1]}:PATH",
        )
    paths = [one.path for one in found if one.path]
    for path in paths:
        if paths.count(path) > 1:
            raise ConfigurationError(f"{path} is named for two outputs", "name two files")
    return found


def _output(text: str) -> Output:
    name, colon, path = text.partition(":")
    formats = [one.value for one in Format]
    if name not in formats:
        raise ConfigurationError(
            f"--output {text}: there is no format '{name}'{nearest(name, formats)}",
            f"choose among: {', '.join(formats)}, as --output junit:audit.xml",
        )
    if colon and not path:
        raise ConfigurationError(
            f"--output {text} names no file", f"write --output {name}:PATH, or --output {name}"
        )
    return Output(Format(name), Path(path) if path else None)


def refuse_outputs(outputs: Sequence[Output], inputs: Collection[Path]) -> None:
    """Refuse files that cannot be written, before the work is done rather than after it.

    Args:
        outputs: The outputs.
        inputs: Files that the audit reads.

    Raises:
        ReportError: The folder does not exist; or what lies there is read by the audit, or no text.
    """
    read = {path.resolve() for path in inputs}
    for path in (one.path for one in outputs):
        if path is None:
            continue
        if not path.parent.is_dir():
            raise ReportError(
                f"there is no folder {path.parent} for {path.name}",
                f"make it: mkdir -p {path.parent}",
            )
        if path.resolve() in read or path.is_dir() or not _is_text(path):
            what = "a folder" if path.is_dir() else "no output of an audit"
            raise ReportError(f"{path} is {what}: it is not replaced", "name another file")


def _is_text(path: Path) -> bool:
    """Whether a file is text by its beginning, or not there."""
    try:
        with path.open("rb") as stream:
            return b"\0" not in stream.read(_LOOKED_AT)
    except FileNotFoundError:
        return True
    except OSError:
        return False


def write_outputs(audit: Audit, outputs: Sequence[Output]) -> str:
    """Write the files, and give what goes to stdout.

    Raises:
        ReportError: A file cannot be written.
    """
    # All are rendered before the first is written.
    made = [(one, render(one.format, audit)) for one in outputs]
    for one, text in made:
        if one.path is not None:
            try:
                with replacing(one.path) as temporary:
                    temporary.write_text(text, encoding="utf-8", errors="replace")
            except OSError as error:
                raise ReportError(
                    f"{one.path} cannot be written: {error.strerror}", "name another file"
                ) from None
    return "".join(text for one, text in made if one.path is None)


def write_summary(audit: Audit, path: Path) -> None:
    """Append the audit to a GitHub step's summary.

    Raises:
        ReportError: It cannot be written.
    """
    text = render(Format.MARKDOWN, audit)
    if len(text.encode(errors="replace")) > _SUMMARY:
        text = text.partition("\n")[0] + "\n\nIts tables are too long for a summary.\n"
    try:
        with path.open("a", encoding="utf-8", errors="replace") as stream:
            stream.write(f"{text}\n")
    except OSError as error:
        raise ReportError(
            f"the step's summary {path} cannot be written: {error.strerror}",
            "unset GITHUB_STEP_SUMMARY",
        ) from None
