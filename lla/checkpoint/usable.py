"""Weights that an analysis cannot take: not plain tensors, not real numbers, not finite."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lla.checkpoint.trust import listed
from lla.errors import CheckpointError

if TYPE_CHECKING:
    import torch

__all__ = ["refuse_unusable"]

_ELEMENTS = 1 << 22
# Indices, masks and counters are integers in intact networks; these never are.
_LEARNED = ("weight", "bias", "qweight")


def refuse_unusable(path: str | Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse weights that a network of real numbers would take for others, or not at all.

    Raises:
        CheckpointError: Some are sparse, integers, complex, or not finite.
    """
    import torch

    odd = [
        name
        for name, tensor in tensors.items()
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta
    ]
    if odd:
        raise CheckpointError(
            f"{path} has sparse, quantized or empty tensors: {listed(odd)}",
            "save plain ones: tensor.dequantize() or tensor.to_dense() before torch.save",
        )
    whole = [name for name, tensor in tensors.items() if _is_whole(name, tensor)]
    if whole or not any(tensor.is_floating_point() for tensor in tensors.values()):
        raise CheckpointError(
            f"{path} has weights that are integers or complex, not real numbers: "
            f"{listed(whole or list(tensors))}",
            "analyse the checkpoint from before the quantization, or save tensor.float()",
        )
    bad = _not_finite(tensors)
    if bad:
        raise CheckpointError(
            f"{path} has NaN or infinite values in {listed(bad)}",
            "analyse an earlier checkpoint, from before the training diverged",
        )


def _is_whole(name: str, tensor: torch.Tensor) -> bool:
    """Whether a learned tensor is of another kind than real numbers, and would lose by a cast."""
    learned = name.rpartition(".")[2] in _LEARNED
    return learned and not tensor.is_floating_point()


def _not_finite(tensors: Mapping[str, torch.Tensor]) -> list[str]:
    known: dict[tuple[object, ...], bool] = {}
    bad = []
    for name, tensor in tensors.items():
        # One that stands under many names is looked at once.
        place = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if place not in known:
            known[place] = _is_finite(tensor)
        if not known[place]:
            bad.append(name)
    return bad


def _is_finite(tensor: torch.Tensor) -> bool:
    import torch

    if not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    if tensor.is_floating_point() and tensor.element_size() == 1:
        # Eighths of a double have no isfinite of their own; a float holds each of them exactly.
        flat = tensor.reshape(-1)
        return all(bool(part.float().isfinite().all()) for part in torch.split(flat, _ELEMENTS))
    return bool(tensor.isfinite().all())
