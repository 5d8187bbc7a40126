"""IDX files, the format of MNIST: a big-endian header of type and shape, then the numbers."""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import torch

from lla.errors import ConfigurationError, DataError
from lla.problem.readers.request import Request, reading
from lla.problem.readers.samples import Samples, tensor_of

__all__ = ["open_store"]

_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_AXES = 8
_BLOCK = 1 << 20
# No deflated stream grows by more than this, whatever a header claims.
_INFLATION = 1100
_REMEDY = "fetch the file again, whole; an IDX file is named …-ubyte, with .gz if compressed"


def open_store(request: Request) -> Samples:
    """The images, pixels divided by 255, and the labels of the ``target`` file.

    Images of shape (n, H, W) become (n, 1, H, W) in float32 from 0 to 1; other numbers stay as
    they are. ``target`` is relative to the images' folder; if it is not given, the labels' file of
    MNIST's naming is taken.

    Raises:
        ConfigurationError: The labels' file does not exist.
        DataError: A file is truncated or no IDX file.
    """
    path = request.path
    labels = _labels_file(path, request.spec.target)
    inputs = _array(path)
    if inputs.dtype == torch.uint8 and inputs.ndim == 3:
        inputs = inputs[:, None].to(torch.float32).div_(255)
    if labels is None:
        return Samples(inputs, None, f"{path} holds inputs only, and no labels' file is named")
    return Samples(inputs, _array(labels).to(torch.int64))


def _labels_file(path: Path, target: str) -> Path | None:
    guess = path.name.replace("images", "labels").replace("idx3", "idx1")
    found = path.parent / (target or guess)
    if found.is_file() and found.name != path.name:
        return found
    if target:
        raise ConfigurationError(
            f"there is no labels' file {found}",
            "correct [data] target: a file's name, relative to the folder of the images' file",
        )
    return None


def _array(path: Path) -> torch.Tensor:
    zipped = path.suffix == ".gz"
    with reading(path, _REMEDY), path.open("rb") as raw:
        stream = cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if zipped else raw
        kind, shape = _header(stream, path)
        size = math.prod(shape) * np.dtype(kind).itemsize
        # Before anything is allocated: a header can claim any size.
        if size > path.stat().st_size * (_INFLATION if zipped else 1):
            raise _wrong(path, f"its header claims shape {shape}, and it is far too short for that")
        content = bytearray()
        while len(content) < size and (block := stream.read(min(_BLOCK, size - len(content)))):
            content += block
        if len(content) < size:
            raise _wrong(path, f"it ends after {len(content)} of {size} bytes of shape {shape}")
        if stream.read(1):
            raise _wrong(path, f"it goes on after the {size} bytes of shape {shape}")
    return tensor_of(np.frombuffer(content, dtype=kind).reshape(shape), str(path))


def _header(stream: BinaryIO, path: Path) -> tuple[str, tuple[int, ...]]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES:
        raise _wrong(path, f"it starts with bytes {magic.hex(' ') or 'none'}, no IDX magic number")
    axes = magic[3]
    lengths = stream.read(4 * axes)
    if not 0 < axes <= _AXES or len(lengths) < 4 * axes:
        raise _wrong(path, f"its header of {axes} axes is cut short or absurd")
    return _TYPES[magic[2]], struct.unpack(f">{axes}I", lengths)


def _wrong(path: Path, why: str) -> DataError:
    return DataError(f"{path} is not a whole IDX file: {why}", _REMEDY)
