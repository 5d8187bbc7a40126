"""What ``lla batch`` costs beside the analyses that it carries out.

    python benchmarks/batch.py [--checkpoints 100] [--jobs 2]

The checkpoints are digits_mlp's, each moved a little. The time of the whole command, with its
start, loading, reports and index, is held against the seconds that the reports state of their
analyses, divided by the number of jobs: what they would take if nothing else took any time.
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

import torch

from lla.report.storage import stages_of

SAMPLES = Path(__file__).parent.parent / "sample_checkpoints"
COMMAND = (sys.executable, "-c", "from lla_cli.main import main; main()", "batch")


def make(folder: Path, count: int) -> None:
    """Write checkpoints of one network, each with weights of its own, and their recipe."""
    saved = torch.load(SAMPLES / "digits_mlp.pt", weights_only=True)
    state = saved.get("state_dict", saved)
    for number in range(1, count + 1):
        torch.manual_seed(number)
        moved = {k: v + 0.01 * v.std() * torch.randn_like(v) for k, v in state.items()}
        torch.save({**saved, "state_dict": moved} if "state_dict" in saved else moved,
                   folder / f"step-{number}.pt")  # fmt: skip
    shutil.copy(SAMPLES / "digits_mlp.toml", folder / "lla.toml")
    for name in ("models.py", "digits.npz"):
        shutil.copy(SAMPLES / name, folder / name)


def measured(folder: Path, jobs: int) -> tuple[float, dict[str, object]]:
    """Seconds of the whole command, and its document."""
    options = ("-o", "out", "--jobs", str(jobs), "--json", "-q", "--threads", "1")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    begun = time.perf_counter()
    done = subprocess.run(
        [*COMMAND, "step-*.pt", *options],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
    )
    return time.perf_counter() - begun, json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoints", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder, given.checkpoints)
        wall, document = measured(folder, given.jobs)
        reports = sorted((folder / "out").glob("*.lla.h5"))
        assert len(reports) == given.checkpoints, document
        stages = [sum(s.seconds for s in (stages_of(path) or {}).values()) for path in reports]
        again, _ = measured(folder, given.jobs)
    work = [float(job["seconds"]) for job in document["jobs"]]  # type: ignore[index, attr-defined]
    alone, carried = sum(stages) / given.jobs, sum(work) / given.jobs
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, torch {torch.__version__}")
    print(f"{given.checkpoints} checkpoints, {given.jobs} at once, a thread each\n")
    rows = {
        f"the analyses alone: {sum(stages):.1f} s / {given.jobs}": alone,
        "loading, keys, plans, reports": carried - alone,
        "start, processes, waiting for the last one, index": wall - carried,
        "the whole command": wall,
    }
    for name, seconds in rows.items():
        print(f"{name:<52}{seconds:9.2f} s{100 * seconds / alone:8.1f} %")
    print(f"\noverhead: {100 * (wall / alone - 1):.2f} %")
    print(f"once more, with nothing left to do: {again:.2f} s")


if __name__ == "__main__":
    main()
