"""One analysis on one rank and on two: time, and each rank's seconds in products.

    python benchmarks/ranks.py [--data FOLDER] [--rounds 5] [--two-threads]

A spectrum of digits_cnn on all its samples, and with --data (what benchmarks/products.py takes) one
of LeNet on 2,048 MNIST images. The runs of a round follow each other, in turns from the front and
from the back; medians over the rounds. Each run is the command itself, in processes of its own,
with its start and its plan. Seconds in products are the time within them, without the waiting for
other ranks, of which the report has its own figure.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

SAMPLES = Path(__file__).parent.parent / "sample_checkpoints"
RUNS = ((1, 1), (2, 1), (1, 2))  # ranks, threads of each; the last with --two-threads
SPECTRUM = (
    "spectrum MODEL --no-html -q --fresh -o out.h5 --tolerance 1e-9 --set data.batch_size=512"
)
WORK = " --set spectrum.max_probes=4 --set spectrum.probes=4"


def child(words: list[str]) -> None:
    """The command, with a clock on one rank as well, and processors' seconds beside the wall's."""
    from lla_cli.main import main

    from lla.distributed import TorchTeam
    from lla.team import Alone

    alone: dict[str, float] = {}

    @contextmanager
    def timed(self: Alone | TorchTeam, what: str) -> Iterator[None]:
        seconds = self.seconds if isinstance(self, TorchTeam) else alone
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            taken = {what: time.perf_counter() - wall, f"{what}, cpu": time.process_time() - cpu}
            for key, value in taken.items():
                seconds[key] = seconds.get(key, 0.0) + value

    Alone.timed = timed  # type: ignore[method-assign]
    TorchTeam.timed = timed  # type: ignore[method-assign]
    sys.argv = ["lla", *words]
    try:
        main()
    finally:
        if alone:
            Path("seconds.json").write_text(json.dumps(alone))


def run(folder: Path, words: list[str], ranks: int, threads: int) -> dict[str, Any]:
    """Wall time, and each rank's seconds by what they were spent on."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    start = [sys.executable] if ranks == 1 else [*torchrun, str(ranks)]
    command = [*start, str(Path(__file__).resolve()), "--child", *words, "--threads", str(threads)]
    begin = time.perf_counter()
    subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wall = time.perf_counter() - begin
    from lla.report.storage import provenance_of, stages_of

    stage = (stages_of(folder / "out.h5") or {})["spectrum"]
    told = (provenance_of(folder / "out.h5") or {}).get("ranks")
    alone = [] if told else [json.loads((folder / "seconds.json").read_text())]
    each = [rank["seconds"] for rank in told] if told else alone
    return {"wall": wall, "stage": stage.seconds, "each": each, "work": stage.work}


def lenet(data: Path, folder: Path) -> Path:
    """The checkpoint, its images and a recipe, in a folder."""
    import torch
    from problems import lenet as known

    problem, _ = known(data, "cpu")
    whole = problem.data.whole
    np.savez(folder / "mnist.npz", x=whole.inputs.numpy(), y=whole.targets.numpy())
    torch.save(problem.module.state_dict(), folder / "lenet.pt")
    for name in ("problems.py", "networks.py"):
        shutil.copy(Path(__file__).parent / name, folder / name)
    (folder / "lenet.toml").write_text(
        'schema = 1\n[model]\nfactory = "problems.py:LeNet"\n[data]\nsource = "mnist.npz"\n'
    )
    return folder / "lenet.pt"


def table(name: str, rounds: list[list[dict[str, Any]]]) -> None:
    """Medians over the rounds; in brackets, of ratios to one rank with one thread in each round."""
    print(f"\n{name}: {rounds[0][0]['work']['matvecs']} products, {len(rounds)} rounds")
    print("ranks threads   command        spectrum       products: wall, processor; waiting")
    for index, (ranks, threads) in enumerate(RUNS[: len(rounds[0])]):

        def told(*path: Any, index: int = index) -> str:
            value, ratio = _median(rounds, index, path)
            return f"{value:6.2f} s ({ratio:.2f})"

        def waited(rank: int, index: int = index) -> float:
            found = (one[index]["each"][rank] for one in rounds)
            return statistics.median(seconds.get("waiting", 0.0) for seconds in found)

        each = [
            f"{told('each', rank, 'products')}, {told('each', rank, 'products, cpu')}; "
            f"{waited(rank):.2f} s"
            for rank in range(ranks)
        ]
        for rank, line in enumerate(each):
            first = (
                f"{ranks:5} {threads:7}  {told('wall')} {told('stage')}" if not rank else " " * 46
            )
            print(f"{first} {line}")


def _median(rounds: list[list[dict[str, Any]]], index: int, path: tuple[Any, ...]) -> Any:
    """A figure's median, and that of its ratio to the first run's figure of the same round."""

    def at(found: Any, steps: tuple[Any, ...]) -> float:
        for step in steps:
            found = found[step]
        return float(found)

    first = tuple(0 if isinstance(step, int) else step for step in path)
    ratios = [at(one[index], path) / at(one[0], first) for one in rounds]
    return statistics.median(at(one[index], path) for one in rounds), statistics.median(ratios)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the LeNet checkpoint and MNIST")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--two-threads", action="store_true", help="one rank with both as well")
    options = parser.parse_args()
    count = len(RUNS) if options.two_threads else len(RUNS) - 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(f"{platform.machine()}, {os.cpu_count()} cores; load before it began: {load:.2f}")
    print("In brackets: of one rank with one thread.")
    with tempfile.TemporaryDirectory() as place:
        models = {"digits_cnn": SAMPLES / "digits_cnn.pt"}
        if options.data:
            models["lenet"] = lenet(options.data.resolve(), Path(place))
        for name, model in models.items():
            words = (SPECTRUM + WORK).replace("MODEL", str(model)).split()
            rounds = []
            for number in range(options.rounds):
                order = range(count) if number % 2 == 0 else reversed(range(count))
                found = {index: run(Path(place), words, *RUNS[index]) for index in order}
                rounds.append([found[index] for index in range(count)])
            table(name, rounds)
            print(f"load: {os.getloadavg()[0]:.2f}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
    else:
        main()
