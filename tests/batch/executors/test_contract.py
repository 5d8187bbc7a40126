"""What every executor keeps to, really run: processes, a Ray on this machine, submitit's local."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from lla.batch.executors.choice import EXECUTORS, made
from lla.batch.executors.executor import Executor
from lla.batch.executors.options import Options
from lla.batch.job import Ended, Job
from lla.report import read
from tests.batch.executors.jobs import digits, job_of, marked, processes

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[3]
PAIN = ("killed", "raising", "full", "hanging", "printing")


def options(folder: Path, cluster: str = "local") -> Options:
    folder.mkdir(exist_ok=True)
    further = (("time", "5"),)
    return Options(logs=folder, slots=2, cluster=cluster, slurm=further, address="local")


def wait_for(executor: Executor, count: int, seconds: float = 120) -> list[Ended]:
    until, ended = time.monotonic() + seconds, []
    while len(ended) < count and time.monotonic() < until:
        ended += executor.poll(1.0)
    assert len(ended) >= count, f"{len(ended)} of {count} jobs are over after {seconds} s"
    return ended


def carried_out(executor: Executor, jobs: list[Job]) -> dict[str, Ended]:
    """As the runner does it: as many at once as there are slots."""
    waiting, ended = list(jobs), []
    running = 0
    while len(ended) < len(jobs):
        while waiting and running < executor.slots:
            executor.start(waiting.pop(0))
            running += 1
        over = wait_for(executor, 1)
        running -= len(over)
        ended += over
    return {end.job.name: end for end in ended}


def lasting(variable: str) -> list[str]:
    """Processes of ours, but for what Python keeps for itself until it ends."""
    return [name for name in processes(variable) if "multiprocessing." not in name]


def metrics(report: Path) -> Mapping[str, object]:
    return {name: repr(value) for name, value in read(report).metrics.items()}


# A Slurm too, where there is one: the tests' folder has to be on its file system (--basetemp).
ENGINES = [*EXECUTORS, *(["slurm-cluster"] if shutil.which("sbatch") else [])]


@pytest.fixture(scope="module", params=ENGINES)
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Executor]:
    name, _, cluster = request.param.partition("-")
    with marked(name) as variable:
        logs = tmp_path_factory.mktemp(name) / "logs"
        executor = made(name, options(logs, "slurm" if cluster else "local"))
        yield executor
        begun = time.monotonic()
        executor.close()
        while left := lasting(variable):
            assert time.monotonic() - begun < 10, f"the executor left these behind: {left}"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Mapping[str, object]]:
    """The numbers of undisturbed runs, each in a process of its own, through no executor."""
    folder = tmp_path_factory.mktemp("alone")
    script = "import pickle, sys\nfrom lla.batch.worker import run\n"
    script += "for job in pickle.load(sys.stdin.buffer): assert run(job).status == 'done'"
    jobs = [digits(folder), job_of("good", folder)]
    subprocess.run([sys.executable, "-c", script], input=pickle.dumps(jobs), check=True, cwd=ROOT)
    return {job.name: metrics(Path(job.report)) for job in jobs}


def test_the_same_numbers(engine: Executor, alone: dict, tmp_path: Path) -> None:
    jobs = [digits(tmp_path), job_of("good", tmp_path)]
    ended = carried_out(engine, jobs)
    for job in jobs:
        outcome = ended[job.name].outcome
        assert outcome, ended[job.name].why
        assert (outcome.status, outcome.reason) == ("done", "")
        assert outcome.seconds > 0
        assert outcome.peak > 1 << 20
        assert metrics(Path(job.report)) == alone[job.name]


def test_what_befalls_a_worker_costs_its_job(engine: Executor, tmp_path: Path) -> None:
    jobs = [job_of("good", tmp_path, name=f"good-{n}") for n in range(4)]
    for place, kind in enumerate(PAIN):
        timeout = 3.0 if kind == "hanging" else 60.0
        jobs.insert(2 * place, job_of(kind, tmp_path, timeout=timeout))
    begun = time.monotonic()
    ended = carried_out(engine, jobs)
    assert len(ended) == len(jobs)
    assert time.monotonic() - begun < 100
    for job in jobs:
        if job.name.startswith(("good", "printing")):
            outcome = ended[job.name].outcome
            assert outcome, (job.name, ended[job.name].why)
            assert outcome.status == "done", (job.name, outcome.reason)
            assert Path(job.report).exists()

    assert ended["killed"].outcome is None
    assert "killed" in ended["killed"].why
    assert ended["hanging"].outcome is None
    assert "longer than its timeout of 3 s" in ended["hanging"].why
    raising, full = ended["raising"].outcome, ended["full"].outcome
    assert raising
    assert raising.status == "failed"
    assert "there is no such width" in raising.reason
    assert full
    assert full.status == "failed"
    assert "No space left on device" in full.reason
    assert not (tmp_path / "full.lla.h5").exists()

    # A full disk is empty some day: what was done of that job is still there.
    again = carried_out(engine, [job_of("good", tmp_path, name="full")])["full"]
    assert again.outcome
    assert again.outcome.status == "done"


def test_logs_say_what_workers_print(engine: Executor, tmp_path: Path) -> None:
    if engine.name == "process":
        pytest.skip("the logs of processes are the business of their own tests")
    hanging = job_of("hanging", tmp_path, timeout=3.0)
    ended = carried_out(engine, [job_of("printing", tmp_path), hanging])
    assert ended["printing"].outcome
    log = Path(ended["hanging"].why.rpartition("its log is ")[2])
    assert "in hanging" in log.read_text()  # the line that it hung at
    printed = log.with_name("printing.log").read_text()
    for words in ("the factory prints", "and so does C", "even here"):
        assert words in printed


def test_cancelled_jobs_go_on_later(engine: Executor, alone: dict, tmp_path: Path) -> None:
    job = job_of("slow", tmp_path)
    parts = Path(f"{job.report}.parts")
    engine.start(job)
    until = time.monotonic() + 60
    while not list(parts.glob("stage*.h5")) and time.monotonic() < until:
        assert not engine.poll(0.05)
    (end,) = engine.cancel(30.0)
    assert end.job == job
    assert end.outcome, end.why
    assert end.outcome.status == "stopped"
    assert list(parts.glob("stage*.h5")), "what was done is kept"
    assert not Path(job.report).exists()

    # It goes on from there, with the same plan and numbers, though its network is quick now.
    again = carried_out(engine, [job_of("good", tmp_path, name="slow")])["slow"]
    assert again.outcome
    assert again.outcome.status == "done"
    assert not parts.exists()
    assert metrics(Path(job.report)).keys() == alone["good"].keys()


def test_cancelled_by_force(engine: Executor, tmp_path: Path) -> None:
    jobs = [job_of("hanging", tmp_path, name=name) for name in ("one", "two")]
    for job in jobs:
        engine.start(job)
    until = time.monotonic() + 8
    while time.monotonic() < until:
        assert not engine.poll(0.5)
    begun = time.monotonic()
    ended = engine.cancel(1.0)
    assert time.monotonic() - begun < 15
    assert {end.job.name for end in ended} == {"one", "two"}
    # Slurm's force begins with another SIGTERM, which ends what can hear it.
    assert all(end.outcome.status == "stopped" if end.outcome else end.why for end in ended)
    assert engine.poll(0.0) == []
    done = carried_out(engine, [job_of("good", tmp_path)])["good"]  # and it is of use still
    assert done.outcome
    assert done.outcome.status == "done"
