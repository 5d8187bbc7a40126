"""``lla compare``: reports against a reference: is each change larger than its error?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from lla_cli.guard import guarded

if TYPE_CHECKING:
    from pathlib import Path

    from lla.comparing import Comparison

__all__ = ["add_to"]

_EXIT = {"passed": 0, "failed": 1, "inconclusive": 4}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare", help="Compare reports with the first of them.")(_compare)


def _compare(
    reports: Annotated[
        list[str],
        typer.Argument(
            help="report files, the reference first; - for standard input",
            metavar="REFERENCE REPORT…",
            show_default=False,
        ),
    ],
    across: Annotated[
        list[str] | None,
        typer.Option(
            "--across",
            help="compare although these differ: data, loss, dtype, batch-norm, network, operator, "
            "settings",
            metavar="A,B",
        ),
    ] = None,
    figures: Annotated[
        str | None,
        typer.Option(
            "-o", "--figures", help="draw the reports over each other into FOLDER", metavar="FOLDER"
        ),
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", help="png, svg, pdf, or several with commas")
    ] = "png",
    json: Annotated[bool, typer.Option("--json", help="print the JSON document")] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="print Markdown, for a pull request")
    ] = False,
    gate: Annotated[
        bool,
        typer.Option("--gate", help="exit with 1 if sharpness got worse, 4 if it cannot be said"),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="all metrics, and every layer's trace")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
) -> None:
    with guarded(debug=debug):
        found = _compared(reports, across or ())
        from lla.comparing import document
        from lla.comparing import gate as judge
        from lla_cli.terminal import print_document, shown

        judged = judge(found)
        if json and markdown:
            from lla.errors import ConfigurationError

            raise ConfigurationError("--json and --markdown are two formats", "choose one")
        written = _draw(found, figures, formats) if figures else []
        if json:
            print_document(document(found))
        elif markdown:
            from lla.comparing import markdown as as_markdown

            print(shown(as_markdown(found, judged if gate else None)), end="")
        else:
            from lla_cli.changes import print_comparisons

            print_comparisons(found, verbose=verbose, judged=judged if gate else None)
        for path in written:
            print(path, file=sys.stderr if json or markdown else sys.stdout)
        sys.stdout.flush()
        if gate and _EXIT[judged.status]:
            raise typer.Exit(_EXIT[judged.status])


def _compared(texts: Sequence[str], across: Sequence[str]) -> list[Comparison]:
    from lla.comparing import compare
    from lla.errors import ConfigurationError
    from lla_cli.opening import reports_at

    if len(texts) < 2:
        raise ConfigurationError(
            "a comparison needs two reports, the reference first",
            f"lla compare {texts[0]} OTHER.lla.h5",
        )
    allowed = [name.strip() for text in across for name in text.split(",") if name.strip()]
    reference, *others = reports_at(texts)
    return [compare(reference, other, allowed) for other in others]


def _draw(comparisons: Sequence[Comparison], folder: str, formats: str) -> list[Path]:
    from lla_plots.compare import save

    return save(comparisons, folder, formats.split(","))
