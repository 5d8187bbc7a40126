"""The analysed samples: all of them, and some."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch

from lla.problem.inputs import Inputs, in_dtype, leaves, mapped

__all__ = ["Batch", "Dataset"]


class Batch(NamedTuple):
    """Some samples.

    Attributes:
        inputs: Shape (n, …): a tensor, a tuple of tensors, or tensors by name.
        targets: Shape (n, …); (n, 0) if the data has none.
    """

    inputs: Inputs
    targets: torch.Tensor

    @property
    def samples(self) -> int:
        """n: a named tuple's own length is its number of fields."""
        return len(leaves(self.inputs)[0])

    def select(self, where: torch.Tensor | slice) -> Batch:
        """The samples at these positions."""
        return Batch(mapped(self.inputs, lambda tensor: tensor[where]), self.targets[where])

    def in_dtype(self, kind: torch.dtype) -> Batch:
        """The same samples with real and complex numbers in the precision of ``kind``."""
        return Batch(
            mapped(self.inputs, lambda part: in_dtype(part, kind)), in_dtype(self.targets, kind)
        )

    def to(self, device: torch.device) -> Batch:
        """The same samples on a device."""
        return Batch(mapped(self.inputs, lambda part: part.to(device)), self.targets.to(device))

    def chunks(self, size: int) -> Iterator[Batch]:
        """The same samples in order, ``size`` at a time."""
        for start in range(0, self.samples, size):
            yield self.select(slice(start, start + size))


@dataclass(frozen=True)
class Dataset:
    """The analysed samples, on the device, and where they come from.

    Attributes:
        inputs: Shape (n, …): a tensor, a tuple of tensors, or tensors by name.
        targets: Shape (n, …); (n, 0) if the data has none.
        chunk: Samples per chunk of an evaluation.
        source: What the recipe names.
        split: Which split, or "".
        available: Samples in that split, of the wanted classes, before ``limit``.
        sha256: Digest of the analysed samples.
        indices: Positions of the samples within the split.
    """

    inputs: Inputs
    targets: torch.Tensor
    chunk: int
    source: str = ""
    split: str = ""
    available: int = 0
    sha256: str = ""
    indices: torch.Tensor | None = None

    def __len__(self) -> int:
        return self.whole.samples

    @property
    def whole(self) -> Batch:
        """All samples as one batch."""
        return Batch(self.inputs, self.targets)

    def select(self, indices: torch.Tensor) -> Batch:
        """The samples at these positions, shape (k,) int64, as one batch."""
        return self.whole.select(indices.to(self.targets.device))

    def chunks(self) -> Iterator[Batch]:
        """All samples in order, cut into chunks."""
        return self.whole.chunks(self.chunk)
