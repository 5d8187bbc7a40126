"""The domains by the closed form of a linear head: one forward pass each, and their bootstrap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from lla.analyses.alignment import AlignConfig
from lla.analyses.alignment.bootstrap import exact_measures, moments_of, replicates
from lla.analyses.alignment.closed import HeadSums, block_count, groups_of_samples, head_sums
from lla.analyses.alignment.found import Found, exact_values, plain
from lla.analyses.alignment.head import Head
from lla.analyses.alignment.meaning import (
    Collected,
    Compared,
    Extras,
    boundaries,
    calibrated,
    carriers,
    weights_of,
)
from lla.analyses.alignment.ranking import ranks_of
from lla.analyses.workspace import Workspace
from lla.problem import Dataset, Problem

__all__ = ["NoRoomError", "measured_closed"]

_GROUPS = 40
_FEW_GROUPS = 10
_MOST_PARAMETERS = 4096  # of which all eigenvalues are computed
_BYTES = 8


class NoRoomError(Exception):
    """The head's Hessians would not fit the memory."""


def measured_closed(
    problem: Problem,
    head: Head,
    domains: Mapping[str, Dataset],
    config: AlignConfig,
    workspace: Workspace,
) -> Found:
    """All quantities, exact for the data analysed, with intervals over samples.

    Raises:
        NoClosedFormError: The loss is no sum over predictions of a function of their outputs.
        NoRoomError: The head is too large.
    """
    most = _groups_that_fit(head, len(domains), workspace.memory)
    total, done = sum(map(len, domains.values())), 0

    def passed(count: int) -> None:
        nonlocal done
        done += count
        workspace.progress.update(done, total, "samples")

    sums, looked = [], []
    likely = problem.loss_name in ("cross_entropy", "nll")
    for name, data in domains.items():
        coupled = bool(problem.coupled_layers)
        groups = groups_of_samples(len(data), 1 if coupled else most, workspace.seed, name)
        looked.append(Collected(len(groups), augmented=head.augmented, likely=likely))
        add = looked[-1].add
        sums.append(head_sums(problem, head, data, groups, on_chunk=add, on_samples=passed))
        workspace.tally("samples")(len(data))
    return _compared(
        sums, looked, weights_of(problem, head), head, tuple(domains), config, workspace
    )


def _groups_that_fit(head: Head, domains: int, memory: int) -> int:
    """How many groups of samples of each domain have room for their sums."""
    outputs, features = int(head.shapes[0][0]), int(head.shapes[0][1]) + head.augmented
    size = outputs * features
    if size > _MOST_PARAMETERS:
        raise NoRoomError(f"the head has {size} parameters, too many for whole Hessians")
    dense = 4 * domains * size**2 * _BYTES
    each = domains * block_count(outputs) * features**2 * _BYTES
    room = (memory // 2 - dense) // each
    if room < _FEW_GROUPS:
        raise NoRoomError(f"Hessians of {size} parameters do not fit the memory")
    return int(min(_GROUPS, room))


def _compared(
    sums: Sequence[HeadSums],
    looked: Sequence[Collected],
    theta: torch.Tensor,
    head: Head,
    names: tuple[str, ...],
    config: AlignConfig,
    workspace: Workspace,
) -> Found:
    weights = (config.hgp_alpha, config.hgp_beta), (config.hutchinson_alpha, config.hutchinson_beta)
    moments, matrices = moments_of(sums)
    found, ends = exact_measures(moments, matrices, *weights)
    values = plain(moments, found)
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in values}
    noise: dict[str, list[np.ndarray]] = {}
    attributes = Compared(sums, theta, names)
    for replicate in replicates(
        sums, names, (moments, matrices), ends, config.replicates, workspace.seed, weights
    ):
        for name, value in plain(replicate.moments, replicate.measures).items():
            drawn[name].append(value)
        for name, matrix in replicate.noise.items():
            noise.setdefault(name, []).append(matrix.cpu().numpy())
        attributes.add(replicate.sums)
        workspace.progress.update(len(drawn["loss"]), config.replicates, "bootstrap replicates")
        workspace.stop()
    groups = min(len(one.loss) for one in sums)
    made = exact_values(
        values,
        {name: np.stack(parts) for name, parts in drawn.items() if parts},
        {name: np.stack(parts) for name, parts in noise.items()},
        groups,
        workspace.confidence,
    )
    samples = f"Poisson bootstrap over {groups} groups of samples, {len(drawn['loss'])} replicates"
    spread = samples if drawn["loss"] else "no bootstrap"
    sure, count = workspace.confidence, config.replicates
    extras = Extras(
        pairs=carriers(matrices, len(theta), ends, names),
        attributes=attributes.result(sure),
        tilting=boundaries(looked, theta, names, augmented=head.augmented),
        calibration=calibrated(looked, names, workspace.seed, count, sure),
        ranks=ranks_of(values, drawn, workspace.seed, sure),
    )
    return Found(
        values=made,
        gradient_norm=torch.linalg.vector_norm(moments.gradient, dim=1).cpu().numpy(),
        trace=moments.diagonal.sum(dim=1).cpu().numpy(),
        scope=f"{head.layer or 'the network'}, {head.space.size} parameters",
        method=f"closed form of the linear head; error over samples: {spread}",
        extras=extras,
    )
