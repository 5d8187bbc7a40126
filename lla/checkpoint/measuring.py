"""Norms and non-finite counts of tensors, streamed from their files without torch."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from lla.checkpoint.formats.claims import reaches

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
        deflated: Bytes that the storage takes in the file where it is compressed, else None.
        swapped: Whether the numbers are written with their highest byte first.
    """

    path: Path
    start: int
    size: int
    dtype: str
    shape: tuple[int, ...]
    offset: int = 0
    strides: tuple[int, ...] | None = None
    deflated: int | None = None
    swapped: bool = False

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def in_order(self) -> bool:
        """Whether the elements follow one another in the file."""
        expected = _in_order(self.shape)
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
        ValueError: The tensor reaches beyond its storage, or its compressed bytes are damaged.
    """
    import numpy as np

    if block.dtype not in _MEASURED:
        return Measured(None, 0)
    dtype = np.dtype(_NUMPY.get(block.dtype, block.dtype))
    if block.swapped:
        dtype = dtype.newbyteorder(">")
    _check(block, dtype.itemsize)
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


def _check(block: Block, itemsize: int) -> None:
    """Nothing outside the storage is read, whatever shape and strides say."""
    strides = _in_order(block.shape) if block.strides is None else block.strides
    if len(strides) != len(block.shape) or min((0, block.offset, *block.shape, *strides)) < 0:
        raise ValueError("its shape and strides do not fit each other")
    if reaches(block.offset, block.shape, strides) * itemsize > block.size:
        raise ValueError("it reaches beyond its storage")


def _in_order(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of elements that follow one another."""
    strides: list[int] = []
    step = 1
    for side in reversed(shape):
        strides.append(step)
        step *= side
    return tuple(reversed(strides))


def _parts(block: Block, dtype: np.dtype[Any]) -> Iterator[np.ndarray]:
    import numpy as np

    if not block.elements:
        return
    with block.path.open("rb", buffering=0) as stream:
        stream.seek(block.start)
        source = _inflated(stream, block.deflated) if block.deflated is not None else None
        if block.in_order and source is None:
            stream.seek(block.start + block.offset * dtype.itemsize)
            buffer = np.empty(min(_ELEMENTS, block.elements), dtype)
            left = block.elements
            while left:
                part = buffer[: min(left, len(buffer))]
                if stream.readinto(part.view(np.uint8).data) != part.nbytes:
                    raise OSError(0, "it ends too early")
                left -= len(part)
                yield part
            return
        content = bytearray() if source else bytearray(stream.read(block.size))
        for piece in source or ():
            content += piece[: block.size - len(content)]
            if len(content) == block.size:
                break
        if len(content) != block.size:
            raise OSError(0, "it ends too early")
        storage = np.frombuffer(content, dtype, block.size // dtype.itemsize)[block.offset :]
        strides = _in_order(block.shape) if block.strides is None else block.strides
        steps = [stride * dtype.itemsize for stride in strides]
        yield from _pieces(
            np.lib.stride_tricks.as_strided(storage, block.shape, steps, writeable=False)
        )


def _pieces(values: np.ndarray) -> Iterator[np.ndarray]:
    """Parts of an array of a few MiB each: one stored number can pose as very many."""
    if values.size <= _ELEMENTS:
        yield values
        return
    rows = max(1, _ELEMENTS // (values.size // len(values)))
    for first in range(0, len(values), rows):
        part = values[first : first + rows]
        yield from _pieces(part[0] if rows == 1 else part)


def _inflated(stream: IO[bytes], length: int) -> Iterator[bytes]:
    """The content of a deflated member, piece by piece."""
    machine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        while length > 0 and (packed := stream.read(min(length, _ELEMENTS))):
            length -= len(packed)
            while packed:
                yield machine.decompress(packed, _ELEMENTS)
                packed = machine.unconsumed_tail
        yield machine.flush(_ELEMENTS)
    except zlib.error as error:
        raise ValueError(f"its compressed bytes are damaged: {error}") from None


def _widened(values: np.ndarray, dtype: str) -> np.ndarray:
    import numpy as np

    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if dtype == "bfloat16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(invalid="ignore"):  # signalling NaNs become quiet ones, and are counted
        return values.astype(np.complex128 if np.iscomplexobj(values) else np.float64).ravel()
