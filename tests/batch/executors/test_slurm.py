"""What is told to Slurm and what it says, with commands in its place that answer as it does."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from lla.batch.executors import slurm, slurm_places
from lla.batch.executors.options import Options
from lla.batch.executors.slurm import SlurmExecutor
from lla.batch.executors.slurm_queue import WORDS, states
from lla.batch.job import Job
from lla.errors import ConfigurationError

pytest.importorskip("submitit")


def command(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f'#!/bin/sh\necho {name} "$@" >> {folder}/asked\n{script}\n')
    path.chmod(0o755)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of commands, first in the path; `asked` lists how they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    for name in ("srun", "squeue", "sacct", "scancel"):
        command(folder, name, "")
    return folder


def job(folder: Path, name: str, timeout: float) -> Job:
    flags = {"run": {"device": "auto"}}
    return Job(name, "c.pt", str(folder / f"{name}.lla.h5"), str(folder), flags, timeout=timeout)


def test_many_jobs_are_one_array(
    fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "_FORCE", 0.0)
    command(fake, "sbatch", f"cp $1 {tmp_path}/script.sh; echo Submitted batch job 17")
    further = (("partition", "gpu"), ("mail-type", "FAIL"), ("setup", "module load x"))
    executor = SlurmExecutor(Options(tmp_path / "logs", cpus=3, gpus=1, slurm=further))
    for number in range(3):
        executor.start(job(tmp_path, str(number), 3600.0))
    assert executor.poll(0.0) == []
    script = (tmp_path / "script.sh").read_text().splitlines()
    told = {line.removeprefix("#SBATCH --") for line in script if line.startswith("#SBATCH")}
    assert told >= {
        "array=0-2%3",
        "cpus-per-task=3",
        "gpus-per-node=1",
        "mail-type=FAIL",
        "no-requeue",
        "partition=gpu",
        "signal=USR2@90",
        "time=62",  # an hour, which the worker keeps, and two minutes
    }
    assert "module load x" in script
    assert "--cpus-per-task=3" in next(line for line in script if line.startswith("srun"))
    executor.cancel(0.0)
    asked = (fake / "asked").read_text().splitlines()
    assert "scancel --quiet --state=PENDING 17_0 17_1 17_2" in asked
    assert "scancel --quiet --state=RUNNING --signal=TERM 17_0 17_1 17_2" in asked
    assert "scancel --quiet 17_0 17_1 17_2" in asked


def test_a_time_that_the_user_states(fake: Path, tmp_path: Path) -> None:
    command(fake, "sbatch", f"cp $1 {tmp_path}/script.sh; echo Submitted batch job 17")
    executor = SlurmExecutor(Options(tmp_path / "logs", slurm=(("time", "2:00:00"),)))
    executor.start(job(tmp_path, "a", 60.0))
    executor.poll(0.0)
    assert "#SBATCH --time=2:00:00" in (tmp_path / "script.sh").read_text()
    with pytest.raises(ConfigurationError, match="how long a job may take"):
        SlurmExecutor(Options(tmp_path / "logs")).start(job(tmp_path, "b", 0.0))


def test_jobs_that_slurm_does_not_take(fake: Path, tmp_path: Path) -> None:
    refusal = (
        "echo 'sbatch: error: Batch job submission failed: Invalid partition name' >&2; exit 1"
    )
    command(fake, "sbatch", refusal)
    executor = SlurmExecutor(Options(tmp_path / "logs"))
    executor.start(job(tmp_path, "a", 60.0))
    with pytest.raises(ConfigurationError) as error:
        executor.poll(0.0)
    said = "Slurm does not take the jobs: Batch job submission failed: Invalid partition name"
    assert error.value.reason == said

    # Once it has taken some, a refusal is of these alone: there may be a limit on how many.
    command(fake, "sbatch", "echo Submitted batch job 17")
    executor.start(job(tmp_path, "a", 60.0))
    executor.poll(0.0)
    command(fake, "sbatch", refusal)
    executor.start(job(tmp_path, "b", 60.0))
    (ended,) = executor.poll(0.0)
    assert ended.job.name == "b"
    assert "Invalid partition name" in ended.why


def test_options_that_are_wrong(
    fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match=r"whole GPUs to a job, not 0\.5"):
        SlurmExecutor(Options(tmp_path, gpus=0.5))
    with pytest.raises(ConfigurationError, match="no cluster 'lokal'"):
        SlurmExecutor(Options(tmp_path, cluster="lokal"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="no Slurm here") as error:
        SlurmExecutor(Options(tmp_path))
    assert "--slurm-cluster local" in error.value.remedy


def test_states_come_from_the_controller_and_then_from_the_accounting(fake: Path) -> None:
    command(fake, "squeue", "printf '17_0|RUNNING\\n17_1|TIMEOUT\\n99|RUNNING\\n'")
    command(fake, "sacct", "printf '17_2|CANCELLED by 1000\\n17_3|OUT_OF_MEMORY\\n'")
    assert states(["17_0", "17_1", "17_2", "17_3", "17_4"]) == {
        "17_0": "RUNNING",
        "17_1": "TIMEOUT",
        "17_2": "CANCELLED",
        "17_3": "OUT_OF_MEMORY",
    }
    assert "--jobs 17_2,17_3,17_4" in (fake / "asked").read_text()
    command(fake, "squeue", "echo 'slurm_load_jobs error: Unable to contact' >&2; exit 1")
    command(fake, "sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    assert states(["17_0"]) == {}


def test_each_end_has_its_words(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(slurm_places.time, "monotonic", lambda: now[0])
    place = slurm_places.OnSlurm()
    jobs = [SimpleNamespace(job_id=f"17_{n}") for n in range(4)]
    command(fake, "squeue", "printf '17_0|OUT_OF_MEMORY\\n17_1|PREEMPTED\\n17_2|RUNNING\\n'")
    assert place.dead(jobs) == {}
    assert not (fake / "asked").exists()  # it was asked just now, by being made
    now[0] += 20
    assert place.dead(jobs) == {}  # a result may still come through the file system
    now[0] += 40
    over = place.dead(jobs)
    assert over.keys() == {"17_0", "17_1"}
    assert over["17_0"] == f"{WORDS['OUT_OF_MEMORY']} (Slurm job 17_0: OUT_OF_MEMORY)"
    assert "preempted" in over["17_1"]
    now[0] += 400
    assert place.dead(jobs)["17_3"] == "Slurm knows nothing of job 17_3 any more"
    assert len((fake / "asked").read_text().splitlines()) == 6  # squeue and sacct, three times


def test_poll_waits_no_longer_than_it_was_told(fake: Path, tmp_path: Path) -> None:
    executor = SlurmExecutor(Options(tmp_path / "logs"))
    begun = time.monotonic()
    assert executor.poll(0.3) == []
    assert time.monotonic() - begun < 2
    assert executor.slots == 256
