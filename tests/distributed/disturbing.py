"""A network that, on one rank and at one of its calls, does what the environment says.

``DISTURB="1 40 raise"``: on rank 1, at the 40th call of a pass in any direction. The words:
``raise``, ``leave`` (``sys.exit``), ``kill`` (this process), and ``SIGINT`` or ``SIGTERM``, which
torchrun gets. A recipe names this file, copied into the folder of a run.
"""

import os
import signal
import sys
from typing import Any

import torch
from torch import nn

_rank, _call, _word = (os.environ.get("DISTURB") or "-1 0 none").split()
_calls = 0


def disturb() -> None:
    """Count a call; at the one that was asked for, do it."""
    global _calls
    _calls += os.environ.get("RANK", "0") == _rank
    if _calls != int(_call):
        return
    _calls += 1
    if _word == "raise":
        raise ValueError("the network does not like this")
    if _word == "leave":
        sys.exit(3)
    if _word == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if _word.startswith("SIG"):
        started = "RANK" in os.environ
        os.kill(os.getppid() if started else os.getpid(), getattr(signal, _word))


class Passing(torch.autograd.Function):
    """The identity, however often it is differentiated."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: torch.Tensor) -> torch.Tensor:
        disturb()
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> torch.Tensor:
        return Passing.apply(slope)

    @staticmethod
    def jvp(ctx: Any, tangent: torch.Tensor) -> torch.Tensor:
        return Passing.apply(tangent)


class Disturbed(nn.Sequential):
    """A sequence whose output passes through."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Passing.apply(super().forward(x))


def net() -> nn.Module:
    """A small smooth network that all analyses can do with."""
    return Disturbed(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(108, 3))
