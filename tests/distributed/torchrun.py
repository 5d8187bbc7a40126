"""Runs that torchrun starts on one thread for each rank, and reports read number by number."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from tests.distributed import disturbing

__all__ = [
    "PROBLEM",
    "Ended",
    "differences",
    "left",
    "lla",
    "message",
    "messages",
    "numbers",
    "problem",
]

PROBLEM = ["d.npz", "m.pt", "m.toml", "nets.py"]
RECIPE = """\
schema = 1
[model]
factory = "nets.py:net"
[data]
source = "d.npz"
batch_size = 9
[training]
lr = 0.1
batch_size = 5
samples = 23
[run]
dtype = "float64"
tolerance = 0.5
[spectrum]
steps = 40
probes = 4
[landscape]
points = 5
[stability]
max_batches = 10
[saliency]
curvature = 1
"""
_ROOT = Path(__file__).parents[2]
_TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
# What torchrun says itself, with the time; its traceback and summary come after it.
_OWN = re.compile(r"^[WEI]\d{4} \d\d:|^Traceback \(most recent call last\)", re.MULTILINE)


def problem(folder: Path) -> Path:
    """A checkpoint of 357 parameters with 23 samples, which takes all analyses a few seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(disturbing.__file__, folder / "nets.py")
    torch.manual_seed(0)
    torch.save(disturbing.net().state_dict(), folder / "m.pt")
    images = np.random.default_rng(0).normal(size=(23, 1, 8, 8))
    np.savez(folder / "d.npz", x=images, y=np.arange(23) % 3)
    (folder / "m.toml").write_text(RECIPE)
    return folder


@dataclass(frozen=True)
class Ended:
    """What a run left.

    Attributes:
        code: Its exit code: of many ranks torchrun's own, 1 whatever a rank's was.
        out: Standard output.
        err: Standard error.
    """

    code: int
    out: str
    err: str

    @property
    def told(self) -> str:
        """What lla says on standard error: all that is not torchrun's."""
        kept = [
            piece.partition("\n")[2] if piece[:1] in "WEI" and piece[1:5].isdigit() else ""
            for piece in re.split(f"(?={_OWN.pattern})", self.err, flags=re.MULTILINE)[1:]
        ]
        return _OWN.split(self.err)[0] + "".join(kept)

    @property
    def codes(self) -> dict[int, int]:
        """Exit codes of the ranks that failed, as torchrun's summary has them."""
        found = re.findall(r"rank\s+: (\d+) .*\n\s+exitcode\s+: (-?\d+)", self.err)
        return {int(rank): int(code) for rank, code in found}


def lla(
    ranks: int, folder: Path, *words: str, disturb: str = "", program: Sequence[str] = ()
) -> Ended:
    """Run a command on so many ranks; on one without torchrun."""
    paths = [str(_ROOT), str(_ROOT / "cli"), str(_ROOT / "plots")]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LLA_")},
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONDONTWRITEBYTECODE": "1",
        "DISTURB": disturb,
    }
    start = [sys.executable] if ranks == 1 else [*_TORCHRUN, str(ranks)]
    done = subprocess.run(
        [*start, *(program or ("-m", "lla_cli")), *words],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr)


def numbers(path: Path) -> dict[str, Any]:
    """Every dataset and attribute of a report by its path, read with h5py.

    Without how it came about (``provenance``: times, command, plan, seconds), the file's own name,
    time and digest, and HDF5's references between datasets.
    """
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if name.startswith("provenance"):
            return
        if isinstance(item, h5py.Dataset):
            found[name] = item.asstr()[()] if h5py.check_string_dtype(item.dtype) else item[()]
        for key, value in item.attrs.items():
            if key not in ("DIMENSION_LIST", "REFERENCE_LIST"):
                found[f"{name}@{key}"] = value

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def differences(one: dict[str, Any], other: dict[str, Any], relative: float) -> list[str]:
    """What is not equal: numbers to ``relative`` of the largest of their array, or 1e-12.

    The second is for what is rounding itself: residuals, the cosine of orthogonal vectors.
    """
    wrong = [f"only in one: {name}" for name in sorted(one.keys() ^ other.keys())]
    for name in one.keys() & other.keys():
        a, b = np.asarray(one[name]), np.asarray(other[name])
        if a.dtype.kind != "f":
            equal = a.shape == b.shape and bool((a == b).all())
        else:
            finite = np.abs(a[np.isfinite(a)])
            most = max(relative * float(finite.max(initial=0.0)), 1e-12)
            equal = a.shape == b.shape and np.allclose(a, b, rtol=0, atol=most, equal_nan=True)
        if not equal:
            wrong.append(f"{name}: {one[name]!r}, {other[name]!r}")
    return wrong


def messages(done: Ended) -> list[str]:
    """What lla says is wrong, each with its remedy."""
    return re.findall(r"^lla: .*\n(?:     .*\n)*", done.told, re.MULTILINE)


def message(done: Ended) -> str:
    """The one message of a run that has failed; nothing else of lla's is on either stream."""
    assert done.code != 0
    assert done.out == ""
    (found,) = messages(done)
    assert done.told.count("Traceback") == 0
    return found


def left(folder: Path) -> list[str]:
    """The names in a folder."""
    return sorted(path.name for path in folder.iterdir())
