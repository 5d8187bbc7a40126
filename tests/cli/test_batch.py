"""What ``lla batch`` refuses before it makes anything, and what it foretells."""

import json
import shutil
from pathlib import Path

import pytest
from lla_cli.main import app
from typer.testing import CliRunner, Result


def lla(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(item) for item in arguments])


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("looked_at", [False, True])
@pytest.mark.parametrize(
    ("options", "said", "remedy"),
    [
        (["--executor=proces"], "'proces' (did you mean 'process'?)", "process, ray, slurm"),
        (["--slurm=partition"], "--slurm partition has no value", "--slurm partition=gpu"),
        (["--jobs=-1"], "--jobs -1 is negative", "leave --jobs out"),
        (["--gpus=-0.5"], "--gpus -0.5 is negative", "leave --gpus out"),
    ],
)
def test_options_that_cannot_be_meant_leave_nothing(
    samples: Path, options: list[str], said: str, remedy: str, looked_at: bool
) -> None:
    dry = ["--dry-run"] if looked_at else []
    done = lla("batch", samples / "digits_mlp.pt", "-o", "out", *options, *dry)
    assert done.exit_code == 2
    assert said in done.stderr
    assert remedy in done.stderr
    assert not Path("out").exists()


@pytest.mark.parametrize("there", [False, True])
def test_an_engine_that_is_not_there_leaves_nothing(
    samples: Path, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", "")
    if there:
        Path("out").mkdir()
    done = lla("batch", samples / "digits_mlp.pt", "-o", "out", "--executor=slurm")
    assert done.exit_code == 2
    assert "there is no Slurm here" in done.stderr
    assert Path("out").exists() == there
    assert not Path("out/jobs").exists()


def test_a_dry_run_ends_as_the_run_would(samples: Path) -> None:
    for name in ("digits_mlp.pt", "digits_mlp.toml", "models.py", "digits.npz"):
        shutil.copy(samples / name, name)
    Path("notes.pt").write_text("no checkpoint")
    done = lla("batch", "digits_mlp.pt", "notes.pt", "-o", "out", "--dry-run")
    assert done.exit_code == 5
    assert done.stdout.splitlines()[1].startswith("cannot begin notes ")
    assert "1 waiting, 1 cannot begin" in done.stdout
    told = lla("batch", "digits_mlp.pt", "notes.pt", "-o", "out", "--dry-run", "--json")
    assert told.exit_code == 5
    assert [job["exit_code"] for job in json.loads(told.stdout)["jobs"]] == [None, 5]
    assert lla("batch", "digits_mlp.pt", "-o", "out", "--dry-run").exit_code == 0
    # What a job would lack is told as far as it can be without loading the file.
    Path("bare").mkdir()
    for name in ("bare/m.pt", "bare/s.safetensors"):
        shutil.copy(
            samples / ("digits_mlp.pt" if "m.pt" in name else "digits_vit.safetensors"), name
        )
    told = lla("batch", "bare/*", "-o", "out", "--dry-run", "--json")
    assert told.exit_code == 2
    jobs = json.loads(told.stdout)["jobs"]
    assert ["no factory is named" in job["reason"] for job in jobs] == [True, True]
    model = "--model=models.py:mlp"
    told = lla("batch", "bare/m.pt", model, "-o", "out", "--dry-run", "--json")
    assert "no data is named" in json.loads(told.stdout)["jobs"][0]["reason"]
    assert lla("batch", "bare/m.pt", "--unsafe-load", "--data=digits.npz?split=train", "-o", "out",
               "--dry-run").exit_code == 0  # fmt: skip
    assert not Path("out").exists()
