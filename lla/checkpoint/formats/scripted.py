"""TorchScript programs, which are code: read only when the user trusts the file."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.jit._fuser import optimized_execution

from lla.errors import CheckpointError

__all__ = ["ScriptedNetwork", "load_scripted"]


class ScriptedNetwork(nn.Module):
    """A TorchScript program with parameters that can be replaced for one call.

    ``torch.func.functional_call`` refuses such programs. This module has the program's parameters
    as its own, under the same names, and puts its current ones into the program's slots before
    each call. The interpreter runs without its optimizations, whose gradients have no second
    derivative.
    """

    def __init__(self, program: Any, known: dict[int, nn.Parameter] | None = None) -> None:
        super().__init__()
        self._program = [program]  # in a list: its parameters are not to be listed twice
        known = {} if known is None else known
        for name, parameter in program.named_parameters(recurse=False):
            # Tied parameters are one tensor in the program, and stay one here.
            made = nn.Parameter(parameter.detach().clone(), parameter.requires_grad)
            self.register_parameter(name, known.setdefault(parameter.data_ptr(), made))
        for name, buffer in program.named_buffers(recurse=False):
            self.register_buffer(name, buffer.detach().clone())
        for name, child in program.named_children():
            self.add_module(name, ScriptedNetwork(child, known))

    def forward(self, *args: Any, **options: Any) -> Any:
        """Run the program with this module's parameters."""
        self._fill()
        with optimized_execution(False):
            return self._program[0](*args, **options)

    def _fill(self) -> None:
        slots = self._program[0]._c
        for name, value in (*self._parameters.items(), *self._buffers.items()):
            if value is not None:
                slots.setattr(name, value)
        for child in self.children():
            if isinstance(child, ScriptedNetwork):
                child._fill()


def load_scripted(path: Path) -> tuple[dict[str, torch.Tensor], Callable[[str], nn.Module]]:
    """Tensors of a TorchScript file and a maker of its network; runs the file's code.

    Raises:
        CheckpointError: It is damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on TorchScript's end, which the remedy tells of
            program: Any = torch.jit.load(  # type: ignore[no-untyped-call]
                str(path), map_location="cpu"
            ).eval()
    except Exception as error:
        detail = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise CheckpointError(
            f"{path} is damaged: {detail}", "copy or save the checkpoint again"
        ) from None
    return dict(program.state_dict()), lambda device: ScriptedNetwork(program).to(device)
