"""What every executor keeps to, seen from outside of the process that uses it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lla.batch.executors.choice import EXECUTORS
from tests.batch.executors.jobs import marked, processes

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[3]

DRIVER = """
import sys
from pathlib import Path
from tests.batch.executors.jobs import job_of
from tests.batch.executors.test_contract import carried_out, options
from lla.batch.executors.choice import made
folder = Path(sys.argv[2])
import signal
before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
executor = made(sys.argv[1], options(folder / "logs"))
assert before == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
ended = carried_out(executor, [job_of(kind, folder) for kind in ("printing", "killed", "raising")])
assert {n: e.outcome and e.outcome.status for n, e in ended.items()} == {
    "printing": "done", "killed": None, "raising": "failed"}, ended
if sys.argv[3] == "close":
    executor.close()
else:
    executor.start(job_of("hanging", folder))
    executor.poll(6.0)
    print("hanging", flush=True)
    executor.poll(600.0)
"""


@pytest.mark.parametrize("name", sorted(EXECUTORS))
def test_stdout_stays_clean(name: str, tmp_path: Path) -> None:
    """The batch's result goes there; and in the end nothing is left."""
    with marked(f"{name}_driver") as variable:
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, name, str(tmp_path), "close"],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert done.stderr == ""
        assert processes(variable) == []


def test_ray_dies_with_its_driver(tmp_path: Path) -> None:
    """Slurm's jobs outlive the driver, and should; a Ray of our own has no business without it."""
    with (
        marked("killed_driver") as variable,
        subprocess.Popen(
            [sys.executable, "-c", DRIVER, "ray", str(tmp_path), "hang"],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        ) as driver,
    ):
        assert driver.stdout
        assert driver.stdout.readline() == b"hanging\n"
        assert any("hanging" in name for name in processes(variable))  # Ray calls its worker so
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
        until = time.monotonic() + 20
        # Two agents of Ray look once in a while whether the others live, and go in minutes.
        while left := [name for name in processes(variable) if "Agent" not in name]:
            assert time.monotonic() < until, left
            time.sleep(0.2)
