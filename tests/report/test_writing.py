"""Where a report cannot be written, the old one stays whole and nothing else is left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import lla
from lla.errors import ReportError
from lla.report.storage import refuse_target
from tests.plots import build

# A limit on files' sizes fails in write(2) as a full disk does, on any machine.
FULL = """
import os, resource, sys
import lla
from lla.errors import ReportError
from tests.plots import build

size = os.path.getsize("r.h5")
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
before = open("r.h5", "rb").read()
for limit in (0, 1000, size // 2, size - 77, size - 1):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        lla.write(build.report(), "r.h5")
    except ReportError as error:
        print(error.exit_code, error.reason)
    assert open("r.h5", "rb").read() == before
    assert os.listdir(".") == ["r.h5"], os.listdir(".")
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
assert lla.write(build.report(), "r.h5").sha256
"""

# Root may write anywhere: the write is made by somebody else.
READ_ONLY = """
import os
import lla
from lla.errors import ReportError
from lla.report.storage import refuse_target
from pathlib import Path
from tests.plots import build

report = build.report()
if os.geteuid() == 0:
    os.setgroups([])
    os.setuid(65534)
for act in (lambda: lla.write(report, "r.h5"), lambda: refuse_target(Path("r.h5"))):
    try:
        act()
    except ReportError as error:
        print(error.exit_code, error.reason)
        print(error.remedy)
"""


def in_folder(folder: Path, script: str) -> list[str]:
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.splitlines()


def test_a_full_disk(tmp_path: Path) -> None:
    lla.write(build.report(), tmp_path / "r.h5")
    lines = in_folder(tmp_path, FULL)
    assert lines == ["5 the report r.h5 cannot be written: File too large"] * 5
    assert lla.read(tmp_path / "r.h5", verify=True).metrics["hessian/lambda_max"].value == 10.0


def test_a_read_only_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    lla.write(build.report(), folder / "r.h5")
    before = (folder / "r.h5").read_bytes()
    folder.chmod(0o555)
    try:
        lines = in_folder(folder, READ_ONLY)
    finally:
        folder.chmod(0o755)
    remedy = "choose another place: -o FOLDER/NAME.lla.h5"
    assert lines == [
        "5 the report r.h5 cannot be written: Permission denied",
        remedy,
        "5 the report r.h5 cannot be written: you may not write into its folder",
        remedy,
    ]
    assert (folder / "r.h5").read_bytes() == before
    assert os.listdir(folder) == ["r.h5"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="No such file or directory"):
        lla.write(build.report(), tmp_path / "no" / "r.h5")
    with pytest.raises(ReportError, match="there is no folder"):
        refuse_target(tmp_path / "no" / "r.h5")
    assert not os.listdir(tmp_path)
