"""``lla compare``: formats, exit codes, 80 columns."""

import io
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from lla_cli.changes import _values
from rich.console import Console
from typer.testing import Result

import lla
from lla.analyses.fields import entries
from lla.analyses.registry import available
from lla.comparing import schema
from lla.comparing.changes import Change
from lla.estimate import Estimate
from tests.cli.test_show import LONG, process, run, width_of
from tests.comparing.test_comparison import certain, report, sharper
from tests.plots import build


@pytest.fixture(autouse=True)
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lla.write(report(stability=certain()), "a.h5")
    lla.write(report("b.pt", spectrum=sharper(5), stability=certain()), "b.h5")
    lla.write(report("c.pt", data={"sha256": "cafe"}, stability=certain()), "c.h5")


def compare(*arguments: object) -> Result:
    return run("compare", *arguments)


def test_what_changed_comes_first() -> None:
    done = compare("a.h5", "b.h5")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "b.h5 against a.h5"
    head = lines.index("larger")
    assert lines[head + 2].split() == [
        "hessian/lambda_max", "10.00", "±", "0.01", "15.00", "±", "0.01", "+50.00", "±", "0.26", "%"
    ]  # fmt: skip
    assert head < lines.index("no difference shown") < lines.index("equal")
    assert "half-widths of estimates are added" in done.stdout


def test_an_analysis_that_one_report_lacks_has_one_line() -> None:
    lla.write(report("d.pt", stability=None, sharpness=None), "d.h5")
    lines = compare("a.h5", "d.h5").stdout.splitlines()
    assert [line.split() for line in lines if "not in the other report" in line] == [
        ["all", "of", f"{group}/", "not", "in", "the", "other", "report"]
        for group in ("stability", "sharpness")
    ]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["a.h5", "b.h5"], 0),
        (["a.h5", "c.h5"], 0),
        (["a.h5", "a.h5", "--gate"], 0),
        (["b.h5", "a.h5", "--gate"], 0),
        (["a.h5", "b.h5", "--gate"], 1),
        (["a.h5", "c.h5", "--gate"], 4),
        (["a.h5", "c.h5", "b.h5", "--gate"], 1),
        (["a.h5", "a.h5", "c.h5", "--gate"], 4),
        (["a.h5", "b.h5", "--gate", "--json"], 1),
        (["a.h5", "c.h5", "--gate", "--markdown"], 4),
        (["a.h5"], 2),
        (["a.h5", "b.h5", "--across", "date"], 2),
        (["a.h5", "b.h5", "--json", "--markdown"], 2),
        (["-", "-"], 2),
        (["a.h5", "b.h5", "-o", "figures", "--format", "gif"], 2),
        (["a.h5", "none.h5"], 5),
        (["none.h5", "a.h5", "--gate"], 5),
    ],
)
def test_exit_codes(arguments: list[str], code: int) -> None:
    done = compare(*arguments)
    assert done.exit_code == code, done.stderr
    if code not in (0, 1, 4):
        assert done.stdout == ""
        reason, remedy = done.stderr.strip().split("\n")
        assert reason.startswith("lla: ")
        assert remedy.startswith("     ")


def test_not_comparable_says_why_and_how_nevertheless() -> None:
    text = " ".join(compare("a.h5", "c.h5").stdout.split())
    assert "the data: 50 samples of digits.npz (train) (beef) and" in text
    assert "to compare nevertheless: --across data" in text
    allowed = " ".join(compare("a.h5", "c.h5", "--across=data,loss").stdout.split())
    assert "compared across the data" in allowed
    assert "how much it varies with the samples is not known" in allowed


def test_documents() -> None:
    found = json.loads(compare("a.h5", "b.h5", "c.h5", "--json").stdout)
    jsonschema.validate(found, schema())
    assert [entry["report"] for entry in found["comparisons"]] == ["b.h5", "c.h5"]
    assert found["gate"]["status"] == "failed"
    text = compare("a.h5", "b.h5", "--markdown", "--gate").stdout
    assert text.startswith("**Worse than the reference.**\n\n- b.h5: hessian/lambda_max is larger")
    assert "**`b.h5` against `a.h5`: " in text


def test_a_trend_has_a_line_for_each_report() -> None:
    text = compare("a.h5", "b.h5", "c.h5", "--across=data", "--gate").stdout
    block = text[text.index("hessian/lambda_max\n") :].splitlines()[1:4]
    assert [line.split()[0] for line in block] == ["a.h5", "b.h5", "c.h5"]
    assert [line.split()[-1] for line in block[:2]] == ["reference", "larger"]
    assert text.rstrip().splitlines()[-1].startswith("  b.h5: hessian/lambda_max is larger")


def test_from_a_pipe() -> None:
    done = process("compare", "a.h5", "-", input=Path("b.h5").read_bytes())
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().startswith("standard input against a.h5")


@pytest.mark.parametrize("options", [[], ["-v"], ["--gate"]])
def test_80_columns_whatever_the_names(options: list[str]) -> None:
    base = build.spectrum().layers
    layers = replace(base, names=(f"{LONG}first", "[bold]second"), trace=base.trace + 9e5)
    wide = build.spectrum(
        trace=build.sampled(-123456.789, 77.7), lambda_max=build.certified(1.234567e-9, 1e-12)
    )
    lla.write(report("x.pt", spectrum=wide), f"{LONG[:180]}.h5")
    lla.write(report("y.pt", seed=1, spectrum=build.spectrum(layers=layers)), f"{LONG[:180]}2.h5")
    names = [f"{LONG[:180]}.h5", f"{LONG[:180]}2.h5"]
    for arguments in (names, ["a.h5", *names]):
        done = run("compare", *arguments, *options, env={"COLUMNS": "300"})
        assert done.exit_code in (0, 1, 4), done.stderr
        assert width_of(done.stdout) <= 80
        assert "…" not in done.stdout
        assert "[bold]" not in done.stdout or "[bold]second" in done.stdout


def test_equal_metrics_are_named_in_one_line() -> None:
    """Of every analysis, the longest name there is included."""
    names = [
        f"{analysis.group}/{entry.name}"
        for analysis in available().values()
        for entry in entries(analysis.result)
        if entry.kind == "metric"
    ]
    written = io.StringIO()
    console = Console(width=80, file=written)
    one, none = Estimate(0.25, 0.25, 0.25), Estimate.missing("equal")
    console.print(_values(Change(name, one, one, "equal", none, none) for name in names))
    for line, name in zip(written.getvalue().splitlines(), names, strict=True):
        assert line.split() == [name, "0.25"]


def test_figures_over_each_other() -> None:
    done = compare("a.h5", "b.h5", "-o", "figures", "--json")
    assert done.exit_code == 0
    json.loads(done.stdout)
    names = {Path(line).name for line in done.stderr.splitlines()}
    assert names == {"changes.png", "spectra.png", "layers.png", "cuts.png"}
    assert {path.name for path in Path("figures").iterdir()} == names
    assert np.all([path.stat().st_size > 5000 for path in Path("figures").iterdir()])
