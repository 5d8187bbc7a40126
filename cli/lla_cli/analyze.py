"""``lla analyze`` and one command for each analysis."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lla.analyses.registry import available
from lla.team import by_first
from lla_cli.flags import gathered, trust_of
from lla_cli.guard import guarded
from lla_cli.interruption import Interruption
from lla_cli.options import (
    CHECKPOINT,
    DRY_RUN,
    OUTPUT,
    RESUME,
    SELECTION,
    SETTINGS,
    STATED,
    TRUST,
    analysis_settings,
)
from lla_cli.outcome import Outcome, told_of_parts, told_of_report
from lla_cli.parameters import Setting, with_parameters
from lla_cli.ranks import command_of, joined_ranks
from lla_cli.targets import chosen_target

if TYPE_CHECKING:
    from lla.ledger import Target
    from lla.settings import Settings
    from lla.team import Team

__all__ = ["SHARED", "add_to"]

SHARED = ("analyze", *(name for name in available() if name != "baseline"))
"""The commands whose work the ranks of torchrun share."""


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    _add(app, "analyze", "Run all analyses on a checkpoint.", (*SELECTION, *SETTINGS), only=())
    for analysis in available().values():
        if analysis.name in SHARED:
            settings = (*analysis_settings(analysis), *SETTINGS)
            _add(app, analysis.name, f"{analysis.about}.", settings, only=(analysis.name,))


def _add(
    app: typer.Typer, name: str, about: str, settings: tuple[Setting, ...], only: tuple[str, ...]
) -> None:
    options = (setting.parameter() for setting in settings)
    parameters = (CHECKPOINT, *options, *STATED, RESUME, *TRUST, *OUTPUT, DRY_RUN)
    run = with_parameters(partial(_run, settings, only), parameters)
    app.command(name, help=about)(run)


def _run(settings: tuple[Setting, ...], only: tuple[str, ...], values: dict[str, Any]) -> None:
    interruption = Interruption()
    with guarded(debug=values["debug"], again=_again), interruption.watched():
        if values["dry_run"]:
            _foretell(settings, only, values)
            return
        outcome = _analyze(settings, only, values, interruption)
        if outcome is None:
            return  # of another rank than the first
        with told_of_report(outcome.report):
            _deliver(outcome, values)


def _again() -> str:
    return command_of(sys.argv)


def _analyze(
    settings: tuple[Setting, ...],
    only: tuple[str, ...],
    values: dict[str, Any],
    interruption: Interruption,
) -> Outcome | None:
    from lla.checkpoint import recognize

    checkpoint = values["checkpoint"]
    recognize(checkpoint)  # a wrong file is told before anything is loaded
    resolved = gathered(settings, values, only)
    _refuse_unstated(only, resolved, settings, checkpoint)
    with joined_ranks(resolved, interruption, values, _again) as (team, resolved):
        target = by_first(team, lambda: _target(checkpoint, resolved, values))
        if team.rank:
            _follow(checkpoint, resolved, values, interruption, team)
            return None
        from lla.ledger import Ledger
        from lla_cli.console import warn, watching

        made = tuple(entry.name for entry in resolved.selected())
        # What the user's code prints goes to stderr: stdout is for the result alone.
        with (
            redirect_stdout(sys.stderr),
            Ledger.opened(target, fresh=not values["resume"], tell=warn) as ledger,
            told_of_parts(ledger, len(made), again=_again),
            watching(quiet=values["quiet"]) as progress,
            resolved.pointing_to_recipe(),
        ):
            from lla.pipeline import analyze_problem, prepare

            problem, facts, settled = prepare(
                checkpoint, resolved, trust=trust_of(values), team=team
            )
            with interruption.deferred():
                report = analyze_problem(
                    problem,
                    facts,
                    settled,
                    progress=progress,
                    command=sys.argv,
                    ledger=ledger,
                    stop=interruption.check,
                )
            return Outcome(ledger.deliver(report), made, dict(ledger.done), target)


def _target(checkpoint: str, resolved: Settings, values: dict[str, Any]) -> Target:
    """Where the report goes; what lies in the way of it, or of figures, is told before the work."""
    target = chosen_target(checkpoint, resolved, values["output"], html=values["html"])
    if values["figures"]:
        _refuse_figures(Path(values["figures"]))
    return target


def _follow(
    checkpoint: str,
    resolved: Settings,
    values: dict[str, Any],
    interruption: Interruption,
    team: Team,
) -> None:
    """The run on another rank than the first: it takes part, and writes and says nothing."""
    from lla.pipeline import analyze_problem, prepare

    with resolved.pointing_to_recipe(), interruption.deferred():
        problem, facts, settled = prepare(checkpoint, resolved, trust=trust_of(values), team=team)
        analyze_problem(problem, facts, settled, stop=interruption.check)


def _foretell(settings: tuple[Setting, ...], only: tuple[str, ...], values: dict[str, Any]) -> None:
    """Say how the run would be carried out and what it would take; nothing is written."""
    from lla.checkpoint import recognize

    checkpoint = values["checkpoint"]
    recognize(checkpoint)
    resolved = gathered(settings, values, only)
    _refuse_unstated(only, resolved, settings, checkpoint)
    from lla.foresight import foresee
    from lla_cli.dry_run import print_foresight

    with (
        joined_ranks(resolved, Interruption(), values, _again) as (team, resolved),
        redirect_stdout(sys.stderr),
        resolved.pointing_to_recipe(),
    ):
        found = foresee(checkpoint, resolved, trust=trust_of(values), team=team)
    print_foresight(found, as_json=values["json"])


def _refuse_unstated(
    only: tuple[str, ...], resolved: Settings, settings: tuple[Setting, ...], checkpoint: str
) -> None:
    """An analysis' own command without what its question is about cannot do anything.

    Raises:
        ConfigurationError: None of the settings that it needs is given.
    """
    from lla.errors import ConfigurationError

    for name in only:
        needs, config = available()[name].needs, resolved.analyses[name]
        if needs and not any(getattr(config, key) for key in needs):
            stated = [
                f"--{one.name} {one.metavar}"
                for one in settings
                if one.section == name and one.key in needs
            ]
            raise ConfigurationError(
                f"lla {name} is given neither {' nor '.join(needs)}: there is nothing to look at",
                f"write: lla {name} {checkpoint} {', or '.join(stated)}; or state it in [{name}] "
                "of the recipe",
            )


def _refuse_figures(folder: Path) -> None:
    from lla.errors import ReportError

    if folder.exists() and not folder.is_dir():
        raise ReportError(
            f"{folder} is not a folder for figures", "choose another: --figures FOLDER"
        )


def _deliver(outcome: Outcome, values: dict[str, Any]) -> None:
    """Page, figures, and the result on stdout; all of them read the report."""
    from lla.errors import AnalysisFailedError

    report = outcome.report
    written = [] if outcome.unchanged else [report.path]
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

        print_summary(outcome.asked, verbose=values["verbose"], written=written)
        for line in outcome.remarks():
            print(line)
    stages = outcome.asked.stages
    failed = {name: stage.why for name, stage in stages.items() if stage.status == "failed"}
    if failed:
        name, why = next(iter(failed.items()))
        raise AnalysisFailedError(
            f"the analysis '{name}' failed: {why} (the others are in {report.path})",
            "run it again with --debug and report what it prints",
        )
