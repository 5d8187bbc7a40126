"""Batches that wait at a known place, and what their indexes say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import nn

from lla.report import read

COUNT = 4
_REFERENCES = ("REFERENCE_LIST", "DIMENSION_LIST")  # addresses within the file
_MARK = "TEST_OF_DISTURBED_BATCHES"
# While there is a file beside the batch's folder that asks for it, networks wait in their forward
# pass, so that tests do at a known place what they do: in the middle, where a report is there and
# another's job has kept a stage, until SIGTERM comes; or from the beginning on, whatever comes.
_NETS = """
import glob, os, signal, time
import torch

OUT = os.environ["{mark}"]
heard = []


def wanted():
    try:
        word = open(OUT + ".hold").read()
    except OSError:
        return False
    done, kept = glob.glob(OUT + "/*.lla.h5"), glob.glob(OUT + "/*.parts/stage*.h5")
    return word == "always" or bool(word == "middle" and done and kept and not heard)


class Net(torch.nn.Sequential):
    def forward(self, x):
        while wanted():
            open(OUT + ".held." + str(os.getpid()), "w").close()
            time.sleep(0.01)
        return super().forward(x)


def net():
    before = signal.getsignal(signal.SIGTERM)

    def receive(number, frame):
        heard.append(number)
        before(number, frame)

    signal.signal(signal.SIGTERM, receive)
    return Net(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
"""
# With the plan stated, runs that know nothing of each other give the same bits.
_RECIPE = """
schema = 1
[model]
factory = "nets.py:net"
[data]
source = "d.npz"
batch_size = 24
[training]
lr = 0.1
[run]
only = "baseline,spectrum"
method = "reverse"
together = 1
threads = 1
dtype = "float64"
[spectrum]
steps = 30
probes = 2
max_probes = 4
"""


def made(folder: Path) -> Path:
    """Checkpoints of four epochs, with a recipe."""
    (folder / "nets.py").write_text(_NETS.format(mark=_MARK))
    (folder / "lla.toml").write_text(_RECIPE)
    generator = np.random.default_rng(0)
    x = generator.normal(size=(24, 6)).astype(np.float32)
    np.savez(folder / "d.npz", x=x, y=np.arange(24) % 3)
    for epoch in range(1, COUNT + 1):
        torch.manual_seed(epoch)
        net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
        torch.save({"state_dict": net.state_dict(), "epoch": epoch}, folder / f"m-{epoch}.pt")
    return folder


@contextmanager
def begun(problem: Path, out: Path, *options: str, **how: Any) -> Iterator[subprocess.Popen[str]]:
    """``lla batch`` in a process group of its own, which is gone in the end."""
    command = [sys.executable, "-c", "from lla_cli.main import main; main()", "batch", "m-*.pt"]
    process = subprocess.Popen(
        [*command, "-o", str(out), "--jobs", "2", "--json", *options],
        cwd=problem,
        env={**os.environ, _MARK: str(out), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **how,
    )
    try:
        yield process
    finally:
        for pid in (process.pid, *workers(out)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()


def ended(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any], str]:
    """Exit code, the document if there is one, and what was said on stderr."""
    out, said = process.communicate(timeout=300)
    return process.returncode, json.loads(out) if out.strip() else {}, said


def run(problem: Path, out: Path, *options: str, **how: Any) -> tuple[int, dict[str, Any], str]:
    with begun(problem, out, *options, **how) as process:
        return ended(process)


def processes(out: Path) -> list[int]:
    """All processes of the batches of this folder."""
    found = []
    for place in Path("/proc").iterdir():
        with suppress(OSError):
            if (
                place.name.isdecimal()
                and f"{_MARK}={out}\0".encode() in (place / "environ").read_bytes() + b"\0"
            ):
                found.append(int(place.name))
    return found


def workers(out: Path) -> list[int]:
    """Those that carry out a job: each leads a session."""
    found = []
    for pid in processes(out):
        with suppress(OSError):
            if os.getsid(pid) == pid and b"forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def wait_until(what: Callable[[], Any], seconds: float = 120.0) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = what()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come to that")


def hold(out: Path, word: str = "middle") -> None:
    """Have the networks of a batch wait, see ``_NETS``."""
    out.with_name(f"{out.name}.hold").write_text(word)


def go_on(out: Path) -> None:
    out.with_name(f"{out.name}.hold").unlink()


def both_held(out: Path) -> list[int]:
    """Wait until two workers wait; which."""
    beside = f"{out.name}.held."

    def waiting() -> list[int]:
        alive = workers(out)
        held = {int(path.name.removeprefix(beside)) for path in out.parent.glob(f"{beside}*")}
        return [pid for pid in alive if pid in held] if len(held.intersection(alive)) == 2 else []

    return wait_until(waiting)


def contents(path: Path) -> dict[str, Any]:
    """All that an index holds but what says when it, or a report, was written."""
    found: dict[str, Any] = {}

    def keep(name: str, item: h5py.Group | h5py.Dataset) -> None:
        facts = {key: repr(item.attrs[key]) for key in item.attrs if key not in _REFERENCES}
        values = repr(np.asarray(item[()]).tolist()) if isinstance(item, h5py.Dataset) else ""
        found[name] = facts, values

    with h5py.File(path, "r") as file:
        file.visititems(keep)
    del found["index/checkpoints/report_sha256"]
    return found


def indexed(out: Path) -> dict[str, Any]:
    """What an index says, and the numbers of all reports."""
    reports = {
        path.name: {name: repr(value) for name, value in read(path).metrics.items()}
        for path in sorted(out.glob("*.lla.h5"))
    }
    return {
        "reports": reports,
        "csv": (out / "index.csv").read_bytes(),
        "hdf5": contents(out / "index.h5"),
    }
