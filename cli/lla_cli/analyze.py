"""``lla analyze`` and one command for each analysis."""

from __future__ import annotations

import shlex
import sys
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lla.analyses.registry import available
from lla_cli.flags import gathered, trust_of
from lla_cli.guard import guarded
from lla_cli.options import (
    CHECKPOINT,
    DRY_RUN,
    OUTPUT,
    SETTINGS,
    STATED,
    TRUST,
    Setting,
    analysis_settings,
    with_parameters,
)
from lla_cli.targets import chosen_target

if TYPE_CHECKING:
    from lla.report import Report

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
    parameters = (CHECKPOINT, *options, *STATED, *TRUST, *OUTPUT, DRY_RUN)
    run = with_parameters(partial(_run, settings, only), parameters)
    app.command(name, help=about)(run)


def _run(settings: tuple[Setting, ...], only: tuple[str, ...], values: dict[str, Any]) -> None:
    def again() -> str:
        return shlex.join(sys.argv)

    with guarded(debug=values["debug"], again=again):
        if values["dry_run"]:
            _foretell(settings, only, values)
            return
        report = _analyze(settings, only, values)
        _deliver(report, values)


def _analyze(
    settings: tuple[Setting, ...], only: tuple[str, ...], values: dict[str, Any]
) -> Report:
    from lla.checkpoint import recognize

    checkpoint = values["checkpoint"]
    recognize(checkpoint)  # a wrong file is told before anything is loaded
    resolved = gathered(settings, values, only)
    target = chosen_target(checkpoint, resolved, values["output"], html=values["html"])
    if values["figures"]:
        _refuse_figures(Path(values["figures"]))

    from lla.pipeline import analyze_checkpoint
    from lla.report import write
    from lla_cli.console import watching

    # What the user's code prints goes to stderr: stdout is for the result alone.
    with (
        redirect_stdout(sys.stderr),
        watching(quiet=values["quiet"]) as progress,
        resolved.pointing_to_recipe(),
    ):
        report = analyze_checkpoint(
            checkpoint, resolved, trust=trust_of(values), progress=progress, command=sys.argv
        )
    return write(report, target)


def _foretell(settings: tuple[Setting, ...], only: tuple[str, ...], values: dict[str, Any]) -> None:
    """Say how the run would be carried out and what it would take; nothing is written."""
    from lla.checkpoint import recognize

    recognize(values["checkpoint"])
    resolved = gathered(settings, values, only)
    from lla.foresight import foresee
    from lla_cli.dry_run import print_foresight

    with redirect_stdout(sys.stderr), resolved.pointing_to_recipe():
        found = foresee(values["checkpoint"], resolved, trust=trust_of(values))
    print_foresight(found, as_json=values["json"])


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
