"""``lla show``: what a reader sees, in 80 columns, in pipes, in any encoding."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lla_cli.density import density_lines
from lla_cli.main import app
from rich.cells import cell_len
from typer.testing import CliRunner, Result

import lla
from lla.report import Stage
from tests.plots import build

LONG = "a_very_long_name_of_a_block_that_somebody_chose." * 4


def run(*arguments: object, **options: object) -> Result:
    return CliRunner().invoke(app, [str(item) for item in arguments], **options)


def process(
    *arguments: object, encoding: str = "utf-8", **options: object
) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, **options.pop("env", {})}
    command = [sys.executable, "-m", "lla_cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, env=environment, **options)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def long_report():
    layers = replace(
        build.spectrum().layers, names=(f"{LONG}first", "[bold]second[/bold] \x1b[31mred")
    )
    made = build.report(
        f"{LONG}/{LONG}.pt",
        spectrum=build.spectrum(layers=layers),
        landscape=build.landscape(
            quadratic_radius=replace(build.exact(1.0), value=math.nan, why="because " * 30)
        ),
    )
    stages = {
        **made.stages,
        "landscape": Stage("failed", 1.0, why=f"RuntimeError: [red]{LONG}"),
        "saliency": Stage("not_applicable", 1.0, why="no images"),
    }
    return replace(made, stages=stages)


def width_of(text: str) -> int:
    return max(map(cell_len, text.splitlines()))


@pytest.mark.parametrize("options", [[], ["-v"]])
def test_80_columns_whatever_the_names(options: list[str]) -> None:
    lla.write(long_report(), "long.h5")
    done = run("show", "long.h5", *options, env={"COLUMNS": "300"})
    assert done.exit_code == 0, done.stderr
    assert width_of(done.stdout) <= 80
    text = "".join(done.stdout.split())
    for whole in (f"{LONG}/{LONG}.pt", "[bold]second[/bold]", f"[red]{LONG}", "because" * 30):
        assert "".join(whole.split()) in text
    assert "\x1b" not in done.stdout
    # A layer's name goes on under itself, between the margin and the number of its parameters.
    lines = done.stdout.splitlines()
    head = next(index for index, line in enumerate(lines) if line.split()[:1] == ["layer"])
    edge = lines[head].index("parameters")
    name = "".join(line[:edge].strip() for line in lines[head + 1 : head + 40])
    assert name.startswith(f"{LONG}first")


def test_numbers_verdicts_and_what_went_wrong() -> None:
    lla.write(long_report(), "long.h5")
    text = run("show", "long.h5").stdout
    for words in (
        "10.00 [9.99, 10.01]               certified",
        "17.00 [16.50, 17.50]              95 %",
        "mainly positive (C_t = -0.1)",
        "landscape failed: RuntimeError",
        "saliency not applicable: no images",
        "lla show -v long.h5",
    ):
        assert words in text, words
    assert "stability/batch_sharpness" in text[text.index("not converged, so") :]
    # The worst verdict comes first.
    found = [text.index(word) for word in ("violated", "at the edge", "consistent")]
    assert found == sorted(found)


def test_one_reason_is_given_once() -> None:
    verdicts = tuple(
        lla.Verdict(f"stability.{name}", "not_applicable", "the same reason") for name in "abc"
    )
    lla.write(build.report(stability=build.stability(verdicts=verdicts)), "r.h5")
    text = run("show", "r.h5").stdout
    assert text.count("the same reason") == 1
    assert "stability.a, stability.b, stability.c" in text


@pytest.mark.long
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_encoding_without_our_letters(encoding: str) -> None:
    lla.write(build.report(), "r.h5")
    for options in (["show", "r.h5", "-v"], ["compare", "r.h5", "r.h5", "-v"]):
        done = process(*options, encoding=encoding)
        assert done.returncode == 0, done.stderr
        text = done.stdout.decode(encoding)
        assert width_of(text) <= 80
    assert "17.00 +/- 0.50" in process("compare", "r.h5", "r.h5", encoding="ascii").stdout.decode()
    assert "^" in process("show", "r.h5", encoding="ascii").stdout.decode()


def test_a_terminal_has_colours_and_a_pipe_has_none() -> None:
    lla.write(build.report(), "r.h5")
    pty = pytest.importorskip("pty")
    for no_color, colours in (("", True), ("1", False)):
        primary, secondary = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
        environment.update({"NO_COLOR": no_color} if no_color else {})
        command = [sys.executable, "-m", "lla_cli", "show", "r.h5"]
        with subprocess.Popen(command, stdout=secondary, env=environment) as running:
            os.close(secondary)
            found = b""
            try:
                while chunk := os.read(primary, 65536):
                    found += chunk
            except OSError:  # how Linux says that the other end is closed
                pass
            os.close(primary)
            assert running.wait() == 0
        assert (b"\x1b[1;31m" in found) == colours, found[:200]
    assert b"\x1b" not in process("show", "r.h5").stdout


def test_the_pipe_may_close_early() -> None:
    lla.write(build.report(), "r.h5")
    for options in (["show", "r.h5"], ["show", "r.h5", "--json"], ["compare", "r.h5", "r.h5"]):
        command = [sys.executable, "-m", "lla_cli", *options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            assert running.stdout is not None
            running.stdout.close()
            assert running.stderr is not None
            assert running.stderr.read() == b""
            assert running.wait(60) == 0


@pytest.mark.long
def test_standard_input() -> None:
    lla.write(build.report(), "r.h5")
    content = Path("r.h5").read_bytes()
    named, piped = run("show", "r.h5"), process("show", "-", input=content)
    assert piped.returncode == 0, piped.stderr
    assert piped.stdout.decode() in named.stdout  # but for the commands that name the file
    document = json.loads(process("show", "-", "--json", input=content).stdout)
    assert document["schema"] == "lla-report/1"
    assert process("plot", "-", "--only=layers", "-o", "f", input=content).returncode == 0
    assert Path("f/layers.png").is_file()
    assert process("report", "-", "-o", "page.html", input=content).returncode == 0
    assert Path("page.html").is_file()
    nowhere = process("report", "-", input=content)
    assert nowhere.returncode == 2
    assert b"-o FILE" in nowhere.stderr
    for rubbish, words in ((b"", "standard input is empty"), (b"hello" * 99, "is not a report")):
        done = process("show", "-", input=rubbish)
        assert done.returncode == 5
        assert words in done.stderr.decode()
        assert "/lla-" not in done.stderr.decode()


def test_a_checkpoint_instead_of_its_report() -> None:
    Path("net.pt").write_bytes(b"weights" * 99)
    done = run("show", "net.pt")
    assert done.exit_code == 5
    assert "lla analyze net.pt" in done.stderr
    lla.write(build.report("runs/net.pt"), "net.lla.h5")
    done = run("show", "net.pt")
    assert done.exit_code == 5
    assert "its report is net.lla.h5" in done.stderr
    lla.write(build.report("runs/other.pt"), "net.lla.h5")
    assert "lla analyze net.pt" in run("show", "net.pt").stderr


def columns_of(lines: list[str]) -> list[int]:
    """Height of each column of a plot, in rows."""
    rows = [line[9:].ljust(61) for line in lines[:7]]
    return [sum(row[at] != " " for row in rows) for at in range(61)]


@pytest.mark.parametrize("plain", [False, True])
def test_the_density_shows_bulk_outliers_and_eigenvalues(plain: bool) -> None:
    density = build.spectrum().density
    # One of 100 eigenvalues at 10, smoothed by 0.2: a peak of 1 / (100 · 0.2 · √(2π)).
    peak = 0.02 * np.exp(-((density.eigenvalue - 10) ** 2) / 0.08)
    spectrum = build.spectrum(density=replace(density, density=density.density + peak))
    lines = density_lines(spectrum, 70, plain=plain)
    assert max(map(len, lines)) <= 70
    assert all(line.isascii() for line in lines) == plain
    heights = columns_of(lines)
    # From −2 to 12 over 61 columns: the bulk at 0 is the highest, the outlier at 10 a peak.
    at = {value: int((value + 2) / 14 * 61) for value in (-1, 0, 4, 10)}
    assert heights[at[0]] == max(heights) == 7
    assert heights[at[10]] >= 1
    assert heights[at[10]] > heights[at[4]] == 0
    ticks = [index - 9 for index, mark in enumerate(lines[8]) if mark in "▲^"]
    assert ticks == [at[-1], at[4], at[10]]
    assert lines[-1].split() == ["-2", "0", "12"]


def test_the_density_of_little() -> None:
    flat = build.spectrum().density
    nothing = replace(flat, density=np.zeros_like(flat.density))
    assert density_lines(build.spectrum(density=nothing), 80) == []
    assert density_lines(build.spectrum(), 20) == []
    holes = replace(flat, density=np.where(flat.eigenvalue > 5, np.nan, flat.density))
    assert len(density_lines(build.spectrum(density=holes), 80)) == 10
