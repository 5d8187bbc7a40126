"""``lla audit``: checkpoints or reports against a policy, for CI systems and people."""

from __future__ import annotations

import os
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lla_cli.guard import guarded
from lla_cli.interruption import Interruption
from lla_cli.options import DEBUG, OUTPUT, RESUME, SETTINGS, STATED, TRUST
from lla_cli.parameters import option, parameter, with_parameters

if TYPE_CHECKING:
    from lla.audit import Audit, Policy
    from lla.audit.writing import Output

__all__ = ["add_to"]

_TARGETS = parameter(
    "targets",
    list[str],
    [],
    typer.Argument(
        help="checkpoints, reports, or globs of them; - for a report on standard input",
        metavar="MODEL_OR_REPORT…",
        show_default=False,
    ),
)


_option = partial(option, "Audit")
_AUDIT = (
    _option(
        "policy",
        str,
        None,
        "policy (default: lla-policy.toml, or tool.lla.audit in pyproject.toml)",
        "FILE",
    ),
    _option(
        "output",
        list[str],
        [],
        "text, json, junit, markdown, github or sarif, to stdout or a file; repeatable",
        "FORMAT[:PATH]",
    ),
    _option(
        "baseline", str, None, "report to compare with, or a folder of reports", "FILE|FOLDER/"
    ),
    _option("update_baseline", bool, False, "afterwards, keep what was audited as the baseline"),
    _option("exit_zero", bool, False, "exit with 0 where gates fail or are inconclusive"),
    _option("explain", str, None, "say what a gate asks for and when it passes", "GATE"),
    _option("init", bool, False, "write a policy from a report, with limits from its numbers"),
    _option("force", bool, False, "with --init: replace a policy that is there"),
    _option("reports", str, None, "where reports of checkpoints go (default: here)", "FOLDER"),
)
_QUIET = tuple(item for item in OUTPUT if item.name == "quiet")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    # The confidence is the policy's.
    settings = (setting.parameter() for setting in SETTINGS if setting.name != "confidence")
    parameters = (_TARGETS, *_AUDIT, *settings, *STATED, RESUME, *TRUST, *_QUIET, DEBUG)
    run = with_parameters(_run, parameters)
    app.command("audit", help="Hold checkpoints or reports against a policy.")(run)


def _run(values: dict[str, Any]) -> None:
    interruption = Interruption()
    with (
        guarded(debug=values["debug"], again=lambda: shlex.join(sys.argv)),
        interruption.watched(),
    ):
        if values["init"]:
            _write_policy(values)
            return
        code = _audit(values, interruption)
        if code and not (values["exit_zero"] and code in (1, 4)):
            raise typer.Exit(code)


def _audit(values: dict[str, Any], interruption: Interruption) -> int:
    """Audit, write, and give the exit code."""
    from lla.audit import read_policy
    from lla.audit.auditing import today_utc
    from lla.audit.targets import targets_of
    from lla.audit.writing import outputs_of

    policy, today = read_policy(values["policy"]), today_utc()
    if values["explain"]:
        policy = _explained(policy, values["explain"])
        if not values["targets"]:
            return 0
    outputs = outputs_of(values["output"])
    targets = targets_of(values["targets"])
    from lla_cli.audited import Auditor

    auditor = Auditor(policy, values, interruption, today)
    auditor.refuse(outputs, targets)
    found = auditor.audit(targets)
    _deliver(found, outputs, values)
    auditor.update_baselines(found)
    return found.exit_code


def _explained(policy: Policy, id: str) -> Policy:
    """Say what a gate asks for; the policy of this gate alone."""
    from dataclasses import replace

    from lla.audit.auditing import today_utc
    from lla.audit.explaining import explain, gate_named
    from lla_cli.terminal import shown

    gate = gate_named(policy, id)
    print(shown(explain(policy, gate, today_utc())))
    waivers = tuple(one for one in policy.waivers if one.gate == id)
    return replace(policy, gates=(gate,), waivers=waivers)


def _deliver(found: Audit, outputs: tuple[Output, ...], values: dict[str, Any]) -> None:
    from lla.audit import Format
    from lla.audit.writing import write_outputs, write_summary
    from lla_cli.terminal import shown

    text = write_outputs(found, outputs)
    print(shown(text), end="")
    sys.stdout.flush()
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary and any(one.format is Format.GITHUB for one in outputs):
        write_summary(found, Path(summary))
    for one in found.audited:
        if one.error is not None:
            print(f"lla: {one.name}: {one.error.reason}", file=sys.stderr)
            print(f"     {one.error.remedy}", file=sys.stderr)
    files = [str(one.path) for one in outputs if one.path]
    if files and not values["quiet"]:
        from lla.audit.findings import counted

        told = f"{counted(found.findings)} (exit code {found.exit_code})"
        print(f"lla: {told}; wrote {', '.join(files)}", file=sys.stderr)


def _write_policy(values: dict[str, Any]) -> None:
    """``--init``: draft a policy from a report."""
    from lla.audit.drafting import BASELINES, draft
    from lla.audit.reading import POLICY
    from lla.errors import ConfigurationError, ReportError
    from lla.files import replacing
    from lla_cli.opening import report_at

    if len(values["targets"]) != 1:
        raise ConfigurationError(
            "a policy is drafted from one report", "name it: lla audit --init REPORT.lla.h5"
        )
    target = Path(values["policy"] or POLICY)
    if target.name == "pyproject.toml":
        raise ConfigurationError(
            f"{target} is not written into", f"draft a file: --policy {POLICY}, and copy from it"
        )
    if target.exists() and not values["force"]:
        raise ConfigurationError(
            f"{target} exists already",
            "edit it, choose another: --policy FILE, or replace it: --force",
        )
    text = draft(report_at(values["targets"][0], verify=True))
    try:
        with replacing(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ReportError(
            f"{target} cannot be written: {error.strerror}", "choose another: --policy FILE"
        ) from None
    report, option = values["targets"][0], f" --policy {target}" if values["policy"] else ""
    print(f"wrote {target}")
    print(f"make its baseline in {BASELINES}: lla audit {report}{option} --update-baseline")
    print(f"then: lla audit {report}{option}")
