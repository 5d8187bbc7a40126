"""Sizes that tensors claim, held against the bytes that are there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lla.checkpoint.formats.records import StorageRecord, TensorRecord, tensors_in
from lla.checkpoint.trust import told
from lla.errors import CheckpointError

__all__ = ["check_claims", "false_claim", "reaches"]

_EXPANDED = 1 << 26
_TOGETHER = 1 << 28
_SIDES = 64


def check_claims(path: Path, content: Any, sizes: Mapping[str, int]) -> None:
    """Refuse tensors of a scanned object that claim more than their storages hold.

    Args:
        path: The file, for messages.
        content: What the scan gave.
        sizes: Bytes of each storage by its key.

    Raises:
        CheckpointError: One claims too much, or all of them together do.
    """
    known: set[TensorRecord] = set()
    together = 0
    for name, tensor in tensors_in(content):
        if tensor in known:
            continue
        known.add(tensor)
        reason = false_claim(tensor, tensor.storage, sizes.get(tensor.storage.key))
        together += 0 if reason else tensor.elements * tensor.itemsize
        if not reason and together > max(_TOGETHER, 16 * sum(sizes.values())):
            reason = f"and others claim {together} bytes over {sum(sizes.values())}"
        if reason:
            raise CheckpointError(
                f"{path} is damaged or built to mislead: the tensor {name[:80]} {reason}",
                "copy or save the checkpoint again",
            )


def false_claim(tensor: TensorRecord, storage: StorageRecord, held: int | None) -> str:
    """What is wrong with the size of a tensor, "" if nothing is.

    Args:
        tensor: The tensor.
        storage: The storage it refers to.
        held: Bytes of this storage, None if it is not there.
    """
    if held is None:
        return f"refers to a storage '{storage.key[:40]}' that is not there"
    if len(tensor.shape) != len(tensor.strides) or len(tensor.shape) > _SIDES:
        return "has a shape and strides that do not fit each other"
    if min((tensor.offset, storage.elements, *tensor.shape, *tensor.strides)) < 0:
        return "has a negative size"
    size = tensor.itemsize
    end = reaches(tensor.offset, tensor.shape, tensor.strides) * size
    if end > held:
        return f"claims {told(end)} bytes of a storage that has {held}"
    if storage.size > held:
        return f"claims a storage of {told(storage.size)} bytes that has {held}"
    # One stored number can pose as any many (stride 0): harmless in itself, until it is copied.
    if tensor.elements * size > max(_EXPANDED, 16 * held):
        return f"claims {told(tensor.elements)} elements over {held} bytes"
    return ""


def reaches(offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Number of elements that a storage must have for a tensor of it."""
    if not math.prod(shape):
        return 0
    return offset + 1 + sum((side - 1) * step for side, step in zip(shape, strides, strict=True))
