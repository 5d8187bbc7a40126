"""What an error of torch's in a network or a loss says of the data, in words of ours."""

from __future__ import annotations

import re

import torch

from lla.errors import ProblemError
from lla.problem.dataset import Batch
from lla.problem.inputs import described, leaves

__all__ = ["explained"]

_WIDTH = re.compile(r"mat1 and mat2 shapes cannot be multiplied \(\d+x(\d+) and (\d+)x\d+\)")
_CHANNELS = re.compile(r"to have (\d+) channels, but got (\d+) channels")
_INDICES = re.compile(r"'indices' to have one of the following scalar types|IntTensor for embedd")
_KINDS = re.compile(r"same dtype|scalar type|Input type|LongTensor|not implemented for 'Long'")
_ALONE = re.compile(r"Expected more than 1 (value per channel|spatial element)")
_DEBUG = "--debug shows where"


def explained(error: Exception, batch: Batch) -> ProblemError:
    """The error of the user's network or loss on a batch as one that says what to change."""
    text = " ".join((str(error) or "no reason given").split("\n")[0].split())
    what, remedy = _cause(text, batch)
    shapes = f"{described(batch.inputs)} inputs, {described(batch.targets)} targets"
    detail = f"{what} ({text})" if what else f"{type(error).__name__}: {text}"
    return ProblemError(
        f"network and loss cannot process the data ({shapes} in a chunk): {detail}",
        f"{remedy}; {_DEBUG}",
    )


def _cause(text: str, batch: Batch) -> tuple[str, str]:
    """What it comes from, or "", and what to change."""
    inputs = leaves(batch.inputs)
    if found := _WIDTH.search(text):
        return (
            f"a linear layer takes {found[2]} features and is given {found[1]}",
            "correct the factory's arguments or the data: x has its features last",
        )
    if _ALONE.search(text):
        return (
            "a layer normalizes by the statistics of its batch, and a single value has none",
            "analyse more samples, or take running statistics: leave batch_norm out",
        )
    if found := _CHANNELS.search(text):
        return (
            f"a convolution takes {found[1]} channels and is given {found[2]}",
            "correct the factory's arguments or the data: x has its channels along axis 1",
        )
    if _INDICES.search(text) and any(part.is_floating_point() for part in inputs):
        return (
            f"the network looks its inputs up as indices, and they are {_dtypes(inputs)}",
            "store x as integers",
        )
    if _KINDS.search(text) and not all(part.is_floating_point() for part in inputs):
        return (
            f"the network takes real numbers, and its inputs are {_dtypes(inputs)}",
            "store x as float32; [data] std = 1 makes it so, std = 255 for pixels",
        )
    return "", "compare shapes and labels with what the network and the loss expect"


def _dtypes(tensors: tuple[torch.Tensor, ...]) -> str:
    return " and ".join(dict.fromkeys(str(part.dtype).partition(".")[2] for part in tensors))
