"""The commands as a user meets them: streams, files, exit codes, messages."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lla_cli.main import app
from typer.testing import CliRunner, Result

from lla.analyses.registry import available

QUICK = [
    "--set=spectrum.steps=40",
    "--set=spectrum.max_probes=12",
    "--set=landscape.points=5",
    "--set=stability.max_batches=10",
    "--set=sharpness.max_pairs=4",
    "--set=sharpness.max_batches=4",
    "--set=sharpness.ascent=1",
    "--set=saliency.randomize=1",
]
CONTRACT = [
    "loss/value",
    "loss/accuracy",
    "loss/gradient_norm",
    "hessian/lambda_max",
    "hessian/lambda_min",
    "hessian/trace",
    "hessian/frobenius",
    "hessian/effective_rank",
    "hessian/r_e",
    "hessian/C_t",
    "hessian/K_H1",
    "hessian/K_H0.5",
    "hessian/type",
    "stability/gd_max_lr",
    "stability/sgd_max_lr",
    "stability/batch_sharpness",
    "landscape/center_error",
    "landscape/quadratic_radius",
    "saliency/class_sensitivity",
]


def lla(*arguments: object, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(app, [str(item) for item in arguments], env=env)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def quick(samples: Path, name: str) -> list[str]:
    """Arguments for a fast run on a part of a sample's data."""
    checkpoint = samples / name
    recipe = checkpoint.with_suffix(".toml")
    return [str(checkpoint), "--recipe", str(recipe), *QUICK, "--set=data.limit=96"]


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("digits_cnn.pt", set()),
        ("digits_mlp.pt", {"saliency/class_sensitivity"}),
        pytest.param("digits_vit.safetensors", {"stability/sgd_max_lr"}, marks=pytest.mark.long),
        pytest.param(
            "charlm.pt",
            {"saliency/class_sensitivity", "stability/sgd_max_lr"},
            marks=pytest.mark.long,
        ),
    ],
)
def test_one_document_with_every_metric_of_the_contract(
    samples: Path, name: str, missing: set[str]
) -> None:
    done = lla("analyze", *quick(samples, name), "--json", "--no-html")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["schema"] == "lla-report/1"
    assert found["report"] == f"{Path(name).stem}.lla.h5"
    assert Path(found["report"]).is_file()
    assert found["checkpoint"]["path"] == str(samples / name)
    assert len(found["checkpoint"]["sha256"]) == 64
    assert {stage["status"] for stage in found["stages"].values()} == {"done"}
    for path in CONTRACT:
        metric = found["metrics"][path]
        if path == "hessian/type":
            assert metric["value"] in ("mainly_positive", "mainly_negative", "quasi_singular")
        elif metric["value"] is None:
            assert metric["why"], path
            assert path in missing | {"hessian/C_t", "stability/batch_sharpness"}, path
        else:
            assert metric["low"] <= metric["value"], path
            assert metric["high"] is None or metric["value"] <= metric["high"], path
            assert path not in missing
    assert {verdict["verdict"] for verdict in found["verdicts"]} <= {
        "violated",
        "at_edge",
        "consistent",
        "inconclusive",
        "not_applicable",
    }
    assert all(verdict["why"] for verdict in found["verdicts"])


@pytest.mark.long
def test_digits_mlp_hovers_at_the_edge_of_stability(samples: Path) -> None:
    """λ_max·η ≈ 2, and the eigenvalues are those of the dense float64 Hessian to 1e-8."""
    import numpy as np

    from lla import checkpoint
    from lla.problem import build
    from lla.settings import gather

    done = lla(
        "analyze",
        samples / "digits_mlp.pt",
        "--dtype=float64",
        "--only=spectrum,stability",
        "--json",
        "--no-html",
    )
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["metrics"]["stability/sharpness_times_lr"]["value"] == pytest.approx(1, abs=0.03)
    verdicts = {verdict["id"]: verdict["verdict"] for verdict in found["verdicts"]}
    assert verdicts["stability.gd"] == "at_edge"

    path = samples / "digits_mlp.pt"
    settings = gather(path)
    problem = build(
        checkpoint.load(path),
        model=settings.model,
        data=settings.data,
        loss=settings.loss,
        training=settings.training,
        folder=Path(),
        dtype="float64",
    )

    # The dense Hessian from torch's own functional transform, all data at once.
    def loss(theta: torch.Tensor) -> torch.Tensor:
        named = problem.space.named(theta)
        out = torch.func.functional_call(problem.module, named, (problem.data.inputs,))
        one_hot = torch.nn.functional.one_hot(problem.data.targets, 10).double()
        return ((out - one_hot) ** 2).mean()

    _, pull_back = torch.func.vjp(torch.func.grad(loss), problem.theta)
    units = torch.eye(problem.space.size, dtype=torch.float64)
    (rows,) = torch.func.vmap(pull_back, chunk_size=64)(units)
    values = np.linalg.eigvalsh(rows.numpy())
    from lla.report import read

    spectrum = read("digits_mlp.lla.h5").results["spectrum"]
    np.testing.assert_allclose(spectrum.eigenvalues[:5], values[::-1][:5], rtol=1e-8)
    np.testing.assert_allclose(spectrum.eigenvalues[5:], values[1::-1], rtol=1e-8)
    assert spectrum.converged.all()


@pytest.mark.long
def test_terminal_summary_and_files(samples: Path, tmp_path: Path) -> None:
    done = lla("analyze", *quick(samples, "digits_mlp.pt"), "-o", "out.h5", "--figures", "figures")
    assert done.exit_code == 0, done.stderr
    assert "\nhessian/  " in done.stdout
    assert "\n  lambda_max  " in done.stdout
    assert "wrote out.h5" in done.stdout
    assert "spectrum: done" in done.stderr
    assert max(len(line) for line in done.stdout.splitlines() if "wrote" not in line) <= 130
    for path in ("out.h5", "out.html", "figures/spectrum.png", "figures/landscape.png"):
        assert (tmp_path / path).stat().st_size > 1000, path

    shown = lla("show", "out.h5")
    assert shown.exit_code == 0
    assert shown.stdout.split("\n\n")[0] == done.stdout.split("\n\n")[0]
    assert json.loads(lla("show", "out.h5", "--json").stdout)["report"] == "out.h5"
    assert lla("report", "out.h5", "-o", "page.html").stdout.strip() == "page.html"
    assert (
        "figures2/spectrum.svg"
        in lla("plot", "out.h5", "-o", "figures2", "--format", "svg", "--only", "spectrum").stdout
    )


def test_one_analysis_with_its_own_options(samples: Path) -> None:
    done = lla(
        "landscape",
        *quick(samples, "digits_mlp.pt")[:3],
        "--set=data.limit=64",
        "--x=-1:1:3",
        "--y=-2:2:4",
        "--json",
        "--no-html",
        "-q",
    )
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert list(found["stages"]) == ["baseline", "landscape"]
    assert found["stages"]["landscape"]["points"] >= 12


def test_flags_state_the_problem_without_a_recipe(samples: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "copy.pt"
    checkpoint.write_bytes((samples / "digits_cnn.pt").read_bytes())
    done = lla(
        "stability",
        checkpoint,
        "--model",
        f"{samples}/models.py:digits_cnn",
        "--model-arg=width=16",
        "--data",
        f"{samples}/digits.npz?split=test&limit=64",
        "--loss=cross_entropy?label_smoothing=0.1",
        "--lr=0.05",
        "--json",
        "--no-html",
        *QUICK,
    )
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["metrics"]["stability/lr"]["value"] == 0.05
    assert found["provenance"]["data"]["samples"] == 64
    assert found["provenance"]["configuration"]["loss"]["args"] == {"label_smoothing": 0.1}
    assert all("split 'test'" in verdict["why"] for verdict in found["verdicts"])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nothing.pt"], 5, "there is no file nothing.pt"),
        (["empty.pt"], 5, "empty.pt is empty"),
        (["text.pt"], 5, "a text file"),
        (["{samples}/digits_cnn.pt", "--recipe=bad.toml"], 2, "mean 'batch_size'"),
        (["{samples}/digits_cnn.pt", "--recipe=no.toml"], 5, "no.toml cannot be read"),
        (["{samples}/digits_cnn.pt", "--model={samples}/models.py:digit_cnn"], 2, "'digits_cnn'"),
        (["{samples}/digits_cnn.pt", "--model-arg=width=8"], 2, "do not fit"),
        (
            ["{samples}/digits_cnn.pt", "--data={samples}/charlm.npz?split=train"],
            2,
            "cannot process the data",
        ),
        (["{samples}/digits_cnn.pt", "--only=spektrum"], 2, "mean 'spectrum'"),
        (["{samples}/digits_cnn.pt", "--only=spectrum", "--skip=spectrum"], 3, "nothing is left"),
        (["{samples}/digits_cnn.pt", "--device=cuda:99"], 2, "no device 'cuda:99'"),
        (["{samples}/digits_cnn.pt", "--device=tpu"], 2, "no device 'tpu'"),
        (["{samples}/digits_cnn.pt", "--device=gpu:1"], 2, "did you mean 'cuda:1'"),
        (["{samples}/digits_cnn.pt", "--seed=x"], 2, "seed = 'x' is not valid"),
        (["{samples}/digits_cnn.pt", "-o", "no/where.h5"], 5, "no folder no"),
        (["{samples}/digits_cnn.pt", "--set=spectrum"], 2, "not of the form"),
        (["{samples}/digits_cnn.pt", "--set=spectrum.stepps=3"], 2, "mean 'steps'"),
        (["{samples}/digits_cnn.pt", "--set=steps=3"], 2, "mean 'spectrum.steps'"),
        (["{samples}/digits_cnn.pt", "--lr=inf"], 2, "it is not finite"),
        (["{samples}/digits_cnn.pt", "--set=model.args=3", "--model-arg=a=1"], 2, "no table"),
        (["{samples}/digits_cnn.pt", "-o", "page.html"], 2, "names a page"),
    ],
)
def test_mistakes_get_a_reason_a_remedy_and_a_code(
    samples: Path, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "text.pt").write_text("hello\n")
    (tmp_path / "bad.toml").write_text("[data]\nbach_size = 3\n")
    before = sorted(os.listdir(tmp_path))
    done = lla("analyze", *[item.format(samples=samples) for item in arguments])
    assert done.exit_code == code, done.stderr
    assert done.stdout == ""
    reason, remedy = done.stderr.strip().split("\n")[-2:]
    assert words in reason
    assert reason.startswith("lla: ")
    assert remedy.startswith("     ")
    assert "Traceback" not in done.stderr
    assert sorted(os.listdir(tmp_path)) == before


def test_settings_from_the_environment(samples: Path) -> None:
    done = lla("analyze", samples / "digits_cnn.pt", env={"LLA_TOLERANCE": "7"})
    assert done.exit_code == 2
    assert "environment" in done.stderr


def test_inspect_and_config(samples: Path) -> None:
    found = json.loads(lla("inspect", samples / "digits_cnn.pt", "--json").stdout)
    assert found["training"]["lr"] == 0.1
    assert found["format"] == "torch"
    assert any(about["shape"] for about in found["tensors"].values())
    shown = lla("config", samples / "digits_cnn.pt").stdout
    assert "checkpoint" in next(line for line in shown.splitlines() if "training.lr" in line)
    assert lla("doctor").exit_code == 0


def test_an_analysis_that_breaks_costs_only_itself(
    samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lla.analyses.saliency.run

    def broken(*_: object) -> None:
        raise RuntimeError("some bug")

    monkeypatch.setattr(lla.analyses.saliency.run, "run", broken)
    done = CliRunner().invoke(
        app, ["analyze", *quick(samples, "digits_mlp.pt"), "--only=saliency,baseline", "--no-html"]
    )
    assert done.exit_code == 70
    assert "some bug" in done.stderr
    from lla.report import read

    report = read("digits_mlp.lla.h5")
    assert report.stages["saliency"].status == "failed"
    assert math.isfinite(report.metrics["loss/value"].value)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long)],
)
def test_interruption_keeps_what_is_done(
    samples: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    command = [sys.executable, "-m", "lla_cli", "analyze", str(samples / "digits_cnn.pt")]
    with subprocess.Popen(
        [*command, "--set=spectrum.steps=100000"], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "spectrum" in line:
                break
        time.sleep(0.5)
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait(60) == code
    assert re.search(r"no report was written; 1 of \d+ analyses is done and kept in", rest)
    assert "go on with: lla analyze " in rest
    assert "finishing the product in hand" in rest
    assert "Traceback" not in rest
    assert os.listdir(tmp_path) == ["digits_cnn.lla.h5.parts"]


def test_nothing_but_a_report_is_ever_replaced(samples: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "model.pt"
    checkpoint.write_bytes((samples / "digits_mlp.pt").read_bytes())
    recipe = f"--recipe={samples / 'digits_mlp.toml'}"
    before = checkpoint.read_bytes()
    for target in ("model.pt", "."):
        done = lla("analyze", checkpoint, recipe, "--only=baseline", "-o", target)
        assert done.exit_code == 5
        assert "it is not replaced" in done.stderr
    assert checkpoint.read_bytes() == before


def test_a_part_does_not_replace_the_whole(samples: Path, tmp_path: Path) -> None:
    both = [*quick(samples, "digits_mlp.pt"), "--no-html", "-q"]
    assert lla("analyze", *both, "--only=landscape,saliency").exit_code == 0
    assert lla("landscape", *both).exit_code == 0
    assert lla("analyze", *both, "--only=saliency,landscape").exit_code == 0
    assert os.listdir(tmp_path) == ["digits_mlp.lla.h5"]
    assert lla("landscape", *both, "--seed=1").exit_code == 0
    assert sorted(os.listdir(tmp_path)) == ["digits_mlp.landscape.lla.h5", "digits_mlp.lla.h5"]


def test_reports_and_checkpoints_taken_for_each_other(samples: Path) -> None:
    assert lla("landscape", *quick(samples, "digits_mlp.pt"), "--no-html", "-q").exit_code == 0
    wrong = lla("analyze", "digits_mlp.lla.h5")
    assert "lla show digits_mlp.lla.h5" in wrong.stderr
    wrong = lla("show", samples / "digits_mlp.pt")
    assert "lla analyze" in wrong.stderr
    unknown = lla("plot", "digits_mlp.lla.h5", "--only=landscape,spectrun")
    assert unknown.exit_code == 2
    assert "no figure 'spectrun'" in unknown.stderr


def test_a_dry_run_names_what_it_cannot_predict(samples: Path, monkeypatch) -> None:
    silent = replace(available()["baseline"], work="")
    monkeypatch.setitem(available(), "baseline", silent)
    words = ["analyze", str(samples / "digits_mlp.pt"), "--dry-run", "--only=baseline,stability"]
    done = CliRunner().invoke(app, words)
    assert "baseline   not predicted, and not in the sum" in done.stdout, done.stdout
    document = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert document["unpredicted"] == ["baseline"]
    assert list(document["stages"]) == ["stability"]


def test_a_dry_run_computes_and_writes_nothing(samples: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = str(samples / "digits_mlp.pt")
    done = CliRunner().invoke(app, ["analyze", path, "--dry-run"])
    assert done.exit_code == 0, done.stderr
    for part in ("4,650 parameters, 1,437 samples", "graphs of", "nothing was computed"):
        assert part in done.stdout
    found = CliRunner().invoke(app, ["analyze", path, "--dry-run", "--json", "--skip=landscape"])
    document = json.loads(found.stdout)
    assert document["schema"] == "lla-plan/1"
    assert set(document["stages"]) == {"baseline", "spectrum", "stability", "sharpness", "saliency"}
    for stage in document["stages"].values():
        assert 0 <= stage["expected_seconds"] <= stage["at_most_seconds"]
    assert document["plan"]["predicted_peak_bytes"] < document["plan"]["memory"]
    assert not list(tmp_path.iterdir())
    small = CliRunner().invoke(app, ["spectrum", path, "--memory", "10MiB"])
    assert small.exit_code == 2
    assert "a memory budget of 10 MiB is too small" in small.stderr


def test_a_spectrum_lists_its_layers(samples: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = str(samples / "digits_mlp.pt")
    done = CliRunner().invoke(app, ["spectrum", path, "--no-html", "-q", "--largest", "2"])
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    (head,) = [line for line in lines if "largest eigenvalue" in line and "layer" in line]
    rows = [line.split() for line in lines[lines.index(head) + 1 :]]
    counts = [int(row[1].replace(",", "")) for row in rows[: [*rows, []].index([])]]
    assert len(counts) > 1
    assert sum(counts) == 4650
