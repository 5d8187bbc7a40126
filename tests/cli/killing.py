"""Run ``lla`` in children and kill them, at random moments or at a certain call; tell what is left.

A program of its own: everything is loaded once, without a thread, and each child is a fork.
"""

import contextlib
import dataclasses
import importlib
import itertools
import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lla.report.storage import read

COMMAND = ("analyze", "m.pt", "--no-html", "-q")
CALLS = ("mkdir", "replace", "unlink", "rmdir", "fsync", "chmod", "open")


def made(folder: Path) -> None:
    """A problem that takes all analyses, and a second or so."""
    folder.mkdir(parents=True)
    (folder / "nets.py").write_text(
        "from torch import nn\n\ndef net():\n    return nn.Sequential(nn.Conv2d(1, 3, 3), "
        "nn.Tanh(), nn.Flatten(), nn.Linear(108, 3))\n"
    )
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(108, 3))
    torch.save(net.state_dict(), folder / "m.pt")
    rng = np.random.default_rng(0)
    images = rng.normal(size=(20, 1, 8, 8)).astype(np.float32)
    np.savez(folder / "d.npz", x=images, y=np.arange(20) % 3)
    # With the plan stated, runs that know nothing of each other give the same bits.
    (folder / "m.toml").write_text(
        "schema = 1\n[model]\nfactory = 'nets.py:net'\n[data]\nsource = 'd.npz'\nbatch_size = 20\n"
        "[training]\nlr = 0.1\nbatch_size = 5\nsamples = 20\n[run]\nmethod = 'reverse'\n"
        "together = 1\ntolerance = 0.5\n[spectrum]\nsteps = 40\nprobes = 4\n[landscape]\npoints = 5"
        "\n[stability]\nmax_batches = 10\n"
    )


def forked(folder: Path, before: Callable[[], None] = lambda: None, *flags: str) -> int:
    """The process of a run."""
    child = os.fork()
    if child:
        return child
    try:
        os.chdir(folder)
        for stream, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(f"../{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        sys.argv = ["lla", *COMMAND, *flags]
        before()
        from lla_cli.main import main

        main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
        if "--fresh" in flags:
            Path("../modules").write_text("\n".join(sys.modules))
    finally:
        sys.stderr.flush()
        os._exit(code)


def ended(child: int) -> int:
    """The exit code; negative where a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at_call(number: int) -> Callable[[], None]:
    """What makes a process kill itself at a certain call that changes files, or just after it."""
    count = itertools.count()

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            if next(count) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            found = call(*args, **kwargs)
            if next(count) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        return counted

    def begin() -> None:
        for name in CALLS:
            setattr(os, name, watched(getattr(os, name)))

    return begin


def bits(value: Any) -> Any:
    """All numbers of a result to the last bit, in plain values."""
    if dataclasses.is_dataclass(value):
        return {item.name: bits(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return [value.dtype.str, value.shape, value.tobytes().hex()]
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, dict):
        return {key: bits(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [bits(item) for item in value]
    return repr(value)


def numbers(path: Path) -> dict[str, Any]:
    """The numbers of a report, which has to open."""
    return {name: bits(result) for name, result in read(path).results.items()}


class Trial:
    """Runs that are killed and go on, until they are through; then from the beginning."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.report = folder / "work", folder / "work" / "m.lla.h5"
        made(self.folder)
        made(folder / "other")
        assert ended(forked(self.folder, lambda: None, "--seed=1", "--fresh")) == 0
        _load(folder / "modules")
        self.before = (folder / "before.lla.h5", numbers(self.report))
        shutil.copy(self.report, self.before[0])
        begun = time.monotonic()
        assert ended(forked(folder / "other")) == 0
        self.seconds = time.monotonic() - begun
        self.after = numbers(folder / "other" / "m.lla.h5")
        assert self.after != self.before[1]
        self.seen: Counter[str] = Counter()

    def reset(self) -> None:
        """The report of before, and no parts."""
        shutil.rmtree(self.folder / "m.lla.h5.parts", ignore_errors=True)
        shutil.copy(self.before[0], self.report)

    def run(self, kill: Callable[[int], None], before: Callable[[], None] = lambda: None) -> bool:
        """Whether the run came through; else what it left is looked at."""
        child = forked(self.folder, before)
        kill(child)
        code = ended(child)
        if code not in (0, -signal.SIGKILL):
            raise AssertionError((self.folder.parent / "stderr").read_text())
        found = numbers(self.report)
        if code == 0:
            assert found == self.after, "the run that went on has other numbers"
            left = sorted({path.name for path in self.folder.iterdir()} - {"__pycache__"})
            assert left == ["d.npz", "m.lla.h5", "m.pt", "m.toml", "nets.py"], left
            return True
        assert found in (self.before[1], self.after), "a report that is neither"
        self.seen["old" if found == self.before[1] else "new"] += 1
        parts = len(list(self.folder.glob("m.lla.h5.parts/stage*.h5")))
        self.seen[f"{parts} stages"] += 1
        return False


def _load(names: Path) -> None:
    """Load here what a run loads: the next ones have it from the beginning."""
    for name in names.read_text().splitlines():
        if name.partition(".")[0] in ("lla", "lla_cli", "torch", "numpy", "scipy", "rich", "h5py"):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)


def randomly(trial: Trial, kills: int, seed: int) -> None:
    """Kill at random moments, until there were so many kills."""
    rng = random.Random(seed)

    def kill(child: int) -> None:
        until = time.monotonic() + rng.uniform(0, trial.seconds)
        while time.monotonic() < until:
            if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)

    while trial.seen["old"] + trial.seen["new"] < kills:
        if trial.run(kill):
            trial.seen["through"] += 1
            trial.reset()
    while not trial.run(lambda child: None):
        pass
    trial.seen["through"] += 1


def at_each_call(trial: Trial, step: int) -> None:
    """Kill once at each call that changes files (each ``step``-th), and go on."""
    for number in itertools.count(0, step):
        trial.reset()
        if trial.run(lambda child: None, killed_at_call(number)):
            return
        assert trial.run(lambda child: None)
        trial.seen["through"] += 1


def _main(folder: str, way: str, count: str) -> None:
    torch.set_num_threads(1)
    trial = Trial(Path(folder))
    trial.reset()
    if way == "random":
        randomly(trial, int(count), seed=0)
    else:
        at_each_call(trial, int(count))
    print(json.dumps(trial.seen))


if __name__ == "__main__":
    _main(*sys.argv[1:])
