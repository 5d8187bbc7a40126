"""Matrices, starts and checks that the tests of this room share."""

import numpy as np
import torch

from lla.krylov import orthonormalized
from lla.seeding import gaussian

SPECTRUM = [-1.5, -0.4, *np.linspace(-0.05, 0.1, 40), 1.0, 2.5, 7.0]


def draw_gaussian(size: int, seed: int = 0):
    return lambda index: gaussian(size, seed, "test", index)


def started(size: int, *, seed: int = 0, block: int = 1) -> torch.Tensor:
    drawn = torch.stack([gaussian(size, seed, "start", index) for index in range(block)])
    return orthonormalized(drawn, 0.0)[0]


def relation_error(matrix: torch.Tensor, run) -> float:
    """How far A Qᵀ = Qᵀ T + Nᵀ F, Q and N orthonormal, is from holding."""
    q = run.basis.matrix()
    t, f = torch.from_numpy(run.projected), torch.from_numpy(run.coupling)
    rest = matrix @ q.T - q.T @ t - run.beyond.T @ f
    rows = torch.cat([q, run.beyond])
    return float(
        max(rest.abs().max(), (rows @ rows.T - torch.eye(len(rows), dtype=rows.dtype)).abs().max())
    )
