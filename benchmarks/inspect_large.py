"""Time and memory of ``lla inspect`` on a large safetensors file, as whole commands.

    python benchmarks/inspect_large.py [--gib 1] [--rounds 5]

The file is made in a temporary folder. Each round is a process of its own; its peak resident memory
is the kernel's figure for that process. Beside it, loading the same file with torch and taking the
norms: what there is without ``inspect``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

SIDE = 8192
LOADED = """
import sys
from safetensors.torch import load_file
for name, tensor in load_file(sys.argv[1]).items():
    print(name, tuple(tensor.shape), tensor.dtype, float(tensor.double().norm()))
"""


def large_file(path: Path, gib: int) -> None:
    """Write a file of so many GiB in float32 tensors of a quarter GiB."""
    rng = np.random.default_rng(0)
    size = 4 * SIDE * SIDE
    header = {
        f"layer{k}.weight": {
            "dtype": "F32",
            "shape": [SIDE, SIDE],
            "data_offsets": [k * size, (k + 1) * size],
        }
        for k in range(4 * gib)
    }
    text = json.dumps(header).encode()
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for _ in header:
            stream.write(rng.standard_normal((SIDE, SIDE), dtype=np.float32).tobytes())


def measured(command: list[str]) -> tuple[float, float]:
    """Seconds and peak resident MiB of a command."""
    begin = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{command[0]} failed")
    return time.perf_counter() - begin, usage.ru_maxrss / 1024


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.safetensors"
        # In a process of its own: a child's peak counts what its parent held when it was made.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            pool.submit(large_file, path, options.gib).result()
        commands = {
            "lla inspect": [sys.executable, "-m", "lla_cli", "inspect", str(path)],
            "torch": [sys.executable, "-c", LOADED, str(path)],
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(options.rounds):
            for name, command in commands.items():
                found[name].append(measured(command))
    print(
        f"{options.gib} GiB of float32, medians of {options.rounds} rounds, {os.cpu_count()} cores"
    )
    for name, rounds in found.items():
        seconds, mebibytes = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"{name:12} {seconds:5.2f} s  {mebibytes:6.0f} MiB")


if __name__ == "__main__":
    main()
