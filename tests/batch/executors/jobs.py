"""Jobs for the executors' tests: networks whose factories do what workers suffer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lla.batch.job import Job
from tests.conftest import SAMPLES

NETS = '''
import errno, os, signal, sys, time

import torch


class Net(torch.nn.Sequential):
    pause = 0.0

    def forward(self, x):
        time.sleep(self.pause)
        return super().forward(x)


def good():
    return Net(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3))


def slow():
    net = good()
    net.pause = 0.1
    return net


def endless():
    net = good()
    net.pause = 3.0
    return net


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def hanging():
    time.sleep(600)


def raising():
    raise ValueError("there is no such width")


def printing():
    print("the factory prints")
    os.write(1, b"and so does C\\n")
    print("even here", file=sys.stderr)
    return good()


def seeing():
    print("sees", repr(os.environ.get("CUDA_VISIBLE_DEVICES")))
    return good()


def full():
    """The disk is full where this job's report is to be put."""
    replace = os.replace

    def full_once(source, target, **places):
        if not str(target).endswith("full.lla.h5"):
            return replace(source, target, **places)
        os.replace = replace
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    os.replace = full_once
    return good()
'''

FIXED: dict[str, dict[str, Any]] = {
    "run": {
        "only": "baseline,spectrum",
        "device": "cpu",
        "dtype": "float64",
        "threads": 1,
        "together": 2,
    },
    "spectrum": {"largest": 2, "smallest": 1, "steps": 12, "probes": 2, "max_probes": 4},
}
"""Settings under which two runs are the same sums in the same order."""


def job_of(kind: str, folder: Path, *, timeout: float = 0.0, name: str = "") -> Job:
    """A small job whose network's factory is of this kind."""
    name = name or kind
    if not (folder / "nets.py").exists():
        (folder / "nets.py").write_text(NETS)
        generator = np.random.default_rng(0)
        x = generator.normal(size=(24, 4)).astype(np.float32)
        np.savez(folder / "d.npz", x=x, y=generator.integers(0, 3, 24))
        torch.manual_seed(0)
        scope: dict[str, Any] = {}
        exec(NETS, scope)
        torch.save(scope["good"]().state_dict(), folder / "good.pt")
    flags = {
        **FIXED,
        "model": {"factory": f"{folder}/nets.py:{kind}"},
        "data": {"source": f"{folder}/d.npz", "batch_size": 24},
        "loss": {"name": "cross_entropy"},
    }
    report = folder / f"{name}.lla.h5"
    return Job(name, str(folder / "good.pt"), str(report), str(folder), flags, timeout=timeout)


def digits(folder: Path) -> Job:
    """A sample checkpoint, with settings that take a second."""
    flags = {**FIXED, "data": {"limit": 64, "batch_size": 64}}
    checkpoint, report = SAMPLES / "digits_mlp.pt", folder / "digits.lla.h5"
    return Job("digits", str(checkpoint), str(report), str(folder), flags)


@contextmanager
def marked(name: str) -> Iterator[str]:
    """Within: this process's children, and theirs, are known by a variable."""
    variable = f"TEST_OF_EXECUTORS_{name.upper()}"
    os.environ[variable] = "1"
    try:
        yield variable
    finally:
        del os.environ[variable]


def processes(variable: str) -> list[str]:
    """The processes that have a variable, but this one: what they are."""
    found = []
    for place in Path("/proc").iterdir():
        if not place.name.isdecimal() or int(place.name) == os.getpid():
            continue
        try:
            if f"{variable}=".encode() in (place / "environ").read_bytes():
                found.append((place / "cmdline").read_text().replace("\0", " "))
        except OSError:  # another's, or gone meanwhile
            continue
    return found
