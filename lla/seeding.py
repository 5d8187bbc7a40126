"""Random numbers that depend on (seed, stage, index) and on nothing else.

Each draw has a generator of its own on the CPU, so a result does not depend on which analyses ran
before it, on the device, or on where an interrupted run took up its work again.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["gaussian", "generator", "permutation", "rademacher"]


def generator(seed: int, stage: str, index: int = 0) -> torch.Generator:
    """A CPU generator whose state is a hash of ``(seed, stage, index)``."""
    import torch

    digest = hashlib.sha256(f"{seed}/{stage}/{index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def rademacher(size: int, seed: int, stage: str, index: int) -> torch.Tensor:
    """A probe of independent signs, +1 or −1 with equal chance: float64, shape (size,)."""
    import torch

    random = generator(seed, stage, index)
    bits = torch.randint(0, 2, (size,), generator=random, dtype=torch.float64)
    return bits.mul_(2).sub_(1)


def gaussian(size: int, seed: int, stage: str, index: int) -> torch.Tensor:
    """A standard normal vector: float64, shape (size,)."""
    import torch

    return torch.randn(size, generator=generator(seed, stage, index), dtype=torch.float64)


def permutation(size: int, seed: int, stage: str, index: int = 0) -> torch.Tensor:
    """A random order of ``range(size)``: int64, shape (size,)."""
    import torch

    return torch.randperm(size, generator=generator(seed, stage, index))
