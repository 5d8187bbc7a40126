"""How far a quantity may be off because only some samples were used.

Groups of samples are fixed by the samples' positions, whatever the chunks of the computation are.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from lla.problem import Problem

__all__ = ["complete", "groups_of", "population", "sampled_groups", "sampling_error"]

_GROUPS = 16
_LEAST = 4


def groups_of(samples: int, device: torch.device) -> list[torch.Tensor]:
    """Positions of the samples of each group: every sixteenth, so that any order is mixed."""
    count = min(_GROUPS, max(1, samples // _LEAST))
    places = torch.arange(samples, device=device)
    return [places[start::count] for start in range(count)]


def population(problem: Problem) -> int:
    """Samples that the problem's loss is meant to be over: at least those analysed."""
    return max(problem.data.available, problem.training.samples or 0, len(problem.data))


def complete(problem: Problem) -> bool:
    """Whether all samples are analysed that the loss is meant to be over."""
    return population(problem) == len(problem.data)


def sampled_groups(problem: Problem) -> list[torch.Tensor]:
    """Groups of samples to see the sampling error by.

    Empty if all samples are analysed, or if the loss is not the mean of the groups' losses.
    """
    if complete(problem) or problem.coupled_layers:
        return []
    return groups_of(len(problem.data), problem.device)


def sampling_error(groups: np.ndarray, samples: int, population: int) -> np.ndarray:
    """Standard error of a mean over samples, from its values on groups of them.

    Args:
        groups: Value of each group, shape (groups, k).
        samples: n, samples in all groups.
        population: Samples that the mean is meant for; if it is n, nothing was left out.

    Returns:
        Shape (k,): √(1 − n/N) · (standard deviation over groups) / √groups; NaN for one group.
    """
    count = len(groups)
    if samples >= population:
        return np.zeros(groups.shape[1])
    if count < 2:
        return np.full(groups.shape[1], math.nan)
    left = math.sqrt(1 - samples / population)
    spread: np.ndarray = groups.std(axis=0, ddof=1)
    return left * spread / math.sqrt(count)
