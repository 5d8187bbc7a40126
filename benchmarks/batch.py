"""What ``lla batch`` costs beside the analyses that it carries out.

    python benchmarks/batch.py [--checkpoints 100] [--jobs 2] [--samples 128] [--rounds 2]

The checkpoints are digits_cnn's, each moved a little; each is analysed by ``--only spectrum`` on
some samples. Held against the batch is what does nothing but the analyses: as many interpreters,
which each import lla once, load their share of the checkpoints one after another, analyse them and
write the reports: no planning, no keys, no side files, no journal, no index, nobody who watches.
Both are timed as whole commands, from start to end, with a thread each; in every second round the
batch goes first. The table also says what the reports state of their analyses alone, and the
seconds of CPU time that all processes of a command took, which other load changes less.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from lla.report.storage import stages_of

SAMPLES = Path(__file__).parent.parent / "sample_checkpoints"
COMMAND = (sys.executable, "-c", "from lla_cli.main import main; main()", "batch")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
FLAGS = {"run": {"only": ["spectrum"], "threads": 1}}


def make(folder: Path, count: int, samples: int) -> None:
    """Write checkpoints of one network, each with weights of its own, and their recipe."""
    saved = torch.load(SAMPLES / "digits_cnn.pt", weights_only=True)
    for number in range(1, count + 1):
        torch.manual_seed(number)
        moved = {
            k: v + 0.01 * v.std() * torch.randn_like(v) if v.is_floating_point() and v.dim() else v
            for k, v in saved["model"].items()
        }
        torch.save({**saved, "model": moved}, folder / f"step-{number}.pt")
    recipe = (SAMPLES / "digits_cnn.toml").read_text()
    (folder / "lla.toml").write_text(recipe.replace("[data]\n", f"[data]\nlimit = {samples}\n"))
    for name in ("models.py", "digits.npz"):
        shutil.copy(SAMPLES / name, folder / name)


def bare(names: list[str]) -> None:
    """Analyse checkpoints one after another, and write their reports."""
    from lla.allocator import keep_freed_memory
    from lla.pipeline import analyze_checkpoint
    from lla.report import write
    from lla.settings import gather

    keep_freed_memory()  # as commands and the batch's workers do
    for name in names:
        settings = gather(name, flags=FLAGS)
        with settings.pointing_to_recipe():
            write(analyze_checkpoint(name, settings), f"{name}.lla.h5")


def adopt() -> None:
    """Become the parent of descendants whose own has ended: their time counts as well."""
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER


def cpu() -> float:
    """Seconds of CPU time of all descendants, once the last of them is gone."""
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def alone(folder: Path, count: int, jobs: int) -> float:
    """Seconds until the last of some interpreters that do nothing but the analyses is done."""
    names = [f"step-{number}.pt" for number in range(1, count + 1)]
    begun = time.perf_counter()
    running = [
        subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), "--bare", *names[place::jobs]],
            cwd=folder,
            env=ENVIRONMENT,
        )
        for place in range(jobs)
    ]
    assert not any(process.wait() for process in running)
    return time.perf_counter() - begun


def batch(folder: Path, jobs: int, *options: str) -> tuple[float, dict[str, Any]]:
    """Seconds of the whole command, and its document."""
    fixed = ("--only", "spectrum", "-o", "out", "--json", "-q", "--threads", "1")
    begun = time.perf_counter()
    done = subprocess.run(
        [*COMMAND, "step-*.pt", "--jobs", str(jobs), *fixed, *options],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        check=True,
    )
    return time.perf_counter() - begun, json.loads(done.stdout)


def one_round(folder: Path, given: argparse.Namespace, order: tuple[str, ...]) -> dict[str, float]:
    """Both, one after the other: seconds, CPU time, and what reports and jobs say of themselves."""
    found: dict[str, float] = {}
    for what in order:
        before = cpu()
        if what == "alone":
            found[what] = alone(folder, given.checkpoints, given.jobs)
        else:
            shutil.rmtree(folder / "out", ignore_errors=True)
            found[what], document = batch(folder, given.jobs)
        found[f"cpu {what}"] = cpu() - before
    reports = sorted((folder / "out").glob("*.lla.h5"))
    assert len(reports) == given.checkpoints, document
    stages = sum(s.seconds for path in reports for s in (stages_of(path) or {}).values())
    found["states"] = stages / given.jobs
    found["workers"] = sum(job["seconds"] for job in document["jobs"]) / given.jobs
    return found


COLUMNS = ("alone", "batch", "states", "workers", "cpu alone", "cpu batch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoints", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--bare", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.bare is not None:
        bare(given.bare)
        return
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, torch {torch.__version__}")
    print(f"{given.checkpoints} checkpoints, {given.samples} samples, {given.jobs} at once\n")
    print(f"{'seconds':<8}" + "".join(f"{name:>11}" for name in COLUMNS) + f"{'overhead':>11}")
    adopt()
    rounds = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder, given.checkpoints, given.samples)
        for number in range(given.rounds):
            order = ("alone", "batch") if number % 2 == 0 else ("batch", "alone")
            rounds.append(one_round(folder, given, order))
            cells = "".join(f"{rounds[-1][name]:>11.1f}" for name in COLUMNS)
            over = 100 * (rounds[-1]["batch"] / rounds[-1]["alone"] - 1)
            print(f"{number + 1:<8}{cells}{over:>9.2f} %", flush=True)
        again, _ = batch(folder, given.jobs)
    print("\nalone, batch: the whole commands; states: what reports say of their analyses, and")
    print("workers: what jobs say of themselves, both shared out among the processes\n")
    more = median(one["batch"] - one["alone"] for one in rounds)
    ratio = median(one["batch"] / one["alone"] for one in rounds) - 1
    used = median(one["cpu batch"] / one["cpu alone"] for one in rounds) - 1
    each = 1000 * more * given.jobs / given.checkpoints
    print(f"overhead: {100 * ratio:.2f} %, {more:.1f} s in all, {each:.0f} ms of a process a job")
    print(f"of CPU time: {100 * used:.2f} %")
    print(f"once more, with nothing left to do: {again:.2f} s")


if __name__ == "__main__":
    main()
