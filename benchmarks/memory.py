"""Peak memory of large runs against what their plans predict.

    python benchmarks/memory.py [--cases 10M 40M …] [--folder /tmp/large]

Each case is a whole command in a process of its own, whose peak resident memory is the kernel's
figure for it (``wait4``). Its budget is small enough for vectors to be counted one by one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

GPT2 = Path(__file__).with_name("gpt2_small.py")
NETWORK = """
from torch import nn

def net(width=24, layers=24):
    def block():
        conv = lambda: nn.Conv2d(width, width, 3, padding=1)
        return nn.Sequential(conv(), nn.Tanh(), conv(), nn.Tanh(), conv(), nn.Tanh())
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        nn.Sequential(*(block() for _ in range(layers // 3))),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10),
    )
"""
USUAL = ("--largest", "2", "--smallest", "1", "--probes", "2", "--max-probes", "4", "--steps", "20")


@dataclass(frozen=True)
class Case:
    """A run.

    Attributes:
        memory: Its budget.
        shape: Arguments of the GPT-2 maker; none for the convolutions.
        options: Further options of the command.
    """

    memory: str
    shape: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def gpt2(layers: int, width: int, vocabulary: int) -> tuple[str, ...]:
    """A GPT-2 of another size."""
    return (f"--layers={layers}", f"--width={width}", f"--vocabulary={vocabulary}")


CASES = {
    "5M": Case("1300MiB", gpt2(4, 256, 8000)),
    "10M": Case("2000MiB", gpt2(6, 320, 10000)),
    "40M": Case("5GiB", gpt2(8, 512, 27000)),
    "124M": Case("14GiB", gpt2(12, 768, 50257)),
    "124M, last block": Case("4GiB", gpt2(12, 768, 50257), ("--params", "layers.11.*")),
    "convolutions": Case("3200MiB"),
}


def made(case: Case, folder: Path) -> list[str]:
    """The case's files, and its command."""
    if case.shape:
        subprocess.run(
            [sys.executable, str(GPT2), str(folder), *case.shape],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        command = ["gpt2.safetensors", "--recipe", "gpt2.toml"]
    else:
        (folder / "wide.py").write_text(NETWORK)
        scope: dict[str, object] = {}
        exec(NETWORK, scope)
        torch.manual_seed(0)
        save_file(scope["net"]().state_dict(), folder / "wide.safetensors")  # type: ignore[operator]
        rng = np.random.default_rng(0)
        x = rng.normal(size=(4, 3, 224, 224)).astype(np.float32)
        np.savez(folder / "d.npz", x=x, y=rng.integers(0, 10, 4))
        command = ["wide.safetensors", "--model", "wide.py:net", "--data", "d.npz"]
    lla = [sys.executable, "-m", "lla_cli", "spectrum", *command, *USUAL, "--json", "-q"]
    return [*lla, "--memory", case.memory, "--no-html", "--fresh", "-o", "r.lla.h5", *case.options]


def measured(command: list[str], folder: Path) -> tuple[float, int, dict[str, object]]:
    """Seconds, peak bytes, and the plan that the report tells."""
    begin = time.perf_counter()
    with (folder / "out.json").open("w") as out:
        child = subprocess.Popen(command, cwd=folder, stdout=out)
        _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    document = json.loads((folder / "out.json").read_text())
    return time.perf_counter() - begin, 1024 * usage.ru_maxrss, document["plan"]


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--max-steps", default="24", help="products for the eigenvalues")
    options = parser.parse_args()
    print(f"{'':18} {'budget':>9} {'predicted':>10} {'measured':>9} {'ratio':>6} {'seconds':>8}")
    for name in options.cases:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            command = [*made(CASES[name], folder), "--max-steps", options.max_steps]
            seconds, peak, plan = measured(command, folder)
        predicted = int(str(plan["predicted_peak_bytes"]))
        way = "tight" if plan["tight"] else "roomy"
        blocks = plan["recomputed_blocks"]
        if isinstance(blocks, list) and blocks:
            way += f", {len(blocks)} blocks computed again"
        sizes = " ".join(f"{value / 2**20:8.0f}" for value in (predicted, peak))
        print(
            f"{name:18} {CASES[name].memory:>9} {sizes} MiB {peak / predicted:6.2f} "
            f"{seconds:8.0f}   {way}",
            flush=True,
        )


if __name__ == "__main__":
    main()
