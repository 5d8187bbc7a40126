"""What ``lla batch`` costs beside the analyses that it carries out.

    python benchmarks/batch.py [--checkpoints 100] [--jobs 2] [--samples 128] [--rounds 2]

The checkpoints are digits_cnn's, each moved a little; each is analysed by ``--only spectrum`` on
some samples. Held against the batch is what does nothing but the analyses: as many interpreters,
which each import lla once, load their share of the checkpoints one after another, analyse them and
write the reports: no planning, no keys, no side files, no journal, no index, nobody who watches.
Both are timed as whole commands, from start to end, with a thread each; in every second round the
batch goes first. The table also says what the reports state of their analyses alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
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
    from lla.pipeline import analyze_checkpoint
    from lla.report import write
    from lla.settings import gather

    for name in names:
        settings = gather(name, flags=FLAGS)
        with settings.pointing_to_recipe():
            write(analyze_checkpoint(name, settings), f"{name}.lla.h5")


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
    print(f"{'':<8}{'alone':>10}{'batch':>10}{'overhead':>10}{'states':>12}{'workers':>10}")
    ratios, differences = [], []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder, given.checkpoints, given.samples)
        for number in range(given.rounds):
            measured: dict[str, float] = {}
            for what in ("alone", "batch") if number % 2 == 0 else ("batch", "alone"):
                if what == "alone":
                    measured[what] = alone(folder, given.checkpoints, given.jobs)
                else:
                    shutil.rmtree(folder / "out", ignore_errors=True)
                    measured[what], document = batch(folder, given.jobs)
            reports = sorted((folder / "out").glob("*.lla.h5"))
            assert len(reports) == given.checkpoints, document
            stages = sum(s.seconds for path in reports for s in (stages_of(path) or {}).values())
            work = sum(job["seconds"] for job in document["jobs"])
            ratios.append(measured["batch"] / measured["alone"] - 1)
            differences.append(measured["batch"] - measured["alone"])
            print(f"round {number + 1:<2}{measured['alone']:>8.1f} s{measured['batch']:>8.1f} s"
                  f"{100 * ratios[-1]:>8.2f} %{stages / given.jobs:>10.1f} s"
                  f"{work / given.jobs:>8.1f} s", flush=True)  # fmt: skip
        again, _ = batch(folder, given.jobs)
    print("\nalone, batch: the whole commands; states: what reports say of their analyses, and")
    print("workers: what jobs say of themselves, both shared out among the processes\n")
    each = median(differences) * given.jobs / given.checkpoints
    print(f"overhead: {100 * median(ratios):.2f} %, {median(differences):.1f} s in all, "
          f"{1000 * each:.0f} ms of a process for each job")  # fmt: skip
    print(f"once more, with nothing left to do: {again:.2f} s")


if __name__ == "__main__":
    main()
