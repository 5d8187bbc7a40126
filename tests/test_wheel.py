"""The wheel holds everything that is needed, and works from any folder."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.long
def test_a_wheel_works_elsewhere(samples: Path, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert wheel.name.startswith("loss_landscape_lla-")
    installed, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(installed)
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"lla", "lla_cli", "lla_plots"}
    assert {f"lla/report/schemas/{name}.json" for name in ("contents", "document")} <= set(names)
    assert "lla/audit/audit.schema.json" in names

    # Before the checkout's own packages on the path; the checkout is not the current folder.
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    code = "import lla, lla_cli, lla_plots as p; print(lla.__file__, lla_cli.__file__, p.__file__)"
    where = subprocess.run(
        [sys.executable, "-c", code],
        cwd=work,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert where.count(str(installed)) == 3

    command = [sys.executable, "-m", "lla_cli", "analyze", str(samples / "digits_mlp.pt"), "--json"]
    quick = ["--set=data.limit=64", "--set=landscape.points=5", "--set=spectrum.steps=20"]
    done = subprocess.run(
        [*command, *quick], cwd=work, env=environment, check=True, capture_output=True, text=True
    )
    assert json.loads(done.stdout)["report"] == "digits_mlp.lla.h5"
    assert sorted(path.name for path in work.iterdir()) == [
        "digits_mlp.lla.h5",
        "digits_mlp.lla.html",
    ]
