"""``lla analyze`` and one command for each analysis."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lla.analyses.registry import available
from lla_cli.flags import gathered, trust_of
from lla_cli.guard import guarded
from lla_cli.options import (
    CHECKPOINT,
    OUTPUT,
    SETTINGS,
    STATED,
    TRUST,
    Setting,
    analysis_settings,
    with_parameters,
)

if TYPE_CHECKING:
    from lla.report import Report
    from lla.settings import Settings

__all__ = ["add_to"]

_SELECTION = (
    Setting("only", "run", "only", "run these analyses only, as A,B", "Analyses", many=True),
    Setting("skip", "run", "skip", "leave these analyses out", "Analyses", many=True),
)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    _add(app, "analyze", "Run all analyses on a checkpoint.", (*_SELECTION, *SETTINGS), only=())
    for analysis in available().values():
        if analysis.name != "baseline":
            settings = (*analysis_settings(analysis), *SETTINGS)
            _add(app, analysis.name, f"{analysis.about}.", settings, only=(analysis.name,))


def _add(
    app: typer.Typer, name: str, about: str, settings: tuple[Setting, ...], only: tuple[str, ...]
) -> None:
    options = (setting.parameter() for setting in settings)
    parameters = (CHECKPOINT, *options, *STATED, *TRUST, *OUTPUT)
    run = with_parameters(partial(_run, settings, only), parameters)
    app.command(name, help=about)(run)


def _run(settings: tuple[Setting, ...], only: tuple[str, ...], values: dict[str, Any]) -> None:
    def again() -> str:
        return shlex.join(sys.argv)

    with guarded(debug=values["debug"], again=again):
        report = _analyze(settings, only, values)
        _deliver(report, values)


def _analyze(
    settings: tuple[Setting, ...], only: tuple[str, ...], values: dict[str, Any]
) -> Report:
    from lla.checkpoint import recognize
    from lla.report.storage import refuse_target

    checkpoint = values["checkpoint"]
    recognize(checkpoint)  # a wrong file is told before anything is loaded
    resolved = gathered(settings, values, only)
    target = Path(values["output"]) if values["output"] else _target(checkpoint, resolved)
    refuse_target(target)
    if values["figures"]:
        _refuse_figures(Path(values["figures"]))

    from lla.pipeline import analyze_checkpoint
    from lla.report import write
    from lla_cli.console import watching

    with watching(quiet=values["quiet"]) as progress:
        report = analyze_checkpoint(
            checkpoint, resolved, trust=trust_of(values), progress=progress, command=sys.argv
        )
    return write(report, target)


def _target(checkpoint: str, settings: Settings) -> Path:
    """``<stem>.lla.h5``; but a report there that holds more than this run gives is not replaced."""
    from lla.analyses.registry import select
    from lla.checkpoint import stem_of
    from lla.report.storage import stages_of

    stem = stem_of(checkpoint)
    target = Path(f"{stem}.lla.h5")
    made = [entry.name for entry in select(settings.run.only, settings.run.skip)]
    if set(stages_of(target) or ()) <= set(made):
        return target
    names = "-".join(name for name in made if name != "baseline") or "baseline"
    return Path(f"{stem}.{names}.lla.h5")


def _refuse_figures(folder: Path) -> None:
    from lla.errors import ReportError

    if folder.exists() and not folder.is_dir():
        raise ReportError(
            f"{folder} is not a folder for figures", "choose another: --figures FOLDER"
        )


def _deliver(report: Report, values: dict[str, Any]) -> None:
    """Page, figures, and the result on stdout; all of them read the report."""
    from lla.errors import AnalysisFailedError

    written = [report.path]
    if values["html"]:
        from lla_plots.page import write_html

        written.append(str(write_html(report, Path(report.path).with_suffix(".html"))))
    if values["figures"]:
        from lla_plots.draw import save

        written += [str(path) for path in save(report, Path(values["figures"]))]
    if values["json"]:
        from lla_cli.show import print_json

        print_json(report)
    else:
        from lla_cli.show import print_summary

        print_summary(report, verbose=values["verbose"], written=written)
    failed = {name: stage.why for name, stage in report.stages.items() if stage.status == "failed"}
    if failed:
        name, why = next(iter(failed.items()))
        raise AnalysisFailedError(
            f"the analysis '{name}' failed: {why} (the others are in {report.path})",
            "run it again with --debug and report what it prints",
        )
