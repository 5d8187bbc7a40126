"""Norms and non-finite counts of tensors, streamed from their files without torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Block", "Measured", "measure"]

_ELEMENTS = 1 << 20
# numpy has no brain floats: their bits are the upper half of a float32's.
_NUMPY = {"bfloat16": "uint16"}
_MEASURED = {
    *("float64", "float32", "float16", "bfloat16", "complex64", "complex128", "bool"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}


@dataclass(frozen=True)
class Block:
    """Where the values of a tensor lie.

    Attributes:
        path: The file.
        start: First byte of the tensor's storage.
        size: Bytes of the storage.
        dtype: As torch names it.
        shape: Shape of the tensor.
        offset: First element within the storage.
        strides: In elements; None if the tensor lies there in order.
    """

    path: Path
    start: int
    size: int
    dtype: str
    shape: tuple[int, ...]
    offset: int = 0
    strides: tuple[int, ...] | None = None

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def in_order(self) -> bool:
        """Whether the elements follow one another in the file."""
        expected: list[int] = []
        step = 1
        for side in reversed(self.shape):
            expected.insert(0, step)
            step *= side
        pairs = zip(self.shape, self.strides or expected, expected, strict=True)
        return all(side <= 1 or stride == wanted for side, stride, wanted in pairs)


@dataclass(frozen=True)
class Measured:
    """Euclidean norm of a tensor's finite elements (None if not computed), and the others."""

    norm: float | None
    non_finite: int


def measure(block: Block) -> Measured:
    """The norm of a tensor, a few MiB at a time.

    Raises:
        OSError: The file cannot be read.
    """
    import numpy as np

    if block.dtype not in _MEASURED:
        return Measured(None, 0)
    dtype = np.dtype(_NUMPY.get(block.dtype, block.dtype))
    squares, bad = 0.0, 0
    for part in _parts(block, dtype):
        values = _widened(part, block.dtype)
        found = float(np.vdot(values, values).real)
        if not math.isfinite(found):
            finite = np.isfinite(values)
            bad += int(values.size - np.count_nonzero(finite))
            found = float(np.sum(np.abs(values[finite]) ** 2))
        squares += found
    return Measured(math.sqrt(squares) if math.isfinite(squares) else None, bad)


def _parts(block: Block, dtype: np.dtype[Any]) -> Iterable[np.ndarray]:
    import numpy as np

    if not block.elements:
        return
    with block.path.open("rb", buffering=0) as stream:
        if block.in_order:
            stream.seek(block.start + block.offset * dtype.itemsize)
            buffer = np.empty(min(_ELEMENTS, block.elements), dtype)
            left = block.elements
            while left:
                part = buffer[: min(left, len(buffer))]
                if stream.readinto(part.view(np.uint8).data) != part.nbytes:
                    raise OSError(0, "it ends too early")
                left -= len(part)
                yield part
        else:
            stream.seek(block.start)
            storage = np.frombuffer(stream.read(block.size), dtype)[block.offset :]
            steps = [stride * dtype.itemsize for stride in block.strides or ()]
            yield np.lib.stride_tricks.as_strided(storage, block.shape, steps, writeable=False)


def _widened(values: np.ndarray, dtype: str) -> np.ndarray:
    import numpy as np

    if dtype == "bfloat16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(invalid="ignore"):  # signalling NaNs become quiet ones, and are counted
        return values.astype(np.complex128 if np.iscomplexobj(values) else np.float64).ravel()
